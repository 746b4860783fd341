"""Builds an image without a daemon: files of the source and an entrypoint become one reproducible layer.

For interpreters that are on the node already (the embedded cluster), for static binaries, and for models
and other data. What needs a base image or a `RUN` needs the `docker` builder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tidegate.adapters.images import ImageConfig, Reference, Registry, write_image, write_layer
from tidegate.adapters.images.oci import MANIFEST
from tidegate.adapters.images.publishing import build_tag, credentials, image_name
from tidegate.adapters.patterns import any_of
from tidegate.adapters.steps import Step, StepResult
from tidegate.domain.release import Image
from tidegate.errors import Refused

log = logging.getLogger(__name__)


class Settings(BaseModel):
    """`build: {kind: archive, image: registry.example/shop, entrypoint: [python, -m, shop]}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    """Name without tag; the registry is spoken to by HTTPS, on loopback by HTTP."""
    entrypoint: Annotated[tuple[str, ...], Field(min_length=1)]
    files: tuple[str, ...] = ("**",)
    """Patterns of paths below the source: `*` stays in a folder, `**` crosses folders."""
    exclude: tuple[str, ...] = ()
    env: dict[str, str] = {}
    workdir: str = "/app"
    """Where the files are and the entrypoint starts."""
    labels: dict[str, str] = {}
    platform: str = "linux/amd64"


class Archive:
    """The builder of kind `archive`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._image = image_name(settings.image)

    def build(
        self,
        source: Path,
        *,
        tree_id: str,
        revision: str,
        app: str,
        run: Callable[[Step], StepResult] | None = None,
    ) -> Image:
        """Pushes the image of a source tree, unless this tree was built before, and gives its digest.

        The revision is not in the image: two commits with one tree are one image. Raises `Refused` (nothing
        to pack, a link out of the tree), `Unreachable`, `Rejected`.
        """
        tag = build_tag(tree_id, self._settings)
        with self._registry() as registry:
            digest = registry.digest(self._image.api_repository, tag)
            if digest is None:
                digest = self._publish(registry, source, tag, app)
                log.info("%s: built and pushed %s@%s", app, self._image.name, digest)
            else:
                log.info("%s: tree %s is built already, %s@%s", app, tree_id[:7], self._image.name, digest)
        return Image(self._image.name, digest)

    def exists(self, image: Image) -> bool:
        """Whether the registry still has the image (one HEAD)."""
        with self._registry() as registry:
            return registry.digest(Reference.parse(image.name).api_repository, image.digest) is not None

    def _registry(self) -> Registry:
        return Registry(self._image, credentials=credentials())

    def _publish(self, registry: Registry, source: Path, tag: str, app: str) -> str:
        settings = self._settings
        repository = self._image.api_repository
        files = select(source, settings.files, settings.exclude)
        if not files:
            raise Refused(
                f"build of {app}: no file matches {', '.join(settings.files)}; there is nothing to pack"
            )
        labels = {"org.opencontainers.image.title": app, **settings.labels}
        config = ImageConfig(settings.entrypoint, settings.env, settings.workdir, labels, settings.platform)
        with tempfile.TemporaryDirectory(prefix="tidegate-build-") as folder:
            layer = write_layer(files, settings.workdir, Path(folder, "layer.tar.gz"))
            body, manifest = write_image([layer], config)
            registry.push_blob(repository, layer.digest, layer.path)
            registry.push_blob(repository, f"sha256:{hashlib.sha256(body).hexdigest()}", body)
        return registry.put_manifest(repository, tag, manifest, MANIFEST)


def build(settings: Settings) -> Archive:
    """The builder for checked settings."""
    return Archive(settings)


def select(source: Path, files: tuple[str, ...], exclude: tuple[str, ...]) -> dict[str, Path]:
    """Files and symbolic links below `source` that a pattern names and none excludes; never `.git`."""
    wanted, unwanted = any_of(files), any_of(("**/.git", *exclude))
    found = {}
    for path in _walk(source):
        name = path.relative_to(source).as_posix()
        if wanted.fullmatch(name) and not unwanted.fullmatch(name):
            _check_link(source, path, name)
            found[name] = path
    return found


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)
        elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
            yield path


def _check_link(source: Path, path: Path, name: str) -> None:
    if not path.is_symlink():
        return
    target = path.readlink()
    inside = os.path.normpath(PurePosixPath(name).parent / target)
    if target.is_absolute() or inside == ".." or inside.startswith("../"):
        raise Refused(
            f"source link '{name}' points out of the tree ('{target}'); make it relative or exclude it"
        )
