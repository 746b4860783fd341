"""What a task may know about the run it is in."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, get_run_context
from prefect.exceptions import MissingContextError


def flow_run() -> str:
    """Id of the flow run, for trailers and records; empty outside of one."""
    try:
        context = get_run_context()
    except MissingContextError:
        return ""
    run = context.flow_run if isinstance(context, FlowRunContext) else None
    return str(run.id if run else getattr(getattr(context, "task_run", None), "flow_run_id", "") or "")


async def rename(name: str) -> None:
    """Give the flow run the name that a person looks for, once it is known; nothing outside of a run."""
    run = flow_run()
    if run:
        async with get_client() as client:
            await client.update_flow_run(UUID(run), name=name)
