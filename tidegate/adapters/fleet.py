"""The fleet: all applications there are and their health scripts, from a path, or from Git at a branch or commit."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.adapters.health_scripts import FOLDER as HEALTH
from tidegate.adapters.health_scripts import from_files, from_folder
from tidegate.domain.health.scripts import Scripts
from tidegate.errors import NotFound, SpecError, Unreachable
from tidegate.settings import Settings
from tidegate.spec import Application, load, load_files
from tidegate.spec.places import likely

if TYPE_CHECKING:
    from tidegate.adapters.git import Mirror

log = logging.getLogger(__name__)

_GIT = re.compile(r"(?P<url>[a-z+]+://[^/]*/.+?|[^/:@]+@[^/:]+:.+?)//(?P<folder>[^@]*)(?:@(?P<ref>[^@]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The applications, in the order of their names."""

    applications: tuple[Application, ...]
    source: str = ""
    """Where they were read: a path, or `<git url>//<dir>@<commit>`."""
    health: Scripts = field(default_factory=Scripts)
    """The health scripts of the same commit, from its folder `health/<group>/<Kind>/health.lua`."""

    def application(self, name: str) -> Application:
        """The application of that name; `SpecError` names the likely one and those there are."""
        for application in self.applications:
            if application.name == name:
                return application
        known = [application.name for application in self.applications]
        raise SpecError(f"no application '{name}'; {likely(name, known, there='there is')}")


def load_fleet(settings: Settings) -> Fleet:
    """The fleet `TIDEGATE_FLEET` names, read anew. `SpecError` for its mistakes, `OutsideError` from Git."""
    found = _GIT.fullmatch(settings.fleet)
    if not found:
        path = Path(settings.fleet)
        return Fleet(load(path), settings.fleet, from_folder(path / HEALTH))
    return _from_git(found["url"], found["folder"].strip("/"), found["ref"] or "main", settings)


def _from_git(url: str, folder: str, ref: str, settings: Settings) -> Fleet:
    from tidegate.adapters.git import Mirror  # a fleet on disk needs no git

    mirror = Mirror(url, settings)
    commit = ref if _COMMIT.fullmatch(ref) else _fetched(mirror, ref)
    source = f"{mirror.url_redacted}//{folder}@{commit[:7]}"
    prefix = f"{folder}/" if folder else ""
    files = {p.removeprefix(prefix): text for p, text in mirror.tree(commit, folder).items()}
    scripts = {p.removeprefix(f"{HEALTH}/"): t for p, t in files.items() if p.startswith(f"{HEALTH}/")}
    return Fleet(load_files(files, source), source, from_files(scripts, f"{source}/{HEALTH}"))


def _fetched(mirror: Mirror, ref: str) -> str:
    """The commit a branch is at; the last one seen while the remote is away, so that a rollback still works."""
    branch = ref.removeprefix("refs/heads/")
    try:
        commit = mirror.fetch(branch).get(branch)
    except Unreachable as error:
        commit = mirror.tip(branch)
        if commit is None:
            raise
        log.warning("%s: fleet as of the last fetch, %s: %s", mirror.url_redacted, commit[:7], error)
    if commit is None:
        raise NotFound(f"{mirror.url_redacted}: no branch '{branch}'; the fleet is <git url>//<dir>@<branch>")
    return commit
