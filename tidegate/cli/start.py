"""`run`: start the pipeline, on the Prefect server or in this process."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.common import APP, fleet_option, how, load, output_option
from tidegate.cli.output import paint, print_json

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State

_DEPLOYMENT = "pipeline/pipeline"


@click.command(
    epilog="""\b
Examples:
  tidegate run shop                     start it and go
  tidegate run shop --wait              follow it; exits 1 when it was refused or rolled back
  tidegate run shop --revision 3f2a91c""",
)
@click.argument("app", type=APP)
@click.option("--revision", default="newest", show_default=True, help="A commit of the application's branch.")
@click.option("--wait", is_flag=True, help="Follow the run to its end.")
@click.option("--local", is_flag=True, help="Run the flow in this process instead of by a runner.")
@fleet_option
@output_option
def run(app: str, revision: str, wait: bool, local: bool, fleet: str | None, output: str) -> int:
    """Start the pipeline of an application: audit, test, build, then deliver as far as the evidence carries it."""
    load(fleet).application(app)
    if local:
        return _in_process(app, revision, how(fleet).fleet, output)
    return asyncio.run(_by_server(app, revision, wait, output))


def _in_process(app: str, revision: str, fleet: str, output: str) -> int:
    os.environ["TIDEGATE_FLEET"] = fleet  # the flow reads its settings itself
    flow = import_module("flows.pipeline").pipeline
    state = asyncio.run(flow(app=app, revision=revision, return_state=True))
    if output == "json":
        print_json(_answer(state))
    else:
        click.echo(f"{paint(state.name or state.type.value, _colour(state))}  {state.message or ''}".rstrip())
    return _code(state)


async def _by_server(app: str, revision: str, wait: bool, output: str) -> int:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    from tidegate.errors import NotFound, Unreachable

    api = PREFECT_API_URL.value()
    if not api:
        raise Unreachable("no Prefect server; start one with `tidegate up`, or set PREFECT_API_URL")
    try:
        async with get_client() as client:
            found = await client.read_deployment_by_name(_DEPLOYMENT)
            parameters = {"app": app, "revision": revision}
            made = await client.create_flow_run_from_deployment(found.id, parameters=parameters)
            url = f"{api.removesuffix('/api')}/runs/flow-run/{made.id}"
            if output == "text":
                click.echo(f"{paint(made.name, bold=True)}  {url}")
            state = await _ended(client, made, quiet=output == "json") if wait else None
            if output == "json":
                about = {"id": str(made.id), "name": made.name, "url": url}
                print_json({**about, **(_answer(state) if state else {})})
            return _code(state) if state else 0
    except ObjectNotFound as error:
        raise NotFound(f"{api}: no deployment '{_DEPLOYMENT}'; register it with `tidegate up`") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"Prefect at {api} does not answer: {type(error).__name__}") from error


async def _ended(client: PrefectClient, run: FlowRun, *, quiet: bool) -> State[Any]:
    """The final state of a run; meanwhile each state of the run and of its parts is printed once."""
    told: set[tuple[Any, ...]] = set()
    while True:
        now = await client.read_flow_run(run.id)
        for one in () if quiet else [*await _parts(client, run), now]:
            key = (one.id, one.state_name)
            if key not in told and one.state is not None:
                told.add(key)
                click.echo(_line(one))
        if now.state is not None and now.state.is_final():
            return now.state
        await asyncio.sleep(1)


async def _parts(client: PrefectClient, run: FlowRun) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
    found: list[FlowRun] = await client.read_flow_runs(flow_run_filter=below)
    return sorted(found, key=lambda part: str(part.created))


def _line(run: FlowRun) -> str:
    state = run.state
    assert state is not None
    said = f"  {state.message}" if state.message and state.is_final() else ""
    return f"{state.timestamp.astimezone():%H:%M:%S}  {run.name}  {paint(state.name or '', _colour(state))}{said}"


def _colour(state: State[Any]) -> str:
    if not state.is_final():
        return "cyan"
    return "green" if state.is_completed() else "red"


def _answer(state: State[Any]) -> dict[str, Any]:
    return {"state": state.name, "type": state.type.value, "message": state.message}


def _code(state: State[Any]) -> int:
    """0 done or held, 1 refused or rolled back, 3 crashed."""
    if state.is_completed():
        return 0
    return 1 if state.is_failed() or state.is_cancelled() else 3
