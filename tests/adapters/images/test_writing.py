"""The same files give the same image, and tools of others can read it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import tarfile
from pathlib import Path

import pytest

from tidegate.adapters.images import ImageConfig, write_image, write_layer


def tree(root: Path, order: list[str]) -> dict[str, Path]:
    """The same files, made in another order, at another time, with other modes where they do not matter."""
    content = {
        "app/main.py": b"print(1)\n",
        "app/data/ü.bin": b"\0" * 70_000,
        "run.sh": b"#!/bin/sh\n",
        "Z": b"",
        "a": b"x",
    }
    found: dict[str, Path] = {}
    for name in order:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[name])
        path.chmod(0o700 if name == "run.sh" else random.choice([0o600, 0o640, 0o666]))
        os.utime(path, (random.random() * 1e9, random.random() * 1e9))
        found[name] = path
    link = root / "link"
    link.symlink_to("app/main.py")
    return {"link": link, **found}


NAMES = ["app/main.py", "app/data/ü.bin", "run.sh", "Z", "a"]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    layers = []
    for turn, order in enumerate((NAMES, NAMES[::-1])):
        root = tmp_path / str(turn)
        root.mkdir()
        layers.append(write_layer(tree(root, order), "/app", tmp_path / f"{turn}.tar.gz"))
    assert layers[0].digest == layers[1].digest
    assert (tmp_path / "0.tar.gz").read_bytes() == (tmp_path / "1.tar.gz").read_bytes()
    config = ImageConfig(("python", "main.py"), {"B": "2", "A": "1"}, labels={"y": "1", "x": "2"})
    other = ImageConfig(("python", "main.py"), {"A": "1", "B": "2"}, labels={"x": "2", "y": "1"})
    assert write_image([layers[0]], config) == write_image([layers[1]], other)


def test_the_layer_says_the_truth_about_itself(tmp_path: Path) -> None:
    layer = write_layer(tree(tmp_path, NAMES), "/app", tmp_path / "layer.tar.gz")
    packed = layer.path.read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}"
    assert layer.size == len(packed)


def test_the_layer_has_sorted_entries_of_nobody_at_no_time(tmp_path: Path) -> None:
    layer = write_layer(tree(tmp_path, NAMES), "/srv/app", tmp_path / "layer.tar.gz")
    with tarfile.open(layer.path) as tar:
        entries = tar.getmembers()
    names = [e.name for e in entries]
    assert names == [
        "srv",
        "srv/app",
        "srv/app/Z",
        "srv/app/a",
        "srv/app/app",
        "srv/app/app/data",
        "srv/app/app/data/ü.bin",
        "srv/app/app/main.py",
        "srv/app/link",
        "srv/app/run.sh",
    ]
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname) for e in entries} == {(0, 0, 0, "", "")}
    modes = {e.name.rpartition("/")[2]: e.mode for e in entries}
    assert (modes["run.sh"], modes["main.py"], modes["data"]) == (0o755, 0o644, 0o755)


def test_config_and_manifest_are_what_the_specification_wants(tmp_path: Path) -> None:
    layer = write_layer({"a": tree(tmp_path, ["a"])["a"]}, "/app", tmp_path / "layer.tar.gz")
    body, manifest = write_image([layer], ImageConfig(("./a",), {"MODE": "x"}, labels={"title": "shop"}))
    config, outer = json.loads(body), json.loads(manifest)
    assert config["config"] == {
        "Entrypoint": ["./a"],
        "Env": ["MODE=x"],
        "Labels": {"title": "shop"},
        "WorkingDir": "/app",
    }
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer.diff_id]}
    assert outer["config"]["digest"] == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert outer["layers"] == [
        {
            "digest": layer.digest,
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "size": layer.size,
        }
    ]


def test_the_digest_of_a_known_tree_does_not_change(tmp_path: Path) -> None:
    """The plain tar is pinned; the packed layer depends on the deflate library and is not."""
    layer = write_layer(tree(tmp_path, NAMES), "/app", tmp_path / "layer.tar.gz")
    assert layer.diff_id == "sha256:12234cfbc353ac8f97ed2b0dad7629cc20fc27dd413f7b7245a753671d708034"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3_000_000])
def test_files_of_any_size_come_back(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    (tmp_path / "blob").write_bytes(data)
    layer = write_layer({"blob": tmp_path / "blob"}, "/app", tmp_path / "layer.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(layer.path.read_bytes())) as tar:
        content = tar.extractfile("app/blob")
        assert content is not None
        assert content.read() == data
