"""Manifests as they are: every YAML and JSON file of the folder. Argo CD's "directory" kind, also its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict

from tidegate.adapters.renderers import Place, picked
from tidegate.domain.manifests import Manifest, read_located, unique
from tidegate.errors import Problem, SpecError

_ENDINGS = (".yaml", ".yml", ".json")
_ANYWHERE = Place()


class Settings(BaseModel):
    """`render: plain`, or `render: {kind: plain, recurse: true}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recurse: bool = False
    """Also files of folders below; like Argo CD's, the default looks at the folder itself only."""


class Plain:
    """A renderer that only reads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def tool(self) -> None:
        """We read ourselves."""

    def render(self, files: Mapping[str, bytes], folder: str, place: Place = _ANYWHERE) -> list[Manifest]:
        """All objects of the folder's files, in path order; `SpecError` with every problem of every file."""
        chosen = [path for path in sorted(files) if self._belongs(PurePosixPath(path), PurePosixPath(folder))]
        if not chosen:
            raise SpecError(f"{folder}: no manifests; put *.yaml, *.yml or *.json files there")
        located: list[tuple[Manifest, str]] = []
        problems: list[Problem] = []
        for path, text in picked(files, chosen).items():
            try:
                located += read_located(text, path)
            except SpecError as error:
                if not error.problems:
                    raise
                problems += error.problems
        if problems:
            raise SpecError(problems=problems)
        return unique(located)

    def _belongs(self, path: PurePosixPath, folder: PurePosixPath) -> bool:
        if path.suffix not in _ENDINGS or not path.is_relative_to(folder):
            return False
        inside = path.relative_to(folder)
        return len(inside.parts) == 1 or self._settings.recurse


def build(settings: Settings) -> Plain:
    """The renderer of an application."""
    return Plain(settings)
