"""Who owns which fields: `metadata.managedFields`, read, written and updated.

The rules are those of structured-merge-diff `merge.Updater`: an Update takes what it changed; other owners lose what
somebody else changed; an entry without fields goes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidegate.sim.apiserver import fields
from tidegate.sim.apiserver.fields import FieldSet
from tidegate.sim.apiserver.schema import Shape
from tidegate.sim.apiserver.typed import Comparison, compare

APPLY, UPDATE = "Apply", "Update"


@dataclass(frozen=True, slots=True)
class Owner:
    """Identity of one managedFields entry. An Apply owner is the same in every apiVersion."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As conflict messages name it."""
        text = f'"{self.name}"' + (f' with subresource "{self.subresource}"' if self.subresource else "")
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@dataclass(frozen=True, slots=True)
class Claim:
    """What an owner owns, since when, in which apiVersion."""

    fields: FieldSet
    time: str
    api_version: str


Owners = dict[Owner, Claim]

_NOBODYS: tuple[tuple[str, ...], ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ]
    ),
    ("f:metadata", "."),
)
_STATUS: tuple[tuple[str, ...], ...] = (("f:status",),)
_ALL_BUT_STATUS: tuple[tuple[str, ...], ...] = (("f:spec",), ("f:metadata", "f:labels"))


def owned(found: FieldSet, *, subresource: str, has_status: bool) -> FieldSet:
    """The set without the fields nobody owns, and without those this endpoint does not write."""
    reset = _ALL_BUT_STATUS if subresource == "status" else _STATUS if has_status else ()
    return fields.without(found, *_NOBODYS, *reset)


def read(metadata: Mapping[str, Any]) -> Owners:
    """managedFields → owners. Malformed entries are dropped, as the real server does."""
    found: Owners = {}
    for entry in metadata.get("managedFields") or ():
        if not entry.get("operation"):
            continue
        version = entry.get("apiVersion", "")
        owner = Owner(
            entry.get("manager", ""),
            entry["operation"],
            "" if entry["operation"] == APPLY else version,
            entry.get("subresource", ""),
        )
        claim = Claim(fields.decode(entry.get("fieldsV1") or {}), entry.get("time", ""), version)
        before = found.get(owner)
        found[owner] = (
            claim if before is None else replace(claim, fields=fields.union(before.fields, claim.fields))
        )
    return found


def write(owners: Owners) -> list[dict[str, Any]]:
    """Owners → managedFields: Apply first, then by time and name."""
    found = []
    for owner, claim in sorted(owners.items(), key=_order):
        entry: dict[str, Any] = {
            "manager": owner.name,
            "operation": owner.operation,
            "apiVersion": claim.api_version,
            **({"time": claim.time} if claim.time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.encode(claim.fields),
        }
        if owner.subresource:
            entry["subresource"] = owner.subresource
        found.append(entry)
    return found


def _order(item: tuple[Owner, Claim]) -> tuple[bool, str, str, str, str]:
    owner, claim = item
    return (owner.operation != APPLY, claim.time, owner.name, claim.api_version, owner.subresource)


def take(owners: Owners, change: Comparison, writer: Owner) -> Owners:
    """Everybody but the writer loses what the write changed or removed."""
    touched = fields.union(fields.union(change.modified, change.added), change.removed)
    if not touched:
        return owners
    found: Owners = {}
    for owner, claim in owners.items():
        rest = claim.fields if owner == writer else fields.difference(claim.fields, touched)
        if rest:
            found[owner] = claim if rest is claim.fields else replace(claim, fields=rest)
    return found


def conflicts(owners: Owners, change: Comparison, writer: Owner) -> list[tuple[str, str]]:
    """(owner, path) for every field of others that the write would change."""
    touched = fields.union(change.modified, change.added)
    return [
        (str(owner), path)
        for owner, claim in owners.items()
        if owner != writer
        for path in fields.paths(fields.intersection(claim.fields, touched))
    ]


def after_update(
    shape: Shape,
    old: Mapping[str, Any] | None,
    new: dict[str, Any],
    writer: Owner,
    *,
    has_status: bool,
    now: str,
) -> Owners:
    """The owners after a create, PUT or PATCH by `writer`."""
    before = read(old["metadata"]) if old is not None else {}
    change = compare(shape, dict(old) if old is not None else {}, new)
    for part in ("modified", "added", "removed"):
        kept = owned(getattr(change, part), subresource=writer.subresource, has_status=has_status)
        setattr(change, part, kept)
    owners = take(before, change, writer)
    mine = owners.get(writer)
    gained = fields.union(change.modified, change.added)
    left = fields.union(fields.difference(mine.fields, change.removed) if mine else {}, gained)
    if not left:
        owners = {o: c for o, c in owners.items() if o != writer}
    elif mine is None or gained or left != mine.fields:
        owners = {**owners, writer: Claim(left, now, writer.api_version)}
    return owners


def taken_over(old: Mapping[str, Any], owners: Owners, writer: Owner) -> Owners:
    """After a write through `scale`: what nobody owned stays nobody's, and the new owner's entry has no time."""
    before, mine = read(old["metadata"]), owners.get(writer)
    if mine is None:
        return owners
    if not any(fields.intersection(claim.fields, mine.fields) for claim in before.values()):
        return before
    return {**owners, writer: replace(mine, time="")}


def everything(shape: Shape, value: dict[str, Any], *, has_status: bool) -> FieldSet:
    """What a manager owns that wrote the whole value where nothing was."""
    return owned(compare(shape, {}, value).added, subresource="", has_status=has_status)
