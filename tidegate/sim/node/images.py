"""Images for the node agent: pulled by the registry v2 API, verified, unpacked into a cache by digest."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import ipaddress
import json
import os
import platform
import re
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import urllib3

from tidegate.errors import OutsideError

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MAX_DOCUMENT = 4 << 20
MAX_UNPACKED = 2 << 30
_REFERENCE = re.compile(
    r"(?P<name>[^@:\s]+(?::\d+/[^@:\s]+)?)(?::(?P<tag>[\w.-]{1,128}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class ImageError(OutsideError):
    """The image cannot be had; `reason` is what kubelet would call it."""

    def __init__(self, message: str, reason: str = "ErrImagePull") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an image is: registry host, repository, and a tag or digest."""

    registry: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise ImageError(
                f'couldn\'t parse image name "{text}": invalid reference format', "InvalidImageName"
            )
        host, _, rest = found["name"].partition("/")
        if rest and ("." in host or ":" in host or host == "localhost"):
            registry, repository = host, rest
        else:
            registry, repository = "registry-1.docker.io", found["name"]
            repository = repository if "/" in repository else f"library/{repository}"
        return cls(registry, repository, found["tag"] or "latest", found["digest"] or "")

    @property
    def base(self) -> str:
        """Plain HTTP for loopback registries, HTTPS for all others."""
        scheme = "http" if is_loopback(self.registry.rpartition(":")[0] or self.registry) else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}"


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image: `rootfs` is shared and must not be written to."""

    digest: str
    rootfs: Path
    config: Mapping[str, Any] = field(default_factory=dict)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class ImageStore:
    """The node's images. Thread-safe; one pull per digest at a time."""

    def __init__(self, root: Path, *, timeout: float = 15.0) -> None:
        self._root = root
        self._root.mkdir(parents=True, exist_ok=True)
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(5.0, timeout), maxsize=4)
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        for leftover in self._root.glob("*.part"):
            shutil.rmtree(leftover, ignore_errors=True)

    def close(self) -> None:
        self._pool.clear()

    def find(self, name: str) -> Image | None:
        """The image if it is here already (by digest, or by the tag's last pull)."""
        reference = Reference.parse(name)
        digest = reference.digest or self._tags().get(
            f"{reference.registry}/{reference.repository}:{reference.tag}"
        )
        return self._load(digest) if digest else None

    def pull(self, name: str) -> Image:
        """Fetches what is missing. Raises `ImageError` whose message names the image."""
        reference = Reference.parse(name)
        try:
            digest, manifest = self._manifest(reference, reference.digest or reference.tag)
            with self._one(digest):
                image = self._load(digest) or self._unpack(reference, digest, manifest)
        except ImageError as error:
            raise ImageError(f'failed to pull image "{name}": {error}', error.reason) from error
        except (
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
            KeyError,
            EOFError,
            tarfile.TarError,
        ) as error:
            raise ImageError(f'failed to pull image "{name}": {error}') from error
        if not reference.digest:
            self._tag(f"{reference.registry}/{reference.repository}:{reference.tag}", digest)
        return image

    # -- cache ---------------------------------------------------------------------------------------------

    def _load(self, digest: str) -> Image | None:
        folder = self._root / digest.replace(":", "-")
        try:
            config = json.loads((folder / "config.json").read_bytes())
        except OSError:
            return None
        return Image(digest, folder / "rootfs", config)

    def _one(self, digest: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(digest, threading.Lock())

    def _tags(self) -> dict[str, str]:
        try:
            tags: dict[str, str] = json.loads((self._root / "tags.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return tags

    def _tag(self, name: str, digest: str) -> None:
        with self._lock:
            tags = {**self._tags(), name: digest}
            part = self._root / "tags.json.new"
            part.write_text(json.dumps(tags))
            part.replace(self._root / "tags.json")

    # -- registry ------------------------------------------------------------------------------------------

    def _manifest(self, reference: Reference, which: str) -> tuple[str, dict[str, Any]]:
        headers = {"Accept": ", ".join(MANIFESTS)}
        body = self._document(f"{reference.base}/manifests/{which}", headers)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if which.startswith("sha256:") and which != digest:
            raise ImageError(f"manifest has digest {digest}")
        manifest = json.loads(body)
        if "manifests" in manifest:
            return self._manifest(reference, _for_this_machine(manifest["manifests"]))
        return digest, manifest

    def _document(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        with self._open(url, headers) as response:
            body = response.read(MAX_DOCUMENT + 1)
        if len(body) > MAX_DOCUMENT:
            raise ImageError(f"{url}: larger than {MAX_DOCUMENT} bytes")
        return bytes(body)

    @contextlib.contextmanager
    def _open(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            response = self._pool.request("GET", url, headers=dict(headers or {}), preload_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise ImageError(f"{url}: no answer: {error}") from error
        try:
            if response.status != 200:
                response.drain_conn()
            if response.status == 404:
                raise ImageError(f"{url}: not found")
            if response.status != 200:
                raise ImageError(f"{url}: the registry answered {response.status}")
            yield response
        finally:
            response.release_conn()

    def _unpack(self, reference: Reference, digest: str, manifest: Mapping[str, Any]) -> Image:
        config = self._document(f"{reference.base}/blobs/{manifest['config']['digest']}")
        if f"sha256:{hashlib.sha256(config).hexdigest()}" != manifest["config"]["digest"]:
            raise ImageError(f"config blob is not {manifest['config']['digest']}")
        part = Path(tempfile.mkdtemp(dir=self._root, suffix=".part"))
        try:
            (part / "rootfs").mkdir()
            budget = MAX_UNPACKED
            for layer in manifest["layers"]:
                with tempfile.TemporaryFile(dir=part) as blob:
                    self._blob(reference, layer["digest"], blob)
                    budget = unpack_layer(blob, part / "rootfs", budget)
            (part / "config.json").write_bytes(json.dumps((json.loads(config).get("config")) or {}).encode())
            part.rename(self._root / digest.replace(":", "-"))
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        image = self._load(digest)
        if image is None:
            raise ImageError(f"{digest}: the cache lost it")
        return image

    def _blob(self, reference: Reference, digest: str, into: IO[bytes]) -> None:
        seen, size = hashlib.sha256(), 0
        with self._open(f"{reference.base}/blobs/{digest}") as response:
            for chunk in response.stream(1 << 18, decode_content=False):
                seen.update(chunk)
                size += len(chunk)
                if size > MAX_UNPACKED:
                    raise ImageError(f"layer {digest} is larger than {MAX_UNPACKED} bytes")
                into.write(chunk)
        if f"sha256:{seen.hexdigest()}" != digest:
            raise ImageError(f"layer has digest sha256:{seen.hexdigest()} instead of {digest}")
        into.seek(0)


def _for_this_machine(manifests: list[Mapping[str, Any]]) -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    fitting = [m for m in manifests if (m.get("platform") or {}).get("architecture") == machine]
    if not manifests:
        raise ImageError("the image index is empty")
    return str((fitting or manifests)[0]["digest"])


def unpack_layer(blob: IO[bytes], root: Path, budget: int) -> int:
    """Unpacks one tar (gzipped or not) over `root`, applying whiteouts; the bytes still allowed afterwards.

    Refuses names and links that lead out of `root`, devices, and more than `budget` bytes. Absolute link targets
    are taken as absolute inside the image.
    """
    magic = blob.read(2)
    blob.seek(0)
    stream: IO[bytes] = gzip.GzipFile(fileobj=blob) if magic == b"\x1f\x8b" else blob  # type: ignore[assignment]
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            budget -= member.size if member.isreg() else 0
            if budget < 0:
                raise ImageError("the unpacked image is too large")
            _unpack_member(tar, member, root)
    return budget


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts or member.name.startswith("/") or "\0" in member.name:
        raise ImageError(f"the image holds an unsafe path: {member.name!r}")
    if not parts:
        return
    folder = _real_folder(root, parts[:-1], member.name)
    name = parts[-1]
    if name.startswith(".wh."):
        _white_out(folder, name)
        return
    path = folder / name
    if not (member.isdir() and path.is_dir() and not path.is_symlink()):
        _remove(path)
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(_link(member, parts))
    elif member.islnk():
        os.link(_linked_file(root, member), path, follow_symlinks=False)
    elif member.isreg():
        source = tar.extractfile(member)
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)  # type: ignore[arg-type]
        path.chmod(0o755 if member.mode & 0o111 else 0o644)
    # Devices and pipes are nothing a local process needs.


def _real_folder(root: Path, parts: list[str], name: str) -> Path:
    folder = root.joinpath(*parts)
    real = Path(os.path.realpath(folder))
    if real != Path(os.path.realpath(root)) and not real.is_relative_to(os.path.realpath(root)):
        raise ImageError(f"the image holds an unsafe path: {name!r}")
    real.mkdir(parents=True, exist_ok=True)
    return real


def _link(member: tarfile.TarInfo, parts: list[str]) -> str:
    """The link target, relative to the link's folder; never above the root."""
    target = member.linkname
    depth = len(parts) - 1
    if target.startswith("/"):
        target = "../" * depth + target.lstrip("/")
    level = depth
    for part in target.split("/"):
        level += -1 if part == ".." else 0 if part in ("", ".") else 1
        if level < 0:
            raise ImageError(f"the image holds a link that leads out of it: {member.name!r}")
    return target or "."


def _linked_file(root: Path, member: tarfile.TarInfo) -> Path:
    parts = [part for part in member.linkname.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise ImageError(f"the image holds a link that leads out of it: {member.name!r}")
    return _real_folder(root, parts[:-1], member.name) / parts[-1]


def _white_out(folder: Path, name: str) -> None:
    if name == ".wh..wh..opq":
        for child in list(folder.iterdir()):
            _remove(child)
    elif name.removeprefix(".wh.") not in ("", ".", ".."):
        _remove(folder / name.removeprefix(".wh."))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
