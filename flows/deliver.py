"""deliver: bring every stage of an application to what Git says, in order, as far as the evidence carries."""

from __future__ import annotations

from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.deploy import deploy
from tasks import looking, promoting, scheduling
from tasks.charge import Busy, in_charge
from tidegate.domain.moves import Hold, Move, Promote
from tidegate.domain.promotion import StageView

ALL = "all"


class _Stopped(Exception):
    """A deployment ended in trouble that is no answer about the release; looking again at once would not help."""


@flow(flow_run_name="deliver {app}")
async def deliver(app: str) -> State[Any]:
    """Look, make the next move, look again, until nothing is left to do but wait. Always safe to run again.

    Args:
        app: Name of the application, or "all": those where something is left to do.
    """
    if app == ALL:
        return await _everywhere()
    with tags(f"app:{app}", "kind:deliver"):
        failed = ""
        while True:
            seen = await looking.look_around(app)
            stage = next((s for s, (_, move) in seen.items() if looking.acts(move)), None)
            if stage is None:
                return await _end(app, seen, failed)
            try:
                failed = await _work(app, stage, *seen[stage]) or failed
            except Busy as busy:
                return Completed(name="Held", message=str(busy))
            except _Stopped as problem:
                return Failed(message=f"{app} {stage}: {problem}")


async def _everywhere() -> State[Any]:
    """Go on wherever something is left to do; one application's trouble does not stop the others."""
    seen = await looking.look_everywhere()
    states = [await deliver(app, return_state=True) for app in seen.busy]
    done = "; ".join(f"{app}: {state.name}" for app, state in zip(seen.busy, states, strict=True))
    problems = "; ".join(seen.problems)
    if problems:
        return Failed(message=problems)
    return Completed(message=done or f"{seen.asked} applications have what Git says, or wait")


async def _work(app: str, stage: str, view: StageView, move: Move) -> str:
    """Everything one stage has to do now; returns what went wrong, if something did."""
    async with in_charge(app, stage):
        if isinstance(move, Promote):  # seen before we were in charge; `deploy` looks again by itself
            view, move = await looking.next_step(app, stage)
        if isinstance(move, Promote):
            await promoting.write_promotion(app, stage, view, move)
            view, move = await looking.next_step(app, stage)
        if not looking.acts(move):
            return ""
        release = view.promoted.id if view.promoted else "newest"
        state = await deploy(app, stage, release, return_state=True)
        if state.is_completed() or state.name == "RolledBack":
            return "" if state.is_completed() else state.message or ""
        raise _Stopped(state.message or state.name or "deploy failed")


async def _end(app: str, seen: looking.Seen, failed: str) -> State[Any]:
    """Say where everything stands; questions go on record, longer waits schedule the next look."""
    questions = {stage: m for stage, (_, m) in seen.items() if isinstance(m, Hold) and m.key}
    for stage, hold in questions.items():
        await promoting.ask(app, stage, hold)
    later = looking.soonest(seen)
    if later and later.until:
        await scheduling.look_again(app, later.until)
    await looking.show(app, await looking.see_all(app) if questions else seen)
    if failed:
        return Failed(name="RolledBack", message=failed)
    waiting = [m.message for _, m in seen.values() if isinstance(m, Hold)]
    if waiting:
        return Completed(name="Held", message="; ".join(waiting))
    return Completed(message=f"{app}: every stage has what Git says")
