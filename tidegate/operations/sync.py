"""Sync: make the cluster equal to a desired state, wait until it is well, verify it, put it on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tidegate.domain.health import Health, HealthStatus, worst
from tidegate.domain.manifests import Manifest, ref
from tidegate.domain.moves import Shift
from tidegate.domain.options import Phase, split
from tidegate.domain.plan import Plan, SyncResult
from tidegate.domain.promotion import StageView
from tidegate.domain.records import Kind
from tidegate.domain.rollout import WHOLE, Canary, leaving
from tidegate.domain.schedule import EVERY_PHASE, Hooks
from tidegate.operations import record
from tidegate.operations.desk import Desk, Fence
from tidegate.operations.intent import desired


def next_canary(view: StageView, move: Shift) -> Canary:
    """The canary that a `Shift` asks for: a fresh one starts its evidence now, a running one keeps it."""
    assert view.intent is not None
    running = None if move.fresh else view.canary
    return Canary(
        release=view.intent.release,
        commit=view.intent.commit,
        weight=move.weight,
        started=running.started if running else view.now,
        step_started=view.now,
    )


def canary_state(desk: Desk, view: StageView, canary: Canary) -> list[Manifest]:
    """Desired state while the canary runs at its weight."""
    assert view.intent and view.good
    good, new = _objects(desk, view.good.commit), _objects(desk, view.intent.commit)
    state: list[Manifest] = desk.traffic.canary(good, new, canary)
    return state


def good_state(desk: Desk, view: StageView) -> list[Manifest]:
    """Desired state without any canary: what was live and good before."""
    assert view.good is not None
    return _objects(desk, view.good.commit)


def finishing_state(desk: Desk, view: StageView) -> list[Manifest]:
    """Desired state while the stable workload takes the new version and the canary still serves."""
    assert view.intent is not None
    new = _objects(desk, view.intent.commit)
    if view.good is None or view.canary is None or view.canary.commit != view.intent.commit:
        return new
    state: list[Manifest] = desk.traffic.finish(_objects(desk, view.good.commit), new, view.canary)
    return state


def final_state(desk: Desk, view: StageView) -> list[Manifest]:
    """Desired state when all is done: the intent itself."""
    assert view.intent is not None
    return _objects(desk, view.intent.commit)


def _objects(desk: Desk, commit: str) -> list[Manifest]:
    return split(desired(desk, commit))[0]


def hooks(desk: Desk, view: StageView, phases: frozenset[Phase] = EVERY_PHASE) -> Hooks | None:
    """The hooks that bringing in the intent runs; None once it is in: putting right what drifted runs none."""
    intent, good = view.intent, view.good
    if intent is None or (good and good.commit == intent.commit):
        return None
    return Hooks(intent.commit, tuple(split(desired(desk, intent.commit))[1]), phases)


def plan(desk: Desk, manifests: Sequence[Manifest], hooks: Hooks | None = None) -> Plan:
    """What applying would change; writes nothing."""
    return desk.target.look(desk.owner, manifests, hooks=hooks)


def preview(desk: Desk, commit: str, manifests: Sequence[Manifest]) -> Plan:
    """What bringing in these manifests of a commit would change, and the hooks it would run if it changes anything."""
    kept, run = split(list(manifests))
    found = plan(desk, kept, Hooks(commit, tuple(run)))
    return found if found.writes or found.refusals else replace(found, hooks=None)


def apply(
    desk: Desk, made: Plan, fence: Fence, interrupted: Callable[[], str | None] = lambda: None
) -> SyncResult:
    """Do what a plan says, wave by wave; each may take as long as the stage's progress deadline."""
    seconds = desk.stage.progress_deadline.total_seconds()
    return desk.target.apply(
        desk.owner,
        made,
        fence=fence,
        deadline_seconds=seconds,
        interrupted=interrupted,
        custom=desk.custom,
    )


def wait(desk: Desk, manifests: Sequence[Manifest], interrupted: Callable[[], str | None]) -> Health:
    """Wait until all objects are healthy, one is beyond hope, or the stage's progress deadline is over."""
    seconds = desk.stage.progress_deadline.total_seconds()
    names = [ref(m) for m in manifests]
    return desk.target.wait(names, deadline_seconds=seconds, interrupted=interrupted, custom=desk.custom)


def pods_leaving(desk: Desk, manifests: Sequence[Manifest]) -> int:
    """Pods of an earlier version that are still ending."""
    pods = desk.target.list("v1", "Pod", namespace=desk.target.namespace, labels={})
    return leaving(pods, manifests, datetime.now(UTC))


def verify(desk: Desk) -> Health:
    """The stage's checks, all of them; the worst answer speaks."""
    answers = [check.verify(desk.target) for check in desk.checks]
    return worst(answers) if answers else Health(HealthStatus.Healthy, "nothing to verify")


def record_shift(desk: Desk, canary: Canary, *, flow_run: str = "") -> None:
    """Put a canary's weight on record."""
    message = f"{desk.app} {canary.release} canary at {canary.weight} % in {desk.stage.name}"
    _record_weight(desk, canary, message, flow_run)


def record_trial(desk: Desk, view: StageView, *, flow_run: str = "") -> None:
    """Put on record that a first release is up and verified: its trial begins now."""
    assert view.intent is not None
    now = datetime.now(UTC)
    trial = Canary(view.intent.release, view.intent.commit, WHOLE, now, now)
    _record_weight(desk, trial, f"{desk.app} {trial.release} is up in {desk.stage.name}, on trial", flow_run)


def _record_weight(desk: Desk, canary: Canary, message: str, flow_run: str) -> None:
    made = record.new(
        desk,
        Kind.Shift,
        message,
        release=canary.release,
        flow_run=flow_run,
        commit=canary.commit,
        weight=canary.weight,
        started=canary.started.isoformat(),
    )
    record.append_missing(desk, [made])


def record_sync(desk: Desk, view: StageView, changed: int, started: datetime, *, flow_run: str = "") -> None:
    """Put on record that the intent is live, healthy and verified. Putting right is no new record."""
    assert view.intent is not None
    made = record.new(
        desk,
        Kind.Sync,
        f"{desk.app} {view.intent.release} is live in {desk.stage.name}",
        release=view.intent.release,
        flow_run=flow_run,
        commit=view.intent.commit,
        changed=changed,
    )
    seconds = round((made.at - started).total_seconds(), 1)
    record.append_missing(desk, [replace(made, data={**made.data, "seconds": seconds})], offline=True)
