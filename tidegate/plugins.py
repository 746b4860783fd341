"""Kind -> module. The folder is the registry: `tidegate/adapters/<folder>/<kind>.py`, or an entry point.

Outside packages add kinds with entry points in the group `tidegate.<folder>`. A plug-in module has `Settings`
(pydantic) and `build(settings)`; nothing else has to be edited anywhere.
"""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from tidegate.errors import PluginError
from tidegate.spec import Section

FOLDERS = ("targets", "renderers", "builders", "auditors", "metrics", "checks", "traffic")
_SINGULAR = {"metrics": "metrics", "traffic": "traffic"}


@lru_cache(maxsize=None)
def kinds(folder: str) -> tuple[str, ...]:
    """Names of all kinds in a folder, built in and from entry points, sorted."""
    package = import_module(f"tidegate.adapters.{folder}")
    found = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    found |= {point.name for point in entry_points(group=f"tidegate.{folder}")}
    return tuple(sorted(found))


def module(folder: str, kind: str) -> ModuleType:
    """The module of a kind; `PluginError` names the kinds there are."""
    if kind not in kinds(folder):
        noun = _SINGULAR.get(folder, folder.removesuffix("s"))
        raise PluginError(f"no {noun} of kind '{kind}'; there is {', '.join(kinds(folder)) or 'none'}")
    for point in entry_points(group=f"tidegate.{folder}"):
        if point.name == kind:
            loaded: ModuleType = point.load()
            return loaded
    return import_module(f"tidegate.adapters.{folder}.{kind}")


def build(folder: str, section: Section) -> Any:
    """The plug-in of a section, built with its checked settings; `PluginError`, pydantic's `ValidationError`."""
    plugin = module(folder, section.kind)
    return plugin.build(plugin.Settings.model_validate(section.settings))
