"""What each part allows and the whole does not: impossible combinations, found before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from tidegate.spec.models import Gate, Stage, Threshold, Window, format_duration
from tidegate.spec.places import Complaint, Path, likely

_SCRAPES_PER_CHECK = 4
"""A rate over an interval needs samples on both sides of it."""


def of_application(data: Mapping[str, Any], stages: Mapping[int, Stage]) -> Iterator[Complaint]:
    """Complaints about an application as written; `stages` holds those of its stages that are valid by themselves."""
    names = _names(data)
    yield from _repeated(names)
    yield from _same_folder(stages)
    yield from _addresses(data)
    for index, stage in stages.items():
        for rule in _STAGE_RULES:
            yield from rule(stage, ("stages", index))
        yield from _order(stage, index, names)


def _names(data: Mapping[str, Any]) -> dict[int, str]:
    stages = data.get("stages")
    listed = stages if isinstance(stages, list) else []
    return {i: str(s["name"]) for i, s in enumerate(listed) if isinstance(s, dict) and "name" in s}


def _repeated(names: Mapping[int, str]) -> Iterator[Complaint]:
    for index, name in names.items():
        if name in [names[i] for i in names if i < index]:
            yield Complaint(
                ("stages", index, "name"), f"a second stage '{name}'", "give it a name of its own"
            )


def _same_folder(stages: Mapping[int, Stage]) -> Iterator[Complaint]:
    seen: dict[str, str] = {}
    for index, stage in stages.items():
        other = seen.setdefault(stage.path, stage.name)
        if other != stage.name:
            what = f"'{stage.path}' is also the folder of stage '{other}'"
            yield Complaint(("stages", index, "path"), what, "each stage has a folder of its own")


def _addresses(data: Mapping[str, Any]) -> Iterator[Complaint]:
    for section in ("source", "config"):
        part = data.get(section)
        git = part.get("git") if isinstance(part, dict) else None
        if not isinstance(git, str):
            continue
        if git.startswith("-") or "::" in git or any(c.isspace() for c in git) or not git:
            yield Complaint((section, "git"), "'git' is not an address", "write https://… or ssh://…")
        elif "://" in git and _password(git):
            what = "a password in the address of a repository"
            yield Complaint((section, "git"), what, "remove it; the token is TIDEGATE_GIT_TOKEN")


def _password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False


def _order(stage: Stage, index: int, names: Mapping[int, str]) -> Iterator[Complaint]:
    for before in stage.after:
        path: Path = ("stages", index, "after", before)
        if before == stage.name:
            yield Complaint(
                path, f"stage '{stage.name}' comes after itself", "name the stage before it", True
            )
        elif before not in names.values():
            others = [n for n in names.values() if n != stage.name]
            hint = likely(before, others, there="the stages are")
            yield Complaint(path, f"no stage '{before}' to come after", hint, True)
        elif before not in [names[i] for i in names if i < index]:
            what = f"stage '{before}' is listed later than '{stage.name}', which comes after it"
            yield Complaint(path, what, "list the stages in the order releases take", True)


def _folder(stage: Stage, path: Path) -> Iterator[Complaint]:
    folder, where = stage.path, (*path, "path")
    if folder.startswith(("/", "~")) or "\\" in folder or ":" in folder:
        yield Complaint(
            where, f"'{folder}' is not a folder of the repository", "write it like 'shop/production'"
        )
    elif ".." in folder.split("/"):
        yield Complaint(where, f"'{folder}' leads out of its folder", "write it without '..'")
    elif not all(part not in ("", ".") for part in folder.split("/")):
        clean = "/".join(part for part in folder.split("/") if part not in ("", "."))
        yield Complaint(where, f"'{folder}' is not a plain path", f"write '{clean or 'shop/production'}'")


def _canary(stage: Stage, path: Path) -> Iterator[Complaint]:
    if stage.rollout and not stage.gate:
        hint = "add 'gate:' with metrics and checks, or remove 'rollout'"
        yield Complaint((*path, "rollout"), "a canary without a gate to judge it", hint, at_key=True)
    if stage.gate and not stage.rollout:
        hint = "add 'rollout:' with weights, or remove 'gate'"
        yield Complaint((*path, "gate"), "a gate without a canary to judge", hint, at_key=True)
    if stage.rollout:
        weights = stage.rollout.weights
        where: Path = (*path, "rollout", "weights")
        if not weights:
            yield Complaint(where, "'weights' is empty", "write them like [5, 25, 50]")
        for i, (low, high) in enumerate(pairwise(weights)):
            if high <= low:
                yield Complaint((*where, i + 1), f"weight {high} after {low}", "weights rise with every step")


def _timing(stage: Stage, path: Path) -> Iterator[Complaint]:
    if not (gate := stage.gate):
        return
    least = gate.scrape_interval * _SCRAPES_PER_CHECK
    if gate.every < least:
        what = f"a check every {format_duration(gate.every)} is shorter than four scrapes ({format_duration(least)})"
        yield Complaint((*path, "gate", "every"), what, f"write 'every: {format_duration(least)}' or more")
    if gate.max_duration < gate.min_bake:
        long, short = format_duration(gate.min_bake), format_duration(gate.max_duration)
        what = f"max_duration {short} ends before min_bake {long}"
        yield Complaint((*path, "gate", "max_duration"), what, f"write 'max_duration: {long}' or more")
    yield from _positive(gate, (*path, "gate"))


def _positive(gate: Gate, path: Path) -> Iterator[Complaint]:
    for name in ("every", "scrape_interval", "max_duration"):
        if getattr(gate, name) <= timedelta(0):
            yield Complaint((*path, name), f"'{name}' is zero", "write a time like 1m")


def _checks(stage: Stage, path: Path) -> Iterator[Complaint]:
    seen: set[str] = set()
    for index, check in enumerate(stage.gate.checks if stage.gate else ()):
        where: Path = (*path, "gate", "checks", index)
        if check.name in seen:
            what = f"a second check '{check.name}'"
            yield Complaint((*where, "name"), what, "give it a name of its own")
        seen.add(check.name)
        if isinstance(check, Threshold):
            yield from _bounds(check, where)


def _bounds(check: Threshold, path: Path) -> Iterator[Complaint]:
    if check.max is None and check.min is None:
        yield Complaint(path, f"threshold '{check.name}' has no bound", "add 'max:' or 'min:'")
    elif check.max is not None and check.min is not None and check.min > check.max:
        what = f"min {check.min:g} is above max {check.max:g}: nothing passes"
        yield Complaint((*path, "min"), what, "swap them")


def _windows(stage: Stage, path: Path) -> Iterator[Complaint]:
    for index, window in enumerate(stage.windows):
        where: Path = (*path, "windows", index)
        if (window.allow is None) == (window.deny is None):
            yield Complaint(where, "a window has either 'allow' or 'deny'", "write one of them")
        yield from _hours(window, where)
        if not _zone_exists(window.zone):
            hint = likely(window.zone, available_timezones(), there="") or "write it like Europe/Berlin"
            hint = hint if hint.startswith("did") else "write it like Europe/Berlin"
            yield Complaint((*where, "zone"), f"no time zone '{window.zone}'", hint)


def _hours(window: Window, path: Path) -> Iterator[Complaint]:
    parse: Callable[[str], object] = import_module("tidegate.domain.windows").parse  # the domain is above us
    for name, text in (("allow", window.allow), ("deny", window.deny)):
        try:
            parse(text) if text is not None else None
        except ValueError as error:
            yield Complaint((*path, name), f"'{name}' cannot be understood", str(error))


def _zone_exists(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (OSError, ValueError, KeyError):
        return False
    return True


_STAGE_RULES: tuple[Callable[[Stage, Path], Iterator[Complaint]], ...] = (
    _folder,
    _canary,
    _timing,
    _checks,
    _windows,
)
