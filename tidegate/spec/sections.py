"""The sections that belong to plug-ins: each is checked by its kind's own `Settings`, found by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from tidegate.errors import PluginError
from tidegate.spec.models import Stage
from tidegate.spec.places import Complaint, Path, likely
from tidegate.spec.words import complaints

DEFAULTS = {"builders": "docker"}
"""The kind of a section that names none."""


@dataclass(frozen=True, slots=True)
class Written:
    """A plug-in's section as the user wrote it."""

    folder: str
    path: Path
    kind: str
    settings: Mapping[str, Any]
    short: bool = False
    """Only the kind was written, like `audit: [ruff]`."""


def plugins() -> Any:
    """The registry, by name: it stands above the spec."""
    return import_module("tidegate.plugins")


def written(data: Mapping[str, Any]) -> Iterator[Written]:
    """All plug-in sections of an application as written, whatever else is wrong with it."""
    integrate = _map(data.get("integrate"))
    yield from _sections("auditors", ("integrate", "audit"), integrate.get("audit"))
    yield from _section("builders", ("integrate", "build"), integrate.get("build"))
    yield from _section("renderers", ("config", "render"), _map(data.get("config")).get("render"))
    for index, raw in enumerate(_list(data.get("stages"))):
        stage, path = _map(raw), ("stages", index)
        yield from _section("targets", (*path, "target"), stage.get("target"))
        yield from _sections("checks", (*path, "verify"), stage.get("verify"))
        yield from _section(
            "traffic", (*path, "rollout", "traffic"), _map(stage.get("rollout")).get("traffic")
        )
        yield from _section("metrics", (*path, "gate", "metrics"), _map(stage.get("gate")).get("metrics"))


def of_sections(data: Mapping[str, Any]) -> Iterator[Complaint]:
    """Kinds that do not exist, and settings their kind does not take."""
    for section in written(data):
        yield from _checked(section)


def of_queries(stage: Stage, index: int) -> Iterator[Complaint]:
    """What the metrics plug-in says of the queries it will have to ask."""
    if not stage.gate:
        return
    try:
        check = getattr(plugins().module("metrics", stage.gate.metrics.kind), "check_queries", None)
    except PluginError:
        return  # `of_sections` says so
    names = {c.name: i for i, c in enumerate(stage.gate.checks)}
    for sentence in check(stage.gate) if check else ():
        name, _, rest = sentence.partition(": ")
        if name in names:
            yield _query_complaint(("stages", index, "gate", "checks", names[name]), name, rest)


def _query_complaint(path: Path, name: str, sentence: str) -> Complaint:
    key, _, rest = sentence.partition(": ")
    if key in ("bad", "total", "query"):
        return Complaint((*path, key), f"'{key}' of check '{name}': {rest}")
    return Complaint((*path, "query"), f"check '{name}': {sentence}")


def _checked(section: Written) -> Iterator[Complaint]:
    where = section.path if section.short else (*section.path, "kind")
    try:
        settings = plugins().module(section.folder, section.kind).Settings
    except PluginError as error:
        hint = likely(section.kind, plugins().kinds(section.folder), there="")
        yield Complaint(where, str(error), hint if hint.startswith("did") else "")
        return
    try:
        settings.model_validate(dict(section.settings))
    except ValidationError as error:
        yield from complaints(error, settings, section.settings, section.path)


def _section(folder: str, path: Path, raw: object) -> Iterator[Written]:
    if isinstance(raw, str):
        yield Written(folder, path, raw, {}, short=True)
    elif isinstance(raw, dict):
        kind = raw.get("kind", DEFAULTS.get(folder))
        if isinstance(kind, str):
            yield Written(
                folder, path, kind, {k: v for k, v in raw.items() if k != "kind"}, "kind" not in raw
            )


def _sections(folder: str, path: Path, raw: object) -> Iterator[Written]:
    for index, item in enumerate(_list(raw)):
        yield from _section(folder, (*path, index), item)


def _map(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _list(raw: object) -> list[Any]:
    return raw if isinstance(raw, list) else []
