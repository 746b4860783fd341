"""Image layers come from outside: what they may put where."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tidegate.sim.node.images import ImageError, Reference, unpack_layer


def layer(*members: tuple[tarfile.TarInfo, bytes], packed: bool = True) -> io.BytesIO:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return io.BytesIO(gzip.compress(raw.getvalue()) if packed else raw.getvalue())


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


@pytest.mark.parametrize("packed", [True, False])
def test_files_folders_and_links_inside_the_image_are_unpacked(tmp_path: Path, packed: bool) -> None:
    blob = layer(
        (entry("app", tarfile.DIRTYPE, mode=0o755), b""),
        (entry("app/run", mode=0o755), b"#!"),
        (entry("bin", tarfile.SYMTYPE, "/app"), b""),
        (entry("app/again", tarfile.LNKTYPE, "app/run"), b""),
        packed=packed,
    )
    unpack_layer(blob, tmp_path, 1000)
    assert (tmp_path / "bin" / "run").read_bytes() == b"#!"
    assert (tmp_path / "app" / "again").read_bytes() == b"#!"
    assert (tmp_path / "app" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "member",
    [
        entry("../out"),
        entry("/etc/passwd"),
        entry("a/../../out"),
        entry("link", tarfile.SYMTYPE, "../../etc"),
        entry("deep/link", tarfile.SYMTYPE, "../../etc"),
        entry("link", tarfile.LNKTYPE, "../../etc/passwd"),
    ],
    ids=lambda m: f"{m.name}->{m.linkname}",
)
def test_nothing_leads_out_of_the_image(tmp_path: Path, member: tarfile.TarInfo) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(ImageError):
        unpack_layer(layer((member, b"")), root, 1000)
    assert list(tmp_path.iterdir()) == [root]


def test_a_link_planted_by_an_earlier_layer_cannot_be_written_through(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "door").symlink_to(outside)
    with pytest.raises(ImageError, match="unsafe path"):
        unpack_layer(layer((entry("door/file"), b"x")), root, 1000)
    assert list(outside.iterdir()) == []


def test_whiteouts_remove_what_lower_layers_brought(tmp_path: Path) -> None:
    unpack_layer(
        layer((entry("a/one"), b"1"), (entry("a/two"), b"2"), (entry("b/three"), b"3")), tmp_path, 1000
    )
    unpack_layer(layer((entry("a/.wh.one"), b""), (entry("b/.wh..wh..opq"), b"")), tmp_path, 1000)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["two"]


def test_an_image_past_the_size_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="too large"):
        unpack_layer(layer((entry("big"), b"0" * 2000)), tmp_path, 1000)


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag"),
    [
        ("127.0.0.1:5000/shop", "127.0.0.1:5000", "shop", "latest"),
        ("127.0.0.1:5000/team/shop:v1", "127.0.0.1:5000", "team/shop", "v1"),
        ("nginx:1.27", "registry-1.docker.io", "library/nginx", "1.27"),
        ("registry.example/a/b", "registry.example", "a/b", "latest"),
    ],
)
def test_image_names_are_read_as_docker_reads_them(
    text: str, registry: str, repository: str, tag: str
) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, "")
    digest = "sha256:" + "a" * 64
    assert Reference.parse(f"{text}@{digest}").digest == digest


@pytest.mark.parametrize("text", ["", "UPPER CASE", "a b", "x@sha256:short", "http://x/y"])
def test_what_is_no_image_name_is_called_that(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        Reference.parse(text)
    assert caught.value.reason == "InvalidImageName"


def test_only_loopback_registries_are_asked_without_tls() -> None:
    assert Reference.parse("127.0.0.1:5000/a").base == "http://127.0.0.1:5000/v2/a"
    assert Reference.parse("localhost:5000/a").base == "http://localhost:5000/v2/a"
    assert Reference.parse("10.0.0.1:5000/a").base == "https://10.0.0.1:5000/v2/a"
