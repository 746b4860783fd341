"""deploy: make one stage equal to its intent, in steps, judged; what fails is undone and held."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks import looking, promoting, stopping, syncing
from tasks.charge import Busy, in_charge
from tidegate.domain.health import HealthStatus
from tidegate.domain.manifests import Manifest
from tidegate.domain.moves import Clear, Deploy, Finish, Hold, Promote, Render, RollBack, Settled, Shift
from tidegate.domain.options import Phase
from tidegate.domain.plan import SyncResult
from tidegate.domain.promotion import StageView
from tidegate.domain.schedule import Hooks

BEFORE = frozenset({Phase.PreSync, Phase.SyncFail})
"""Hooks of a rollout before its verdict; the others come with its end."""


@flow(flow_run_name="{app} {release} → {stage}")
async def deploy(app: str, stage: str, release: str = "newest") -> State[Any]:
    """Render, plan, apply, wait for health, shift traffic in judged steps, record; restore the last good otherwise.

    Args:
        app: Name of the application, as its file in the fleet says it.
        stage: Name of the stage to bring to what Git says.
        release: Only names the run; Git says what is deployed.
    """
    with tags(f"app:{app}", f"stage:{stage}", "kind:deploy"):
        try:
            async with in_charge(app, stage):
                return await _until_done(app, stage)
        except Busy as busy:
            return Completed(name="Held", message=str(busy))
        except asyncio.CancelledError:
            await stopping.undo_if_cancelled(app, stage)
            raise


class _NotWell(Exception):
    """What was applied is not well; the sentence is the reason for undoing it."""


async def _until_done(app: str, stage: str) -> State[Any]:
    undone = ""
    while True:
        view, move = await looking.next_step(app, stage)
        match move:
            case Promote() | Hold() | Settled():
                return _answer(app, stage, view, move, undone)
            case RollBack():
                undone = move.message
                await promoting.write_rollback(app, stage, view, move)
            case Render() | Clear() | Shift() | Deploy() | Finish():
                try:
                    await _make(app, stage, view, move)
                except _NotWell as problem:
                    undone = str(problem)
                    await promoting.write_rollback(app, stage, view, RollBack(undone))


async def _make(
    app: str, stage: str, view: StageView, move: Render | Clear | Shift | Deploy | Finish
) -> None:
    match move:
        case Render():
            await promoting.write_intent(app, stage, view)
        case Clear():
            await _apply(app, stage, view, await syncing.good_state(app, stage, view), None)
        case Shift():
            await _shift(app, stage, view, move)
        case Deploy():
            await _deploy(app, stage, view, move)
        case Finish():
            await syncing.record_verdict(app, stage, view, move)
            await _finish(app, stage, view)


def _answer(app: str, stage: str, view: StageView, move: Promote | Hold | Settled, undone: str) -> State[Any]:
    live = view.good.release if view.good else "nothing"
    if undone:
        return Failed(name="RolledBack", message=f"{undone}; {live} is live in {stage}")
    match move:
        case Promote():
            return Completed(name="Superseded", message=f"{move.release.id} is newer")
        case Hold():
            return Completed(name="Held", message=move.message)
        case Settled():
            return Completed(message=f"{app} {live} is live in {stage}")


async def _shift(app: str, stage: str, view: StageView, move: Shift) -> None:
    """Give the canary its weight."""
    canary, manifests = await syncing.canary_state(app, stage, view, move)
    first = await syncing.hooks(app, stage, view, BEFORE)
    written = await _apply(app, stage, view, manifests, first)
    if written is not None:
        await syncing.record_shift(app, stage, canary)


async def _deploy(app: str, stage: str, view: StageView, move: Deploy) -> None:
    """Apply the intent as it is, verify, record; or let the trial of a first release begin."""
    started = datetime.now(UTC)
    manifests = await syncing.final_state(app, stage, view)
    written = await _apply(app, stage, view, manifests, await syncing.hooks(app, stage, view))
    if written is not None:
        await _verify(app, stage)
        if move.on_trial:
            await syncing.wait_for_leavers(app, stage, manifests)
            await syncing.record_trial(app, stage, view)
        else:
            await syncing.record_sync(app, stage, view, written, started)


async def _finish(app: str, stage: str, view: StageView) -> None:
    """The stable workload takes the new version while the canary still serves; then the canary goes."""
    started = datetime.now(UTC)
    first = await syncing.hooks(app, stage, view, BEFORE)
    written = await _apply(app, stage, view, await syncing.finishing_state(app, stage, view), first)
    if written is None:
        return
    await _verify(app, stage)
    final = await syncing.final_state(app, stage, view)
    left = await _apply(app, stage, view, final, await syncing.hooks(app, stage, view))
    if left is not None:
        await syncing.record_sync(app, stage, view, written + left, started)


async def _apply(
    app: str, stage: str, view: StageView, manifests: list[Manifest], hooks: Hooks | None
) -> int | None:
    """Plan, apply and wait; how many objects were written, or None when something newer came in between."""
    newest = view.candidate.id if view.candidate else ""
    plan = await syncing.make_plan(app, stage, manifests, hooks)
    done = await syncing.apply(app, stage, plan, newest) if plan.acts else SyncResult()
    if done.stopped:
        return None
    if done.failure:
        raise _NotWell(done.failure)
    health, newer = await syncing.wait(app, stage, manifests, newest)
    if newer:
        return None
    if health.status not in (HealthStatus.Healthy, HealthStatus.Suspended):
        raise _NotWell(health.message or f"{stage} is {health.status.value}")
    return len(done.applied) + len(done.pruned)


async def _verify(app: str, stage: str) -> None:
    health = await syncing.verify(app, stage)
    if health.status is not HealthStatus.Healthy:
        raise _NotWell(f"verification failed: {health.message}")
