"""promote: put a release into a stage by hand, then deliver it there as always: canary, gate, record."""

from __future__ import annotations

from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows.deploy import deploy
from tasks import byhand
from tasks.charge import Busy, in_charge


@flow(flow_run_name="promote {app} {release} → {stage}")
async def promote(app: str, stage: str, release: str, reason: str = "") -> State[Any]:
    """Promote a release without waiting for soak or window; the gate judges it like any other.

    A held release needs `approve` first.

    Args:
        app: Name of the application.
        stage: Name of the stage it goes into.
        release: Id of the release, or its beginning; the history and the release artifact show it.
        reason: Why; stays with this run.
    """
    with tags(f"app:{app}", f"stage:{stage}", "kind:promote"):
        try:
            async with in_charge(app, stage):
                await byhand.promote(app, stage, release, reason)
                state: State[Any] = await deploy(app, stage, release, return_state=True)
                return state
        except Busy as busy:
            return Failed(name="Refused", message=str(busy))
