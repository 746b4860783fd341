"""Act: the union inventory, then objects kind by kind, then prunes in reverse, then the shrunk inventory.

Every write asks the fence first. Whoever dies in between leaves an inventory that knows everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tidegate.adapters.targets.kubernetes.inventories import read_inventory, write_inventory
from tidegate.adapters.targets.kubernetes.looking import CRD
from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.adapters.targets.kubernetes.rest import is_outside
from tidegate.domain import order
from tidegate.domain.health import HealthStatus, health
from tidegate.domain.inventory import Entry, Inventory
from tidegate.domain.manifests import Manifest, Ref
from tidegate.domain.plan import Action, Change, Owner, Plan, SyncResult
from tidegate.errors import Conflict, OutsideError, Refused

_ESTABLISH_SECONDS, _GONE_SECONDS, _POLL_SECONDS = 20.0, 20.0, 0.1

Fence = Callable[[], None]


class _Stopped(Exception):
    """The fence said no; kept apart from what the API server says about one object."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason


def _guarding(fence: Fence) -> Fence:
    def guarded() -> None:
        try:
            fence()
        except Exception as error:
            raise _Stopped(error) from error

    return guarded


def apply(
    objects: Objects, owner: Owner, plan: Plan, *, fence: Fence, creates_namespace: bool = False
) -> SyncResult:
    """Do what the plan says. Raises `Refused` when the plan may not be applied; then nothing was written.

    An object that cannot be applied is a problem in the result and does not keep the others from being
    applied, but nothing is pruned then. `Unreachable` and what the fence raises end it at once.
    """
    if plan.refusals:
        raise Refused("nothing was applied:\n" + "\n".join(plan.refusals))
    try:
        return _apply(objects, owner, plan, _guarding(fence), creates_namespace)
    except _Stopped as stopped:
        raise stopped.reason from None


def _apply(objects: Objects, owner: Owner, plan: Plan, fence: Fence, creates_namespace: bool) -> SyncResult:
    before = plan.inventory or read_inventory(objects, owner) or Inventory(owner, is_stored=False)
    if creates_namespace and plan.writes:
        ensure_namespace(objects, fence)
    union = before.union(plan.entries()) if plan.writes else before
    write_inventory(objects, union, before, fence=fence)
    made, problems = _apply_all(objects, plan, fence)
    pruned: dict[Ref, bool] = {}
    if not problems:
        pruned, problems = _prune_all(objects, plan, fence)
    if not problems:
        write_inventory(objects, _shrunk(before, plan, made, pruned), union, fence=fence)
    return SyncResult(
        applied=tuple(made),
        pruned=tuple(pruned),
        unchanged=tuple(c.ref for c in plan.changes if c.action is Action.Unchanged and c.desired),
        problems=tuple(problems),
    )


def _shrunk(before: Inventory, plan: Plan, made: dict[Ref, Manifest], pruned: dict[Ref, bool]) -> Inventory:
    entries: dict[Ref, Entry] = {}
    for entry in plan.entries():
        uid = (made.get(entry.ref) or {}).get("metadata", {}).get("uid") or entry.uid
        entries[entry.ref] = replace(entry, uid=uid)
    stay = plan.kept() | {name for name, gone in pruned.items() if not gone}
    entries.update({name: entry for name, entry in before.entries.items() if name in stay})
    return Inventory(before.owner, entries)


def ensure_namespace(objects: Objects, fence: Fence) -> None:
    """Make the target's namespace if it is missing. It gets no mark of ours and is never pruned."""
    name = Ref("", "Namespace", "", objects.namespace, version="v1")
    if name not in objects.read([name]):
        objects.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name.name}}, fence=fence)


# --- applying -----------------------------------------------------------------------------------------------


def _apply_all(objects: Objects, plan: Plan, fence: Fence) -> tuple[dict[Ref, Manifest], list[str]]:
    wanted = [(c.ref, c) for c in plan.writes if c.desired is not None]
    made: dict[Ref, Manifest] = {}
    problems: list[str] = []
    for step in order.steps(wanted):
        for change, answer in zip(step, each(lambda c: _apply_one(objects, c, fence), step), strict=True):
            if isinstance(answer, OutsideError):
                problems.append(str(answer))
            else:
                made[change.ref] = answer
        if step[0].ref.kind == CRD:
            problems += _await_established(objects, step)
    return made, problems


def _apply_one(objects: Objects, change: Change, fence: Fence) -> Manifest | OutsideError:
    assert change.desired is not None
    try:
        if (
            change.action is Action.Create
            and change.live is not None
            and not _await_gone(objects, change.ref)
        ):
            return Conflict(f"{change.ref}: is still being deleted; see its finalizers")
        return objects.apply(change.desired, fence=fence)
    except OutsideError as error:
        if is_outside(error):
            return error
        raise


def _await_established(objects: Objects, crds: Sequence[Change]) -> list[str]:
    """Custom resources are refused until their CRD is established; mostly that takes 40 ms."""
    names = [c.ref for c in crds]
    end = time.monotonic() + _ESTABLISH_SECONDS
    while True:
        live = objects.read(names)
        waiting = [n for n in names if n not in live or health(live[n]).status is not HealthStatus.Healthy]
        if not waiting:
            objects.kinds.forget()
            return []
        if time.monotonic() > end:
            return [f"{n}: not established within {_ESTABLISH_SECONDS:g} s" for n in waiting]
        time.sleep(_POLL_SECONDS)


# --- pruning ------------------------------------------------------------------------------------------------


def _prune_all(objects: Objects, plan: Plan, fence: Fence) -> tuple[dict[Ref, bool], list[str]]:
    """Refs with True when they are gone, False while something (a finalizer, a slow pod) holds them."""
    unwanted = [(c.ref, c) for c in plan.changes if c.action is Action.Prune]
    pruned: dict[Ref, bool] = {}
    problems: list[str] = []
    for step in reversed(order.steps(unwanted)):
        for change, error in zip(step, each(lambda c: _prune_one(objects, c, fence), step), strict=True):
            if error is None:
                pruned[change.ref] = False
            else:
                problems.append(str(error))
        for change in step:
            if change.ref in pruned:
                pruned[change.ref] = _await_gone(objects, change.ref)
    return pruned, problems


def _prune_one(objects: Objects, change: Change, fence: Fence) -> OutsideError | None:
    uid = ((change.live or {}).get("metadata") or {}).get("uid") or ""
    try:
        objects.delete(change.ref, uid=uid, fence=fence)
    except OutsideError as error:
        if is_outside(error):
            return error
        raise
    return None


def _await_gone(objects: Objects, name: Ref) -> bool:
    end = time.monotonic() + _GONE_SECONDS
    while name in objects.read([name]):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
