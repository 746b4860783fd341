"""Helm charts, by `helm template` in a confined child: no cluster, no secrets, no network, no plug-ins.

The chart is a folder of the config repository with its dependencies in `charts/`; values come from files beside it
and from the application itself. `lookup` finds nothing, as always with `helm template`; hooks are part of what is
rendered and keep their annotations, tests are left out.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tidegate import yaml_reader
from tidegate.adapters.renderers import Place, picked
from tidegate.adapters.renderers._confined import (
    Scratch,
    Tool,
    digest,
    find,
    outputs,
    run,
    scratch,
)
from tidegate.domain.manifests import Manifest, dump, read_located, unique
from tidegate.errors import Problem, Rejected, SpecError
from tidegate.settings import settings as environment

_REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*:|^[^/\s]+@[^/\s]+:", re.I)
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_SOURCE = re.compile(rb"^---\n# Source: ([^\n]+)\n", re.M)
_MISSING = re.compile(r"missing in charts/ directory: ([^;]+)")
_ANYWHERE = Place()


def _in_repository(path: str) -> str:
    """A path inside the config repository; `ValueError` for what is somewhere else."""
    if _REMOTE.search(path):
        raise ValueError(
            f"'{path[:100]}' is not in the config repository; charts and values are never fetched"
        )
    if path.startswith("-") or "\0" in path:
        raise ValueError(f"'{path[:100]}' is not a path of the config repository")
    return path


_Path = Annotated[str, AfterValidator(_in_repository)]


class Settings(BaseModel):
    """`render: helm`: the stage's folder is the chart; or the chart elsewhere, and values in the stage's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chart: _Path | None = None
    """Folder of the chart, from the root of the config repository; default: the stage's own folder."""
    values: tuple[_Path, ...] = ()
    """Values files over the chart's own, the last one wins; from the stage's folder, with a leading / from the root."""
    set: dict[str, Any] = {}
    """Values written here; they win over the files."""
    release: str | None = Field(default=None, max_length=53, pattern=_NAME)
    """Name of the release; default: the application's."""
    namespace: str | None = Field(default=None, max_length=63, pattern=_NAME)
    """Namespace of the release; default: the target's."""
    crds: bool = True
    """Whether the objects of the chart's `crds/` are part of it."""
    kube_version: str | None = Field(default=None, pattern=r"^v?\d+\.\d+[\w.+-]*$")
    """Version of Kubernetes that the chart sees, like `1.34`; default: what the helm binary was built for."""
    api_versions: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./-]*$")], ...] = ()
    """Further API versions that the chart sees, like `monitoring.coreos.com/v1/ServiceMonitor`."""
    timeout: float = Field(default=25.0, gt=0, le=120)
    """Seconds one rendering may take."""


class Helm:
    """A renderer that runs `helm template`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def tool(self) -> Tool:
        """The helm binary."""
        return find(
            "helm", environment().helm, "TIDEGATE_HELM", "install it (https://helm.sh/docs/intro/install/)"
        )

    def render(self, files: Mapping[str, bytes], folder: str, place: Place = _ANYWHERE) -> list[Manifest]:
        """All objects of the chart: CRDs, then the rest in Helm's order, then hooks."""
        folder = folder.strip("/")
        chart = folder if self._settings.chart is None else _inside("", self._settings.chart)
        name = _chart_name(files, chart)
        named = [_inside(folder, path) for path in self._settings.values]
        wanted = list(dict.fromkeys(reversed(named)))[::-1]  # the last one wins
        for path in wanted:
            if path not in files:
                raise SpecError(f"{path}: no such values file; add it, or correct config.render.values")
            yaml_reader.read(files[path], path)  # our words have a place
        below = f"{chart}/" if chart else ""
        tree = picked(files, [path for path in files if path.startswith(below)])
        texts = {path: files[path] for path in wanted}
        words = [*self._options(place), self._settings.release or place.app]
        tool = self.tool()
        key = digest(tool, [chart, *words, *wanted, *self._written()], tree, texts)
        output = outputs.get(key) or outputs.put(key, self._run(tool, tree, chart, name, words, texts))
        return _manifests(output, name, chart)

    def _run(
        self,
        tool: Tool,
        tree: Mapping[str, bytes],
        chart: str,
        name: str,
        words: list[str],
        texts: Mapping[str, bytes],
    ) -> bytes:
        *options, release = words
        with scratch(tree) as space:
            values = self._write_values(space, [*texts.values(), *map(str.encode, self._written())])
            command = ["template", *options, *values, "--", release, str(space.tree / chart)]
            try:
                ended = run(tool, command, space, timeout=self._settings.timeout, env=_homes(space))
            except Rejected as error:
                raise Rejected(f"{chart or 'the chart'}: {error}") from None
            if ended.code == 0:
                return ended.output
            said = space.clean(ended.words).replace("; Use --debug flag to render out invalid YAML", "")
        for index, path in enumerate(texts):
            said = said.replace(f"values/{index}.yaml", path)
        if problems := list(_missing(tree, chart, said)):
            raise SpecError(problems=problems)
        raise Rejected(f"{chart or 'the chart'}: helm failed: {_placed(said, name, chart)}")

    def _options(self, place: Place) -> Iterator[str]:
        yield f"--namespace={self._settings.namespace or place.namespace}"
        yield "--include-crds" if self._settings.crds else "--skip-crds"
        yield "--skip-tests"
        if self._settings.kube_version:
            yield f"--kube-version={self._settings.kube_version}"
        for version in self._settings.api_versions:
            yield f"--api-versions={version}"

    def _written(self) -> list[str]:
        return [dump(self._settings.set).decode()] if self._settings.set else []

    def _write_values(self, space: Scratch, texts: list[bytes]) -> Iterator[str]:
        """Under names of our own: helm would take a comma in a path for a second file, and that for an address."""
        below = space.root / "values"
        below.mkdir()
        for index, text in enumerate(texts):
            path = below / f"{index}.yaml"
            path.write_bytes(text)
            yield f"--values={path}"


def _inside(folder: str, path: str) -> str:
    """The path from the repository's root; `SpecError` when it leaves it."""
    joined = path.lstrip("/") if path.startswith("/") else posixpath.join(folder, path)
    found = posixpath.normpath(joined)
    if found.startswith(".."):
        raise SpecError(f"{path}: leaves the repository; use paths inside it")
    return "" if found == "." else found


def _chart_name(files: Mapping[str, bytes], chart: str) -> str:
    path = posixpath.join(chart, "Chart.yaml")
    if path not in files:
        raise SpecError(
            f"{chart or 'the root'}: no Chart.yaml; add one, or name the chart's folder in config.render.chart"
        )
    for document in yaml_reader.read(files[path], path):
        if isinstance(document.data, dict) and isinstance(document.data.get("name"), str):
            return str(document.data["name"])
    raise SpecError(f"{path}: the chart has no name; write name: there")


def _homes(space: Scratch) -> dict[str, str]:
    home = space.home
    names = ("CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "PLUGINS", "REGISTRY_CONFIG", "REPOSITORY_CONFIG")
    paths = {f"HELM_{name}": str(home / name.lower()) for name in (*names, "REPOSITORY_CACHE")}
    return paths | {"HELM_NO_PLUGINS": "1"}


def _missing(files: Mapping[str, bytes], chart: str, words: str) -> Iterator[Problem]:
    """Dependencies that helm did not find, where they are written."""
    found = _MISSING.search(words)
    names = {name.strip() for name in found[1].split(",")} if found else set()
    for path in (posixpath.join(chart, "Chart.yaml"), posixpath.join(chart, "requirements.yaml")):
        if not names or path not in files:
            continue
        for document in yaml_reader.read(files[path], path):
            listed = document.data.get("dependencies") if isinstance(document.data, dict) else None
            for index, item in enumerate(listed if isinstance(listed, list) else []):
                if isinstance(item, dict) and item.get("name") in names:
                    what = f"the dependency '{item['name']}' is not in charts/"
                    hint = "run helm dependency build, and commit what it puts there"
                    yield Problem(path, *document.position(("dependencies", index, "name")), what, hint)


def _placed(words: str, name: str, chart: str) -> str:
    """Helm names files from the chart's name on; people know them from the repository's root on."""
    return re.sub(
        rf"(?<![\w/.-]){re.escape(name)}/(?=(?:templates|charts|crds)/)",
        lambda _: f"{chart}/" if chart else "",
        words,
    )


def _manifests(output: bytes, name: str, chart: str) -> list[Manifest]:
    """What helm wrote; problems are told in lines of the rendered template."""
    try:
        return unique(read_located(output, "helm"))
    except SpecError:
        return unique(list(_by_template(output, name, chart)))


def _by_template(output: bytes, name: str, chart: str) -> Iterator[tuple[Manifest, str]]:
    """The same, read template by template: slower, and only wanted where something has to be told."""
    problems: list[Problem] = []
    _, *parts = _SOURCE.split(output)
    for source, text in zip(parts[::2], parts[1::2], strict=True):
        path = _placed(source.decode(errors="replace"), name, chart)
        try:
            yield from read_located(text, f"{path} (rendered by helm)")
        except SpecError as error:
            if not error.problems:
                raise
            problems += error.problems
    if problems:
        raise SpecError(problems=problems)


def build(settings: Settings) -> Helm:
    """The renderer of an application."""
    return Helm(settings)
