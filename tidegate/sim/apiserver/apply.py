"""Server-side apply: merge what the applier says over what lives, drop what it stopped saying, keep score.

A port of structured-merge-diff `merge.Updater.Apply`, on plain JSON. The caller defaults and validates the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidegate.sim.apiserver import fields, typed
from tidegate.sim.apiserver.failures import internal, ownership_conflict
from tidegate.sim.apiserver.fields import FieldSet
from tidegate.sim.apiserver.ownership import (
    APPLY,
    UPDATE,
    Claim,
    Owner,
    Owners,
    conflicts,
    everything,
    owned,
    read,
    take,
)
from tidegate.sim.apiserver.schema import Shape


@dataclass(frozen=True, slots=True)
class Applied:
    """The merged object and its owners."""

    object: dict[str, Any]
    owners: Owners


@dataclass(frozen=True, slots=True)
class Apply:
    """One apply request, without the object."""

    manager: str
    api_version: str
    force: bool
    subresource: str
    has_status: bool
    now: str

    @property
    def owner(self) -> Owner:
        return Owner(self.manager, APPLY, "", self.subresource)


def check_typed(shape: Shape, config: dict[str, Any], kind: str, namespace: str) -> None:
    """Refuse a configuration that does not fit its schema, in the real server's words (500, no reason).

    `namespace` is the one the body names, empty when it leaves that to the path.
    """
    found = typed.problems(shape, config)
    if not found:
        return
    meta = config.get("metadata") or {}
    name = f"{namespace}/{meta.get('name', '')}"
    listed = found[0] if len(found) == 1 else "errors:\n" + "\n".join(f"  {line}" for line in found)
    raise internal(
        f"failed to create typed patch object ({name}; {config.get('apiVersion')}, Kind={kind}): {listed}"
    )


def apply(shape: Shape, live: dict[str, Any] | None, config: dict[str, Any], request: Apply) -> Applied:
    """Merge `config` into `live` for the request's manager. Raises the 409 of conflicting owners unless forced."""
    current = live if live is not None else {}
    owners = _owners(shape, live, request)
    said = owned(typed.to_set(shape, config), subresource=request.subresource, has_status=request.has_status)
    last = owners.get(request.owner)
    claimed = {**owners, request.owner: Claim(said, request.now, request.api_version)}
    merged = typed.merge(shape, current, _writable(config, request))
    if last is not None:
        merged = _prune(shape, merged, last.fields, claimed)
    change = typed.compare(shape, current, merged)
    for part in ("modified", "added", "removed"):
        kept = owned(getattr(change, part), subresource=request.subresource, has_status=request.has_status)
        setattr(change, part, kept)
    if not request.force and (found := conflicts(claimed, change, request.owner)):
        raise ownership_conflict(found)
    result = take(claimed, change, request.owner)
    if live is not None and not (change.modified or change.added or change.removed):
        # an apply that leaves the object as it is does not touch the clock: a newcomer has no time at all
        since = last.time if last is not None else ""
        result = {**result, request.owner: Claim(said, since, request.api_version)}
    if not said:
        result = {owner: claim for owner, claim in result.items() if owner != request.owner}
    return Applied(merged, result)


def _owners(shape: Shape, live: dict[str, Any] | None, request: Apply) -> Owners:
    owners = read(live["metadata"]) if live is not None else {}
    if live is None or owners:
        return owners
    claimed = everything(shape, live, has_status=request.has_status)
    before = Owner("before-first-apply", UPDATE, request.api_version)
    return {before: Claim(claimed, request.now, request.api_version)} if claimed else {}


def _writable(config: dict[str, Any], request: Apply) -> dict[str, Any]:
    """The part of the configuration this endpoint writes."""
    if request.subresource == "status":
        return {key: value for key, value in config.items() if key != "spec"}
    if request.has_status:
        return {key: value for key, value in config.items() if key != "status"}
    return config


def _prune(shape: Shape, merged: dict[str, Any], last: FieldSet, owners: Owners) -> dict[str, Any]:
    """Remove what the applier owned last time and nobody owns now."""
    kept: FieldSet = {}
    for claim in owners.values():
        kept = fields.union(kept, claim.fields)
    gone = _uncovered(fields.with_ancestors(last), kept)
    pruned: dict[str, Any] = typed.remove(shape, merged, gone)
    return pruned


def _uncovered(gone: FieldSet, kept: FieldSet) -> FieldSet:
    """Members of `gone` with nothing of `kept` at or below them."""
    found: FieldSet = {}
    for element, child in gone.items():
        other = kept.get(element)
        if other is None:
            found[element] = child
        elif element != fields.MEMBER and (
            rest := _uncovered({k: v for k, v in child.items() if k != "."}, other)
        ):
            found[element] = rest
    return found
