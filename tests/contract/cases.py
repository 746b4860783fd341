"""The contract as data: `cases/*.yaml` says what is asked, `answers/*.yaml` what Kubernetes answered.

A case is a sentence and its steps, run in a namespace of its own:

    - case: an apply that changes nothing keeps the resourceVersion
      steps:
      - {ask: PATCH configmaps/conf?fieldManager=a, type: apply, body: *conf}
      - {ask: PATCH configmaps/conf?fieldManager=a, type: apply, body: *conf, show: [data]}

`like: name` begins the body with that object of `objects.yaml`, and `body` is merged into it (null removes).

`$NS` is that namespace, `$ID` is unique to the case (for what is cluster-wide), `${1.metadata.uid}` is from the answer
to the first step. With `each`, a list of mappings, it becomes one case for each, `$key` standing for the value. A step
may also have `headers`, `show` (which parts of the answer count, see `tests.contract.answers`) and `until`: asked again
until these parts of the answer have these values. `text` is a body that is sent as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
REFERENCE = re.compile(r"\$\{([^}]+)\}|\$([A-Za-z]\w*)")


@dataclass(frozen=True, slots=True)
class Step:
    """One request, and what of its answer counts."""

    ask: str
    type: str = "json"
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    show: Any = None
    until: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence about Kubernetes, and how it is shown."""

    topic: str
    name: str
    steps: tuple[Mapping[str, Any], ...]

    @property
    def id(self) -> str:
        return f"{self.topic}: {self.name}"


def load() -> list[Case]:
    """Every case of the contract, in the order of files and lines."""
    known = objects()
    return [case for path in sorted((HERE / "cases").glob("*.yaml")) for case in _of_file(path, known)]


@cache
def objects() -> Mapping[str, Any]:
    """The objects that cases begin with, by name."""
    found: Mapping[str, Any] = yaml.safe_load((HERE / "objects.yaml").read_text())
    return found


def _of_file(path: Path, known: Mapping[str, Any]) -> Iterator[Case]:
    document = yaml.safe_load(path.read_text())
    for entry in document["cases"]:
        for values in entry.get("each") or [{}]:
            name, steps = filled((entry["case"], entry["steps"]), values)
            whole = tuple(_with_object(step, known) for step in steps)
            yield Case(path.stem, str(name), whole)


def _with_object(step: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    if "like" not in step:
        return step
    rest = {key: value for key, value in step.items() if key != "like"}
    return {**rest, "body": merged(known[step["like"]], step.get("body") or {})}


def merged(onto: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch: null removes, lists are replaced."""
    found = {key: value for key, value in onto.items() if key not in new}
    for key, value in new.items():
        old = onto.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found[key] = merged(old, value)
        elif value is not None:
            found[key] = value
    return found


def filled(thing: Any, values: Mapping[str, Any]) -> Any:
    """`thing` with its references replaced; a string that is nothing but a reference becomes the value itself."""
    if isinstance(thing, dict):
        return {filled(key, values): filled(value, values) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [filled(item, values) for item in thing]
    if not isinstance(thing, str):
        return thing
    whole = REFERENCE.fullmatch(thing)
    if whole and (whole[1] or whole[2]) in values:
        return values[whole[1] or whole[2]]
    return REFERENCE.sub(lambda found: str(values.get(found[1] or found[2], found[0])), thing)
