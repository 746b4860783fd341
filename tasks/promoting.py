"""Promote, render, hold: the moves that are commits."""

from __future__ import annotations

from prefect import task

from tasks import showing
from tasks._desk import desk
from tasks._retry import patient
from tasks._run import flow_run
from tasks._thread import in_thread
from tasks.charge import fence
from tidegate.domain.moves import Hold, Promote, RollBack
from tidegate.domain.promotion import StageView
from tidegate.domain.records import Kind
from tidegate.operations import intent, promote, record, restore


@task(task_run_name="promote to {stage}", **patient)
async def write_promotion(app: str, stage: str, view: StageView, move: Promote) -> str:
    """Commit the release into the stage's folder of the config repository."""
    commit = await in_thread(
        promote.promote, desk(app, stage), move.release, view, fence=fence(app, stage), flow_run=flow_run()
    )
    await showing.event("promoted", app, stage, release=move.release.id, commit=commit)
    return commit


@task(task_run_name="render {stage}", **patient)
async def write_intent(app: str, stage: str, view: StageView) -> str:
    """Commit what the config repository now says to the rendered branch."""
    return await in_thread(
        intent.commit_head, desk(app, stage), view, fence=fence(app, stage), flow_run=flow_run()
    )


@task(task_run_name="ask about {stage}", **patient)
async def ask(app: str, stage: str, hold: Hold) -> None:
    """Put on record what a person is asked, once, and show how to answer."""
    at = desk(app, stage)
    kind, _, subject = hold.key.partition(":")
    release = subject if kind in ("approval", "failed") else ""
    data = {"reason": hold.reason.value, "key": hold.key}
    made = record.new(at, Kind.Hold, hold.message, release=release, flow_run=flow_run(), **data)
    if await in_thread(record.append_question, at, made):
        await showing.question(app, stage, hold)


@task(task_run_name="roll back {stage}", **patient)
async def write_rollback(app: str, stage: str, view: StageView, move: RollBack) -> None:
    """Hold the release and restore the last good state in Git; the next look applies it."""
    assert view.intent is not None
    at = desk(app, stage)
    if view.good is None or view.stage.on_failure == "hold":
        await in_thread(
            restore.hold_as_it_is, at, view.intent, move.message, move.verdict, flow_run=flow_run()
        )
        return
    await in_thread(
        restore.restore,
        at,
        view.intent,
        view.good,
        move.message,
        fence=fence(app, stage),
        verdict=move.verdict,
        flow_run=flow_run(),
        offline=True,
    )
    await showing.event("rolledback", app, stage, release=view.intent.release, message=move.message)
