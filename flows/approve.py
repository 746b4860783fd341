"""approve: a person's yes to what a stage holds for; on record with the name, and `deliver` goes on."""

from __future__ import annotations

from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import byhand


@flow(flow_run_name="approve {app} in {stage}")
async def approve(app: str, stage: str, by: str, release: str = "", reason: str = "") -> State[Any]:
    """Lift the hold of a stage.

    Args:
        app: Name of the application.
        stage: Name of the stage that waits.
        by: Who says yes; goes on record, into the promotion commit too.
        release: Id of the release that is meant, or its beginning; the one that waits when empty.
        reason: Why; goes on record.
    """
    with tags(f"app:{app}", f"stage:{stage}", "kind:approve"):
        return Completed(message=await byhand.approve(app, stage, by, release, reason))
