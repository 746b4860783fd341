"""What the small registry keeps on disk: blobs by content, manifests and tags by repository, unfinished uploads."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIGEST = r"sha256:[0-9a-f]{64}"
_IMAGE_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass
class Refusal(Exception):
    """An error answer as the distribution API writes it."""

    status: int
    code: str
    message: str
    detail: object = None


class Store:
    """The files of the registry; every write is a rename, so a killed server leaves whole files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.uploads = root / "uploads"
        self.repositories = root / "repositories"
        for folder in (self.blobs, self.uploads, self.repositories):
            folder.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """The file of a blob; `Refusal` 404 when there is none."""
        path = self.blobs / digest.removeprefix("sha256:")
        if not re.fullmatch(DIGEST, digest) or not path.is_file():
            raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry", digest)
        return path

    def upload(self, name: str) -> Path:
        """The file of an unfinished upload; `Refusal` 404 when there is none."""
        path = self.uploads / name
        if not path.is_file():
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return path

    def keep(self, upload: Path, digest: str) -> None:
        """An upload becomes a blob when its content is what it says."""
        with upload.open("rb") as stream:
            found = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            upload.unlink()
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content", found)
        upload.replace(self.blobs / digest.removeprefix("sha256:"))

    def write(self, path: Path, content: bytes) -> None:
        """The file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.uploads / f".{uuid.uuid4()}"
        temporary.write_bytes(content)
        temporary.replace(path)

    def manifest(self, name: str, reference: str) -> tuple[str, str, bytes]:
        """Digest, media type and bytes of a manifest by tag or digest; `Refusal` 404."""
        unknown = Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown", {"Name": name, "Tag": reference})
        folder = self.repositories / name
        try:
            digest = reference if ":" in reference else (folder / "tags" / reference).read_text()
            media_type = (folder / "manifests" / digest.removeprefix("sha256:")).read_text()
            return digest, media_type, self.blob(digest).read_bytes()
        except (OSError, Refusal):
            raise unknown from None

    def put_manifest(self, name: str, reference: str, media_type: str, body: bytes) -> str:
        """Stores a manifest under its digest, and the tag that names it."""
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if ":" in reference and reference != digest:
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        for needed in _needed(body, media_type):
            if not (self.blobs / needed.removeprefix("sha256:")).is_file():
                raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", {"digest": needed})
        self.write(self.blobs / digest.removeprefix("sha256:"), body)
        folder = self.repositories / name
        self.write(folder / "manifests" / digest.removeprefix("sha256:"), media_type.encode())
        if ":" not in reference:
            self.write(folder / "tags" / reference, digest.encode())
        return digest

    def tags(self, name: str) -> list[str]:
        """Tags of a repository in order; `Refusal` 404 for an unknown one."""
        folder = self.repositories / name
        if not (folder / "manifests").is_dir():
            raise Refusal(404, "NAME_UNKNOWN", "repository name not known to registry", {"name": name})
        tags = folder / "tags"
        return sorted(p.name for p in tags.iterdir()) if tags.is_dir() else []

    def names(self) -> list[str]:
        """Every repository that has a manifest."""
        found = self.repositories.rglob("manifests")
        return sorted(str(p.parent.relative_to(self.repositories)) for p in found if p.is_dir())


def _needed(body: bytes, media_type: str) -> list[str]:
    """Digests a manifest refers to; `Refusal` when it is none."""
    try:
        data: dict[str, Any] = json.loads(body)
        if media_type in _INDEX_TYPES:
            return [str(m["digest"]) for m in data["manifests"]]
        if media_type in _IMAGE_TYPES:
            parts = [data["config"], *(part for part in data["layers"] if not part.get("urls"))]
            return [str(p["digest"]) for p in parts]
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(400, "MANIFEST_INVALID", "manifest invalid", str(error)) from None
    raise Refusal(400, "MANIFEST_INVALID", "manifest invalid", f"media type {media_type!r}")
