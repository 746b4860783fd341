"""The moves a person makes by hand; the same operations the command line uses."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from prefect import task

from tasks import showing
from tasks._desk import desk
from tasks._retry import patient
from tasks._run import flow_run
from tasks._thread import in_thread
from tasks.charge import fence
from tidegate.operations import byhand
from tidegate.operations.approve import approve as lift

log = logging.getLogger(__name__)


@task(task_run_name="promote {release} to {stage}", **patient)
async def promote(app: str, stage: str, release: str, reason: str) -> str:
    """Commit the release into the stage's folder."""
    return await in_thread(
        byhand.promote, desk(app, stage), release, fence=fence(app, stage), flow_run=flow_run()
    )


@task(task_run_name="roll back {stage}", **patient)
async def rollback(app: str, stage: str, to: str, reason: str, by: str) -> str:
    """Hold the release and restore the earlier state in Git; returns the sentence."""
    return await in_thread(
        byhand.restore_git,
        desk(app, stage),
        to or None,
        reason,
        by=by or "tidegate",
        fence=fence(app, stage),
        flow_run=flow_run(),
    )


@task(task_run_name="hold in {stage}", **patient)
async def hold(app: str, stage: str, to: str, reason: str, by: str) -> str:
    """Hold what another run deploys; that run undoes it at its next look."""
    call = byhand.hold_for_the_run
    return await in_thread(
        call, desk(app, stage), to or None, reason, by=by or "tidegate", flow_run=flow_run()
    )


@task(task_run_name="approve {stage}", **patient)
async def approve(app: str, stage: str, by: str, release: str, reason: str) -> str:
    """Put the yes on record and say so to whoever listens."""
    at = desk(app, stage)
    message = await in_thread(lift, at, by=by, release=release, reason=reason, flow_run=flow_run())
    await showing.event("approved", app, stage, by=by, release=release)
    return message


@task(task_run_name="plan {stage}", **patient)
async def plan(app: str, stage: str) -> str:
    """What applying the config head would change; shown as an artifact."""
    found = await in_thread(byhand.plan, desk(app, stage), datetime.now(UTC))
    await showing.plan(app, stage, found)
    return found.summary()
