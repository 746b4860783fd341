"""Kind -> module. The folder is the registry: `tidegate/adapters/<folder>/<kind>.py`, or an entry point.

Outside packages add kinds with entry points in the group `tidegate.<folder>`. A plug-in module has `Settings`
(pydantic) and `build(settings)`; nothing else has to be edited anywhere.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from tidegate.errors import PluginError
from tidegate.spec import Section

FOLDERS = ("targets", "renderers", "builders", "auditors", "metrics", "checks", "traffic")
_SINGULAR = {"metrics": "metrics", "traffic": "traffic"}


@cache
def _built_in(folder: str) -> frozenset[str]:
    package = import_module(f"tidegate.adapters.{folder}")
    return frozenset(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


@cache
def _outside(folder: str) -> dict[str, EntryPoint]:
    """Entry points read every installed package (60 ms), so they are asked once, and only when they may matter."""
    return {point.name: point for point in entry_points(group=f"tidegate.{folder}")}


@cache
def kinds(folder: str) -> tuple[str, ...]:
    """Names of all kinds in a folder, built in and from entry points, sorted."""
    return tuple(sorted(_built_in(folder) | _outside(folder).keys()))


def module(folder: str, kind: str) -> ModuleType:
    """The module of a kind, built-in ones first; `PluginError` names the kinds there are."""
    if kind in _built_in(folder):
        return import_module(f"tidegate.adapters.{folder}.{kind}")
    if kind in _outside(folder):
        loaded: ModuleType = _outside(folder)[kind].load()
        return loaded
    noun = _SINGULAR.get(folder, folder.removesuffix("s"))
    raise PluginError(f"no {noun} of kind '{kind}'; there is {', '.join(kinds(folder)) or 'none'}")


def build(folder: str, section: Section) -> Any:
    """The plug-in of a section, built with its checked settings; `PluginError`, pydantic's `ValidationError`."""
    plugin = module(folder, section.kind)
    return plugin.build(plugin.Settings.model_validate(section.settings))
