"""Writes OCI images without a daemon, so that the same files and settings always give the same digest.

Everything that could differ between two builds is fixed: order of entries, owner, modes, times
(SOURCE_DATE_EPOCH 0), gzip header. The digest still depends on the deflate implementation below Python (zlib,
zlib-ng): two machines with different ones build the same files into layers with different bytes. A tree is
built only once (its tag is looked up first), so this shows only when a registry was emptied.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EPOCH = "1970-01-01T00:00:00Z"
_LEVEL = 6
_CHUNK = 1 << 20
# RFC 1952: id, deflate, no flags, time 0, no extra flags, system unknown: nothing of the machine
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass(frozen=True, slots=True)
class Layer:
    """A finished layer: the compressed file and both digests."""

    path: Path
    digest: str
    """Of the compressed file: how the registry knows it."""
    diff_id: str
    """Of the tar inside: how the image config knows it."""
    size: int


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How a container of the image starts."""

    entrypoint: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/app"
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: str = "linux/amd64"


class _Gzip(io.RawIOBase):
    """A gzip stream with a constant header, which counts and hashes both sides."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._check = 0
        self._plain_size = 0
        self.plain = hashlib.sha256()
        self.packed = hashlib.sha256()
        self.size = 0
        self._put(_GZIP_HEADER)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.plain.update(data)
        self._check = zlib.crc32(data, self._check)
        self._plain_size += len(data)
        self._put(self._deflate.compress(data))
        return len(data)

    def finish(self) -> None:
        self._put(self._deflate.flush())
        self._put(self._check.to_bytes(4, "little") + (self._plain_size & 0xFFFFFFFF).to_bytes(4, "little"))

    def _put(self, data: bytes) -> None:
        self.packed.update(data)
        self.size += len(data)
        self._target.write(data)


def write_layer(files: Mapping[str, Path], workdir: str, target: Path) -> Layer:
    """One layer with the files (path below `workdir` → file or symbolic link on disk) written to `target`."""
    with target.open("wb") as stream:
        gzip = _Gzip(stream)
        with tarfile.open(fileobj=gzip, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
            root = PurePosixPath(workdir.strip("/"))
            for name, source in _entries(files, root):
                _add(tar, name, source)
        gzip.finish()
    return Layer(target, f"sha256:{gzip.packed.hexdigest()}", f"sha256:{gzip.plain.hexdigest()}", gzip.size)


def _entries(files: Mapping[str, Path], root: PurePosixPath) -> Iterable[tuple[str, Path | None]]:
    """Every name in the tar with its file (None: a folder), in the order of their bytes."""
    placed: dict[str, Path | None] = {str(root / name): path for name, path in files.items()}
    folders = {str(p) for name in placed for p in PurePosixPath(name).parents if str(p) != "."}
    folders |= {str(p) for p in (root, *root.parents) if str(p) != "."}
    return sorted({**dict.fromkeys(folders), **placed}.items(), key=lambda entry: entry[0].encode())


def _add(tar: tarfile.TarFile, name: str, source: Path | None) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = 0
    if source is None:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    elif source.is_symlink():
        entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, str(source.readlink())
        tar.addfile(entry)
    else:
        with source.open("rb") as content:
            status = source.stat()
            entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
            tar.addfile(entry, content)


def _canonical(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def write_image(layers: Iterable[Layer], config: ImageConfig) -> tuple[bytes, bytes]:
    """The image's config and its manifest, as bytes to push (OCI image spec 1.0)."""
    layers = tuple(layers)
    system, _, architecture = config.platform.partition("/")
    start: dict[str, object] = {"Entrypoint": list(config.entrypoint), "WorkingDir": config.workdir}
    if config.env:
        start["Env"] = [f"{name}={value}" for name, value in sorted(config.env.items())]
    if config.labels:
        start["Labels"] = dict(config.labels)
    body = _canonical(
        {
            "architecture": architecture,
            "config": start,
            "created": EPOCH,
            "history": [{"created": EPOCH, "created_by": "tidegate archive"} for _ in layers],
            "os": system,
            "rootfs": {"diff_ids": [layer.diff_id for layer in layers], "type": "layers"},
        }
    )
    manifest = {
        "config": _descriptor(CONFIG, f"sha256:{hashlib.sha256(body).hexdigest()}", len(body)),
        "layers": [_descriptor(LAYER, layer.digest, layer.size) for layer in layers],
        "mediaType": MANIFEST,
        "schemaVersion": 2,
    }
    return body, _canonical(manifest)


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"digest": digest, "mediaType": media_type, "size": size}
