"""How a folder of the config repository becomes manifests. One module per kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tidegate.domain.manifests import Manifest


@dataclass(frozen=True, slots=True)
class Place:
    """Where the manifests will go, for tools whose output depends on it."""

    app: str = "release"
    namespace: str = "default"
    """The target's namespace, where objects without one go."""


class Program(Protocol):
    """The program that does a renderer's work."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str:
        """Equal keys are the same build; cheap."""
        ...

    @property
    def version(self) -> str:
        """What it says it is; `PluginError` when it does not run."""
        ...


def picked(files: Mapping[str, bytes], paths: Iterable[str]) -> dict[str, bytes]:
    """Some of the files, in one go where they are still to be read (see `operations.rendering.Committed`)."""
    pick: Callable[[Iterable[str]], dict[str, bytes]] | None = getattr(files, "pick", None)
    return pick(paths) if pick else {path: files[path] for path in paths}


class Renderer(Protocol):
    """A pure function of files and place, as far as its tool allows."""

    def render(self, files: Mapping[str, bytes], folder: str, place: Place = ...) -> list[Manifest]:
        """The full manifest set of a folder.

        `files`: the config tree, path from its root -> content, read when asked for. Raises `SpecError` (what the
        user wrote), `PluginError` (the tool is missing), `Rejected` (the tool failed).
        """
        ...

    def tool(self) -> Program | None:
        """What does the work; None when we do it ourselves. `PluginError` when it is missing."""
        ...
