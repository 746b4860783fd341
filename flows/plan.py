"""plan: what applying the head of the config repository would change in a stage; changes nothing."""

from __future__ import annotations

from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import byhand


@flow(flow_run_name="plan {app} → {stage}")
async def plan(app: str, stage: str) -> State[Any]:
    """Show the difference between what Git says and what is live, as an artifact; changes nothing.

    Args:
        app: Name of the application.
        stage: Name of the stage to look at.
    """
    with tags(f"app:{app}", f"stage:{stage}", "kind:plan"):
        return Completed(message=await byhand.plan(app, stage))
