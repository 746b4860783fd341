"""Kustomize, by its own binary in a confined child: no secrets, no network, no plug-ins, bounded in every way.

A kustomization is a program somebody else wrote (exec plug-ins, `helmGlobals.configHome`, remote
bases with arguments). What could run or fetch something is refused by name before the binary starts, and the binary
is given only the folders that the stage's kustomization is made of.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tidegate import yaml_reader
from tidegate.adapters.renderers import Place, picked
from tidegate.adapters.renderers._confined import Tool, digest, find, outputs, run, scratch
from tidegate.domain.manifests import Manifest, read_located, unique
from tidegate.errors import Problem, Rejected, SpecError
from tidegate.settings import settings as environment
from tidegate.yaml_reader import Document

_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_REFUSED = {
    "helmCharts": "set render: helm, or render the chart yourself and commit the result",
    "helmGlobals": "set render: helm, or render the chart yourself and commit the result",
    "helmChartInflationGenerator": "set render: helm, or render the chart yourself and commit the result",
    "generators": "commit what it generates",
    "transformers": "use patches, replacements and the built-in fields",
    "validators": "check the manifests in the repository's own CI",
}
_FOLDERS = ("resources", "bases", "components")
_PATHS = (*_FOLDERS, "crds", "configurations", "openapi", "patches", "patchesStrategicMerge")
_REMOTE = re.compile(
    r"^[a-z0-9+.-]+::|^[a-z][a-z0-9+.-]*://|^[^/\s]+@[^/\s]+:|^(?:github|gitlab)\.com[/:]|\?ref=|\?version=|^-|^/",
    re.I,
)
_FLAGS = ("--load-restrictor", "LoadRestrictionsRootOnly")
_ANYWHERE = Place()

_Way = tuple[str | int, ...]


class Settings(BaseModel):
    """`render: kustomize`, or with its own time limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: float = Field(default=25.0, gt=0, le=120)
    """Seconds one build may take."""


class Kustomize:
    """A renderer that runs `kustomize build`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def tool(self) -> Tool:
        """The kustomize binary, or the same code inside kubectl."""
        hint = "install one (https://kubectl.docs.kubernetes.io/installation/kustomize/)"
        return find("kustomize", environment().kustomize, "TIDEGATE_KUSTOMIZE", hint, "kubectl")

    def render(self, files: Mapping[str, bytes], folder: str, place: Place = _ANYWHERE) -> list[Manifest]:
        """All objects of the built kustomization, in its order."""
        folder = folder.strip("/")
        if _kustomization(files, folder) is None:
            raise SpecError(f"{folder}: no kustomization.yaml; add one, or set render: plain")
        needed, tool = _needed(files, folder), self.tool()
        key = digest(tool, [folder, *_FLAGS], needed)
        output = outputs.get(key) or outputs.put(key, self._run(tool, needed, folder))
        return unique(read_located(output, f"{folder} (built by kustomize)"))

    def _run(self, tool: Tool, files: Mapping[str, bytes], folder: str) -> bytes:
        command = "kustomize" if Path(tool.path).name.startswith("kubectl") else "build"
        with scratch(files) as space:
            words = [command, str(space.tree / folder), *_FLAGS]
            try:
                ended = run(tool, words, space, timeout=self._settings.timeout)
            except Rejected as error:
                raise Rejected(f"{folder}: {error}") from None
            if ended.code != 0:
                raise Rejected(f"{folder}: kustomize failed: {space.clean(ended.words)}")
        return ended.output


def _kustomization(files: Mapping[str, bytes], folder: str) -> str | None:
    paths = (posixpath.join(folder, name) for name in _NAMES)
    return next((path for path in paths if path in files), None)


def _needed(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    """The files of all folders that the kustomization is made of; `SpecError` with every problem in any of them.

    By kustomize's own rule (`LoadRestrictionsRootOnly`) every file must be below the kustomization that names it, so
    these folders are all that it may read.
    """
    problems: list[Problem] = []
    todo, seen = [folder], set[str]()
    while todo:
        here = todo.pop()
        path = None if here in seen else _kustomization(files, here)
        seen.add(here)
        if path is None:
            continue
        for document in yaml_reader.read(files[path], path):
            data = document.data if isinstance(document.data, dict) else {}
            problems += _refused(path, document, data)
            for at, value in _strings(data):
                problems += _astray(files, here, path, document, at, value)
            todo += [_joined(here, value) for at, value in _locations(data) if at[0] in _FOLDERS]
    if problems:
        raise SpecError(problems=sorted(set(problems)))
    prefixes = tuple(f"{each}/" if each else "" for each in seen)
    return picked(files, [path for path in files if path.startswith(prefixes)])


def _joined(here: str, value: str) -> str:
    found = posixpath.normpath(posixpath.join(here, value))
    return "" if found == "." else found


def _refused(path: str, document: Document, data: dict[str, Any]) -> Iterator[Problem]:
    for key, hint in _REFUSED.items():
        if data.get(key):
            yield Problem(path, *document.position((key,), key=True), f"{key} is not allowed here", hint)
    for at, value in _locations(data):
        if _REMOTE.search(value):
            what = f"'{value[:100]}' is not in this repository"
            yield Problem(
                path, *document.position(at), what, "copy it in, so that it is versioned and reviewed"
            )


def _astray(
    files: Mapping[str, bytes], here: str, path: str, document: Document, at: _Way, value: str
) -> Iterator[Problem]:
    """References upward that lead out of the repository, or to a file that is not the kustomization's own."""
    name = value.partition("=")[2] or value  # generators: key=file
    if "\n" in name or ".." not in name.split("/"):
        return
    found = _joined(here, name)
    if found.startswith("..") and at[0] in _PATHS:
        what, hint = f"'{value[:100]}' leaves the repository", "use paths inside it"
    elif found in files and here and not found.startswith(f"{here}/"):
        what, hint = f"'{value[:100]}' is outside this kustomization's folder", "move the file below it"
    else:
        return
    yield Problem(path, *document.position(at), what, hint)


def _locations(data: dict[str, Any]) -> Iterator[tuple[_Way, str]]:
    for key in _PATHS:
        items = data.get(key)
        for index, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, str) and "\n" not in item:
                yield (key, index), item
            elif isinstance(item, dict) and isinstance(item.get("path"), str):
                yield (key, index, "path"), item["path"]


def _strings(data: Any, at: _Way = ()) -> Iterator[tuple[_Way, str]]:
    """Every text and its place."""
    if isinstance(data, str):
        yield at, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _strings(value, (*at, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _strings(value, (*at, index))


def build(settings: Settings) -> Kustomize:
    """The renderer of an application."""
    return Kustomize(settings)
