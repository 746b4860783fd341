"""How a folder of the config repository becomes manifests. One module per kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tidegate.domain.manifests import Manifest


class Renderer(Protocol):
    """A pure function of files, as far as its tool allows."""

    def render(self, files: Mapping[str, bytes], folder: str) -> list[Manifest]:
        """The full manifest set of a folder.

        `files`: the needed part of the config tree, path from its root -> content. Raises `SpecError` (what the
        user wrote), `PluginError` (the tool is missing), `Rejected` (the tool failed).
        """
        ...
