"""Stop: what a person's Cancel means while a release is on its way."""

from __future__ import annotations

import logging
import os
from uuid import UUID

from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

from tasks._desk import desk
from tasks._retry import once
from tasks._run import flow_run
from tasks._thread import in_thread
from tasks.charge import fence, in_charge
from tasks.looking import see
from tasks.promoting import write_rollback
from tidegate.domain.moves import RollBack
from tidegate.operations import sync

log = logging.getLogger(__name__)


@task(task_run_name="undo {stage}", **once)
async def undo_if_cancelled(app: str, stage: str) -> None:
    """Roll back what a cancelled run had begun. A run that is only moved elsewhere is gone on with instead.

    Prefect kills 30 s after a cancel, so the hold and the restored intent are written first; whatever is left then
    is finished by the next look.
    """
    if not await _cancelled():
        return
    async with in_charge(app, stage):
        view, _ = await see(app, stage)
        if view.intent is None or (view.good and view.good.commit == view.intent.commit):
            return
        await write_rollback(app, stage, view, RollBack("the run was cancelled"))
        view, _ = await see(app, stage)
        at = desk(app, stage)
        final = await in_thread(sync.final_state, at, view)
        plan = await in_thread(sync.plan, at, final, await in_thread(sync.hooks, at, view))
        await in_thread(sync.apply, at, plan, fence(app, stage))


async def _cancelled() -> bool:
    """Whether a person cancelled: that is said of the run that a worker started, not of the flows within."""
    started = os.environ.get("PREFECT__FLOW_RUN_ID") or flow_run()
    async with get_client() as client:
        run = await client.read_flow_run(UUID(started))
    return bool(run.state and run.state.type in (StateType.CANCELLING, StateType.CANCELLED))
