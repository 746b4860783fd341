"""What a task may know about the run it is in."""

from __future__ import annotations

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
