"""Act: the union inventory, then step by step what is wanted and hooks, then prunes, then the shrunk inventory.

Every write asks the fence first. Whoever dies in between leaves an inventory that knows everything, and which hooks
have done their work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tidegate.adapters.targets.kubernetes import hooks as hooking
from tidegate.adapters.targets.kubernetes import waiting
from tidegate.adapters.targets.kubernetes.inventories import read_inventory, write_inventory
from tidegate.adapters.targets.kubernetes.looking import CRD
from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.adapters.targets.kubernetes.pruning import await_gone, prune
from tidegate.adapters.targets.kubernetes.rest import is_outside
from tidegate.domain import fields, schedule
from tidegate.domain.health import Custom, HealthStatus, health
from tidegate.domain.inventory import Entry, Inventory
from tidegate.domain.manifests import Manifest, Ref, ref
from tidegate.domain.options import DeletePolicy, Phase
from tidegate.domain.plan import Action, Change, Owner, Plan, SyncResult
from tidegate.domain.schedule import Hook, Step
from tidegate.errors import Conflict, OutsideError, Refused

log = logging.getLogger(__name__)

_ESTABLISH_SECONDS, _POLL_SECONDS, _TRIES = 20.0, 0.1, 5
SETTLE_SECONDS = 2.0
"""Pause after a wave that wrote a kind whose status may still be about the state before (Argo CD's wave delay)."""

Fence = Callable[[], None]


class _Stopped(Exception):
    """The fence said no; kept apart from what the API server says about one object."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a wave or a hook may take, and who may call it off."""

    seconds: float = 600.0
    interrupted: Callable[[], str | None] = lambda: None
    custom: Custom | None = None
    """The user's own rules of health."""


@dataclass(slots=True)
class _Sync:
    """One sync under way, and what came of it so far."""

    objects: Objects
    plan: Plan
    fence: Fence
    patience: Patience
    inventory: Inventory
    """As the cluster has it."""
    made: dict[Ref, Manifest] = field(default_factory=dict)
    pruned: dict[Ref, bool] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    failure: str = ""
    stopped: str = ""

    @property
    def is_over(self) -> bool:
        return bool(self.problems or self.failure or self.stopped)

    @property
    def sync(self) -> str:
        return self.plan.hooks.sync if self.plan.hooks else ""


def apply(
    objects: Objects,
    owner: Owner,
    plan: Plan,
    *,
    fence: Fence,
    creates_namespace: bool = False,
    patience: Patience | None = None,
) -> SyncResult:
    """Do what the plan says. Raises `Refused` when the plan may not be applied; then nothing was written.

    An object that cannot be applied is a problem in the result and does not keep the others of its wave from being
    applied, but no later wave is begun and nothing is pruned then. `Unreachable` and what the fence raises end it
    at once; begun again it goes on.
    """
    if plan.refusals:
        raise Refused("nothing was applied:\n" + "\n".join(plan.refusals))
    try:
        return _apply(objects, owner, plan, _guarding(fence), creates_namespace, patience or Patience())
    except _Stopped as stopped:
        raise stopped.reason from None


def _guarding(fence: Fence) -> Fence:
    def guarded() -> None:
        try:
            fence()
        except Exception as error:
            raise _Stopped(error) from error

    return guarded


def _apply(
    objects: Objects, owner: Owner, plan: Plan, fence: Fence, creates_namespace: bool, patience: Patience
) -> SyncResult:
    before = plan.inventory or read_inventory(objects, owner) or Inventory(owner, is_stored=False)
    if plan.hooks is not None and (now := read_inventory(objects, owner)):
        # a plan that is tried again is older than what the first try has done
        before = replace(before, progress=now.progress)
        plan = replace(plan, inventory=before)
    if creates_namespace and plan.acts:
        ensure_namespace(objects, fence)
    union = before.union(plan.entries()) if plan.acts else before
    write_inventory(objects, union, before, fence=fence)
    sync = _Sync(objects, plan, fence, patience, union)
    _run(sync)
    if not sync.is_over:
        write_inventory(objects, _shrunk(sync, before), sync.inventory, fence=fence)
    return SyncResult(
        applied=tuple(sync.made),
        pruned=tuple(sync.pruned),
        unchanged=tuple(c.ref for c in plan.changes if c.action is Action.Unchanged and c.desired),
        problems=tuple(sync.problems),
        failure=sync.failure,
        stopped=sync.stopped,
    )


def _shrunk(sync: _Sync, before: Inventory) -> Inventory:
    entries: dict[Ref, Entry] = {}
    for entry in sync.plan.entries():
        uid = (sync.made.get(entry.ref) or {}).get("metadata", {}).get("uid") or entry.uid
        entries[entry.ref] = replace(entry, uid=uid)
    stay = sync.plan.kept() | {name for name, gone in sync.pruned.items() if not gone}
    entries.update({name: entry for name, entry in before.entries.items() if name in stay})
    progress = sync.inventory.progress
    return Inventory(
        before.owner, entries, replace(progress, is_finished=True) if sync.plan.hooks else progress
    )


def ensure_namespace(objects: Objects, fence: Fence) -> None:
    """Make the target's namespace if it is missing. It gets no mark of ours and is never pruned."""
    name = Ref("", "Namespace", "", objects.namespace, version="v1")
    if name not in objects.read([name]):
        objects.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name.name}}, fence=fence)


# --- step by step -------------------------------------------------------------------------------------------


def _run(sync: _Sync) -> None:
    hooks = sync.plan.pending_hooks
    steps = schedule.steps((c.desired for c in sync.plan.changes if c.desired is not None), hooks)
    waves = [step for step in steps if step.is_wave]
    waits = bool(hooks) or len(waves) > 1
    for step in steps:
        if step.phase is Phase.PostSync:
            break
        _take(sync, step, waits=waits)
    if not sync.is_over:
        sync.pruned, sync.problems = prune(sync.objects, sync.plan, sync.fence)
    for step in steps:
        if step.phase is Phase.PostSync:
            _take(sync, step, waits=True)
    if sync.plan.hooks is not None and not sync.stopped:
        _end(sync, sync.plan.hooks.runs())


def _take(sync: _Sync, step: Step, *, waits: bool) -> None:
    """One step, unless an earlier one has ended the sync."""
    if sync.is_over:
        return
    if waits and step.is_wave:
        log.info("%s: %d objects, %d hooks", step.name, *_counted(step))
    changes = {c.ref: c for c in sync.plan.writes if c.desired is not None}
    written: list[Manifest] = []
    for group in step.groups():
        todo = [
            changes[name] if not isinstance(item, Hook) else item
            for name, item in group
            if isinstance(item, Hook) or name in changes
        ]
        for item, answer in zip(todo, each(lambda i: _one(sync, i), todo), strict=True):
            if isinstance(answer, OutsideError):
                sync.problems.append(str(answer))
            elif answer is not None:
                sync.made[item.ref] = answer
                written.append(answer)
        if group[0][0].kind == CRD:
            crds = [item for item in todo if isinstance(item, Change)]
            sync.problems += _await_established(sync.objects, crds) if crds else []
    if waits and step.is_wave and not sync.problems:
        _settle(sync, step, written)


def _counted(step: Step) -> tuple[int, int]:
    hooks = sum(isinstance(item, Hook) for _, item in step.items)
    return len(step.items) - hooks, hooks


def _one(sync: _Sync, item: Change | Hook) -> Manifest | OutsideError | None:
    try:
        if isinstance(item, Hook):
            hooking.start(sync.objects, item, sync.sync, sync.fence, sync.patience.custom)
            return None
        return _apply_one(sync.objects, item, sync.fence)
    except OutsideError as error:
        if is_outside(error):
            return error
        raise


def _apply_one(objects: Objects, change: Change, fence: Fence) -> Manifest | OutsideError:
    assert change.desired is not None
    if change.action is Action.Replace and change.live is not None:
        objects.delete(change.ref, uid=change.live["metadata"]["uid"], fence=fence)
    anew = change.action in (Action.Create, Action.Replace) and change.live is not None
    if anew and not await_gone(objects, change.ref):
        return Conflict(f"{change.ref}: is still being deleted; see its finalizers")
    if change.takes_over and change.live is not None:
        _take_over(objects, change.live, fence)
    return objects.apply(change.desired, fence=fence)


def _take_over(objects: Objects, live: Manifest, fence: Fence) -> None:
    """Make ours what kubectl has set, so that the apply that follows may remove what nobody wants any more."""
    for _ in range(_TRIES):
        try:
            objects.patch(live, {"metadata": {"managedFields": fields.folded(live)}}, fence=fence)
            return
        except Conflict:
            again = objects.read([ref(live)]).get(ref(live))
            if again is None or not fields.by_hand(again):
                return
            live = again
    raise Conflict(f"{ref(live)}: changes faster than it can be taken over; try again")


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


# --- waiting ------------------------------------------------------------------------------------------------


def _settle(sync: _Sync, step: Step, written: Iterable[Manifest]) -> None:
    """Wait until all of a step is healthy and its hooks are done, so that the next one may begin."""
    if any(_may_be_stale(live) for live in written):
        time.sleep(SETTLE_SECONDS)
    wanted = [name for name, item in step.items if not isinstance(item, Hook)]
    hooks = [item for _, item in step.items if isinstance(item, Hook)]
    if wanted:
        _await_health(sync, step, wanted)
    if hooks and not sync.is_over:
        _await_hooks(sync, hooks)


def _may_be_stale(live: Manifest) -> bool:
    """Whether its status may be about the state before: a custom kind that does not say what it has seen."""
    group = live["apiVersion"].rpartition("/")[0]
    if "." not in group or group.endswith(".k8s.io"):
        return False
    return "observedGeneration" not in (live.get("status") or {})


def _await_health(sync: _Sync, step: Step, wanted: Sequence[Ref]) -> None:
    said: list[str] = []

    def interrupted() -> str | None:
        reason = sync.patience.interrupted()
        said.extend([reason] if reason else [])
        return reason

    patience = sync.patience
    seen = waiting.wait(
        sync.objects,
        wanted,
        deadline_seconds=patience.seconds,
        interrupted=interrupted,
        custom=patience.custom,
    )
    if said:
        sync.stopped = said[-1]
    elif seen.status not in (HealthStatus.Healthy, HealthStatus.Suspended):
        sync.failure = f"{step.name}: {seen.message or seen.status.value}"


def _await_hooks(sync: _Sync, hooks: Sequence[Hook]) -> None:
    patience = sync.patience
    found = hooking.outcomes(
        sync.objects, hooks, deadline_seconds=patience.seconds, check=sync.fence, custom=patience.custom
    )
    done = [o.hook for o in found if not o.failure]
    _record(sync, done)
    hooking.release(sync.objects, [hook.ref for hook in hooks], sync.fence)
    for outcome in found:
        log.info("%s", outcome.failure or f"{outcome.hook} succeeded")
    sync.failure = "; ".join(o.failure for o in found if o.failure)


def _record(sync: _Sync, done: Iterable[Hook]) -> None:
    """Put on record, before anything else, that these need not run again."""
    known = sync.inventory.progress.of(sync.sync)
    progress = replace(known, done=known.done | {hook.run for hook in done}, is_finished=False)
    now = replace(sync.inventory, progress=progress)
    write_inventory(sync.objects, now, sync.inventory, fence=sync.fence)
    sync.inventory = now


def _end(sync: _Sync, hooks: Sequence[Hook]) -> None:
    """What a sync does last: hooks for its failure, and the hooks that go now."""
    failed = bool(sync.failure or sync.problems)
    if failed:
        _on_failure(sync, [hook for hook in hooks if hook.phase is Phase.SyncFail])
    hooking.release(sync.objects, [hook.ref for hook in hooks], sync.fence)
    policy = DeletePolicy.HookFailed if failed else DeletePolicy.HookSucceeded
    hooking.clean(sync.objects, hooks, policy, sync.fence)


def _on_failure(sync: _Sync, hooks: Sequence[Hook]) -> None:
    """Run the hooks of `SyncFail`; how they end is told beside the failure that called them."""
    failure, problems = sync.failure, sync.problems
    told = []
    for step in schedule.steps((), hooks):
        sync.failure, sync.problems = "", []
        _take(sync, step, waits=True)
        told += [sync.failure, *sync.problems]
    sync.failure = "; ".join(words for words in (failure, *told) if words)
    sync.problems = problems
