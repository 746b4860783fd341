"""rollback: restore a stage's last good state, or that of a named release, and hold what is there now."""

from __future__ import annotations

from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.deploy import deploy
from tasks import byhand
from tasks.charge import Busy, in_charge


@flow(flow_run_name="roll back {app} in {stage}")
async def rollback(app: str, stage: str, to: str = "", reason: str = "", by: str = "") -> State[Any]:
    """Restore an earlier good state as a commit; the release that is there now is held.

    Args:
        app: Name of the application.
        stage: Name of the stage to put back.
        to: Id of the release to go back to, or its beginning; the good state before when empty.
        reason: Why; goes on record.
        by: Who wants it; goes on record.
    """
    with tags(f"app:{app}", f"stage:{stage}", "kind:rollback"):
        try:
            async with in_charge(app, stage):
                message = await byhand.rollback(app, stage, to, reason, by)
                state = await deploy(app, stage, to or "the release before", return_state=True)
        except Busy:
            return Completed(message=await byhand.hold(app, stage, to, reason, by))
        if state.is_completed():
            return Completed(message=message)
        return Failed(name=state.name, message=state.message)
