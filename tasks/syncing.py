"""Sync: plan, apply, wait, verify, record; each a task of its own, so the UI shows where a deployment stands."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

from prefect import task

from tasks import showing
from tasks._desk import desk
from tasks._retry import once, patient
from tasks._run import flow_run
from tasks._thread import in_thread
from tasks.charge import fence
from tidegate.domain.health import Health
from tidegate.domain.manifests import Manifest
from tidegate.domain.moves import Finish, Shift
from tidegate.domain.options import Phase
from tidegate.domain.plan import Plan, SyncResult
from tidegate.domain.promotion import StageView
from tidegate.domain.rollout import Canary
from tidegate.domain.schedule import EVERY_PHASE, Hooks
from tidegate.errors import Rejected
from tidegate.operations import record, restore, sync
from tidegate.operations.look import candidate_of, read_git, releases_of

log = logging.getLogger(__name__)


@task(task_run_name="plan {stage}", **patient)
async def make_plan(app: str, stage: str, manifests: list[Manifest], hooks: Hooks | None) -> Plan:
    """What applying would change, and the hooks that run with it; shown as an artifact."""
    plan = await in_thread(sync.plan, desk(app, stage), manifests, hooks)
    log.info("%s %s: %s", app, stage, plan.summary())
    await showing.plan(app, stage, plan)
    return plan


@task(task_run_name="apply to {stage}", **patient)
async def apply(app: str, stage: str, plan: Plan, newest: str) -> SyncResult:
    """Apply a plan wave by wave, with its hooks. `Rejected` names every object that the cluster refused."""
    asking = _Interruption(app, stage, newest)
    result = await in_thread(sync.apply, desk(app, stage), plan, fence(app, stage), asking)
    if result.problems:
        raise Rejected(f"{app} {stage}: " + "; ".join(filter(None, (*result.problems, result.failure))))
    return result


@task(task_run_name="wait for health of {stage}", **once)
async def wait(app: str, stage: str, manifests: list[Manifest], newest: str) -> tuple[Health, str]:
    """Wait until all is healthy or something is beyond hope; also ended by a newer release, which is then named."""
    at, asking = desk(app, stage), _Interruption(app, stage, newest)
    health = await in_thread(sync.wait, at, manifests, asking)
    log.info("%s %s: %s %s", app, stage, health.status.value, health.message)
    return health, asking.said or ""


class _Interruption:
    """Asks at most every five seconds whether a newer release has arrived; always whether we are in charge."""

    def __init__(self, app: str, stage: str, newest: str) -> None:
        self._desk, self._fence, self._newest = desk(app, stage), fence(app, stage), newest
        self._due = time.monotonic() + 5
        self.said: str | None = None

    def __call__(self) -> str | None:
        self._fence()
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + 5
            self.said = self._newer()
        return self.said

    def _newer(self) -> str | None:
        seen = read_git(self._desk)
        release, _ = candidate_of(self._desk, seen.records, releases_of(seen.records), datetime.now(UTC))
        return f"{release.id} has arrived" if release and release.id != self._newest else None


async def canary_state(app: str, stage: str, view: StageView, move: Shift) -> tuple[Canary, list[Manifest]]:
    """The canary a `Shift` asks for, and the whole desired state with it."""
    canary = sync.next_canary(view, move)
    return canary, await in_thread(sync.canary_state, desk(app, stage), view, canary)


async def good_state(app: str, stage: str, view: StageView) -> list[Manifest]:
    """Desired state without any canary."""
    return await in_thread(sync.good_state, desk(app, stage), view)


async def finishing_state(app: str, stage: str, view: StageView) -> list[Manifest]:
    """Desired state while the stable workload takes the new version."""
    return await in_thread(sync.finishing_state, desk(app, stage), view)


async def final_state(app: str, stage: str, view: StageView) -> list[Manifest]:
    """Desired state when all is done."""
    return await in_thread(sync.final_state, desk(app, stage), view)


async def hooks(
    app: str, stage: str, view: StageView, phases: frozenset[Phase] = EVERY_PHASE
) -> Hooks | None:
    """The hooks that bringing in the intent runs."""
    return await in_thread(sync.hooks, desk(app, stage), view, phases)


@task(task_run_name="verify {stage}", **once)
async def verify(app: str, stage: str) -> Health:
    """The stage's own checks against what runs now."""
    health = await in_thread(sync.verify, desk(app, stage))
    log.info("%s %s: verify: %s %s", app, stage, health.status.value, health.message)
    return health


@task(task_run_name="record {stage}", **patient)
async def record_sync(app: str, stage: str, view: StageView, changed: int, started: datetime) -> None:
    """Put on record that the intent is live."""
    await in_thread(sync.record_sync, desk(app, stage), view, changed, started, flow_run=flow_run())


@task(task_run_name="wait for earlier pods of {stage}", **patient)
async def wait_for_leavers(app: str, stage: str, manifests: list[Manifest]) -> None:
    """Wait until no pod of an earlier version is left to be measured; ends within their grace period."""
    at = desk(app, stage)
    while left := await in_thread(sync.pods_leaving, at, manifests):
        log.info("%s %s: %d pods of an earlier version are still ending", app, stage, left)
        await asyncio.sleep(1)


@task(task_run_name="record trial in {stage}", **patient)
async def record_trial(app: str, stage: str, view: StageView) -> None:
    """Put on record that a first release is on trial from now on."""
    await in_thread(sync.record_trial, desk(app, stage), view, flow_run=flow_run())


@task(task_run_name="record weight in {stage}", **patient)
async def record_shift(app: str, stage: str, canary: Canary) -> None:
    """Put a canary's weight on record."""
    await in_thread(sync.record_shift, desk(app, stage), canary, flow_run=flow_run())


@task(task_run_name="record verdict of {stage}", **patient)
async def record_verdict(app: str, stage: str, view: StageView, move: Finish) -> None:
    """Put the gate's final yes on record, before anything is changed because of it."""
    if move.verdict is None or view.intent is None:
        return
    at = desk(app, stage)
    made = restore.verdict_record(at, view.intent, move.verdict, flow_run=flow_run())
    await in_thread(record.append_missing, at, [made])
    await showing.event(
        "verdict", app, stage, release=view.intent.release, outcome=move.verdict.outcome.value
    )
