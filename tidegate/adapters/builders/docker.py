"""Builds an image from a Dockerfile with the Docker engine, and pushes it.

The engine is spoken to by the `docker` SDK, which drives the engine's classic builder: a Dockerfile that
needs BuildKit (`RUN --mount`, here-documents) is refused by the engine, and the message says so. Build
arguments are readable in the finished image; they are no place for secrets.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tidegate.adapters.images import Credentials, Reference, Registry
from tidegate.adapters.images.publishing import build_tag, credentials, image_name
from tidegate.adapters.masking import Masker
from tidegate.adapters.steps import Step, StepResult
from tidegate.domain.release import Image
from tidegate.errors import OutsideError, PluginError, Refused, Rejected, Unreachable
from tidegate.spec import Duration

log = logging.getLogger(__name__)

_ENGINE = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")
_ERRORS = {error.__name__: error for error in (PluginError, Refused, Rejected, Unreachable)}


class Settings(BaseModel):
    """`build: {image: registry.example/shop, dockerfile: Dockerfile}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    """Name without tag; the registry is spoken to by HTTPS, on loopback by HTTP."""
    dockerfile: str = "Dockerfile"
    """Path below the context."""
    context: str = "."
    """Folder of the source that is sent to the engine, less what its `.dockerignore` names."""
    target: str | None = None
    args: dict[str, str] = {}
    labels: dict[str, str] = {}
    platform: str | None = None
    network: str | None = None
    """Network of `RUN` steps: `none`, `host` or one of the engine's; default: the engine's own default."""
    pull: bool = False
    """Look for newer base images although there are local ones."""
    host: str | None = None
    """Address of the engine; default: `DOCKER_HOST`, else the usual socket."""
    timeout: Duration = timedelta(minutes=30)


class Docker:
    """The builder of kind `docker`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._image = image_name(settings.image)

    def build(
        self, source: Path, *, tree_id: str, revision: str, app: str, run: Callable[[Step], StepResult]
    ) -> Image:
        """Builds and pushes the image of a source tree, unless this tree was built before; its digest.

        The engine's output is the output of the step `build`. Raises `PluginError` (no engine), `Refused`
        (the build failed, or took too long), `Rejected`, `Unreachable`, `OutsideError` (cancelled).
        """
        tag = build_tag(tree_id, self._settings)
        with Registry(self._image, credentials=credentials()) as registry:
            digest = registry.digest(self._image.api_repository, tag)
            if digest is not None:
                log.info("%s: tree %s is built already, %s@%s", app, tree_id[:7], self._image.name, digest)
                return Image(self._image.name, digest)
            pushed = self._publish(source, tag, app, run)
            found = registry.digest(self._image.api_repository, tag)
        if found != pushed:
            raise Rejected(
                f"image {self._image.name}:{tag}: the engine pushed {pushed}, the registry has {found or 'nothing'}"
            )
        log.info("%s: built and pushed %s@%s", app, self._image.name, pushed)
        return Image(self._image.name, pushed)

    def exists(self, image: Image) -> bool:
        """Whether the registry still has the image (one HEAD)."""
        with Registry(self._image, credentials=credentials()) as registry:
            return registry.digest(Reference.parse(image.name).api_repository, image.digest) is not None

    def _publish(self, source: Path, tag: str, app: str, run: Callable[[Step], StepResult]) -> str:
        with tempfile.TemporaryDirectory(prefix="tidegate-build-") as folder:
            request, answer = Path(folder, "request.json"), Path(folder, "answer.json")
            request.write_text(json.dumps(self._request(source, tag, app)))
            argv = (sys.executable, "-I", "-m", "tidegate.adapters.builders._docker_build", request, answer)
            step = Step("build", tuple(map(str, argv)), source, self._env(), self._settings.timeout)
            result = run(step)
            return _digest(result, answer, app)

    def _request(self, source: Path, tag: str, app: str) -> dict[str, object]:
        labels = {"org.opencontainers.image.title": app, **self._settings.labels}
        settings = self._settings.model_dump(mode="json", exclude={"timeout", "labels", "image", "context"})
        context = str((source / self._settings.context).resolve())
        return {**settings, "context": context, "name": self._image.name, "tag": tag, "labels": labels}

    def _env(self) -> dict[str, str]:
        """What the engine's client needs of our environment; a build's `RUN` steps see none of it."""
        env = {name: os.environ[name] for name in _ENGINE if name in os.environ}
        env["DOCKER_CONFIG"] = os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))
        login = credentials()
        return env | (_login(login) if login else {})


def _login(login: Credentials) -> dict[str, str]:
    password = login.password.get_secret_value()
    return {"TIDEGATE_REGISTRY_USERNAME": login.username, "TIDEGATE_REGISTRY_PASSWORD": password}


def _digest(result: StepResult, answer: Path, app: str) -> str:
    """What the child found, or the error it told us."""
    if result.reason == "cancelled":
        raise OutsideError(f"build of {app}: cancelled")
    try:
        said = json.loads(answer.read_bytes())
    except (OSError, ValueError):
        raise Refused(f"build of {app}: {result.reason}; its last words: {result.tail[-300:]}") from None
    if "digest" in said:
        return str(said["digest"])
    login = credentials()
    masker = Masker([login.password] if login else [])
    raise _ERRORS[said["error"]](masker.mask(f"build of {app}: {said['message']}"))


def build(settings: Settings) -> Docker:
    """The builder for checked settings."""
    return Docker(settings)
