"""git-sync: ask Git what is new; every new revision becomes an event, and the event starts `pipeline`."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import revisions


@flow(name="git-sync", flow_run_name="git-sync")
async def git_sync() -> State[Any]:
    """Ask every source repository once and announce what is new. Level-triggered: a lost event comes again."""
    found = await revisions.ask()
    if found.revisions:
        await revisions.announce(found.revisions)
    names = ", ".join(f"{r.app} {r.sha[:7]}" for r in found.revisions) or "nothing new"
    problems = f"; {len(found.problems)} not answered: {found.problems[0]}" if found.problems else ""
    return Completed(message=f"{names} in {found.asked} repositories{problems}")
