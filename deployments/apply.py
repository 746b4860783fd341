"""Register `prefect.yaml` and `automations.yaml` with the server at `PREFECT_API_URL`, checked; twice changes nothing.

`prefect deploy --all` exits 0 for an unset variable, a parameter the flow lacks, and a deployment that is gone from
the file; here each of these is an error or is put right. Run as `python -m deployments.apply`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyOptions
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from tasks.charge import limit_name
from tidegate.adapters.fleet import load_fleet
from tidegate.errors import SpecError, TidegateError
from tidegate.settings import settings

ROOT = Path(__file__).resolve().parent.parent
TAG = "tidegate"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deployment as the file asks for it, with its flow loaded and its parameters checked."""

    name: str
    flow: Flow[Any, Any]
    entry: Mapping[str, Any]


def read_deployments(path: Path = ROOT / "prefect.yaml") -> list[Wanted]:
    """The file's deployments, each checked against its flow; `SpecError` names every problem."""
    text = path.read_text()
    document = yaml.safe_load(text)
    problems = [f"{path.name}: variable in {{{{ {v} }}}} is not allowed here" for v in _variables(text)]
    wanted: list[Wanted] = []
    for entry in document["deployments"]:
        try:
            flow: Flow[Any, Any] = load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False)
        except Exception as error:
            problems.append(f"{path.name}: {entry['name']}: {entry['entrypoint']} does not load: {error}")
            continue
        unknown = set(entry.get("parameters", {})) - set(parameter_schema(flow.fn).properties)
        problems += [
            f"{path.name}: {entry['name']}: {flow.name} has no parameter {p!r}" for p in sorted(unknown)
        ]
        wanted.append(Wanted(entry["name"], flow, entry))
    if problems:
        raise SpecError("\n".join(problems))
    return wanted


def _variables(text: str) -> list[str]:
    return [part.split("}}")[0].strip() for part in text.split("{{")[1:] if part.strip().startswith("$")]


def schedules(entry: Mapping[str, Any]) -> list[DeploymentScheduleCreate]:
    """The schedules of an entry; git-sync's interval is `TIDEGATE_POLL` where that is set."""
    made = []
    for given in entry.get("schedules", ()):
        own = settings().poll if entry["name"] == "git-sync" else None
        seconds: float = own or given["interval"]
        every = IntervalSchedule(interval=timedelta(seconds=seconds))
        made.append(DeploymentScheduleCreate(schedule=every, slug=given["slug"], active=True))
    return made


async def apply(client: PrefectClient) -> list[str]:
    """Bring the server to what the files say; returns a sentence per thing that was looked after."""
    wanted = read_deployments()
    said = [await _pool(client, name) for name in sorted({w.entry["work_pool"]["name"] for w in wanted})]
    said += [await _limit(client, name) for name in limits()]
    ids = {f"{w.flow.name}/{w.name}": await _deployment(client, w) for w in wanted}
    said += [f"deployment {name}" for name in ids]
    said += [await _automation(client, entry, ids) for entry in read_automations()]
    return said + await _pause_others(client, set(ids))


async def _pool(client: PrefectClient, name: str) -> str:
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    return f"work pool {name}"


def limits() -> list[str]:
    """Names of the limits that keep runs apart: one per stage, one for the making of releases."""
    apps = load_fleet(settings()).applications
    stages = [limit_name(app.name, stage.name) for app in apps for stage in app.stages]
    return stages + [limit_name(app.name, "integrate") for app in apps]


async def _limit(client: PrefectClient, name: str) -> str:
    await client.upsert_global_concurrency_limit_by_name(name, 1)
    return f"limit {name}"


async def _deployment(client: PrefectClient, wanted: Wanted) -> Any:
    entry = wanted.entry
    limit = entry.get("concurrency_limit")
    config = ConcurrencyLimitConfig.model_validate(limit) if limit else None
    return await client.create_deployment(
        flow_id=await client.create_flow_from_name(wanted.flow.name),
        name=wanted.name,
        description=entry.get("description"),
        entrypoint=entry["entrypoint"],
        parameters=entry.get("parameters", {}),
        parameter_openapi_schema=parameter_schema(wanted.flow.fn).model_dump(exclude_unset=True),
        enforce_parameter_schema=True,
        schedules=schedules(entry),
        concurrency_limit=config.limit if config else None,
        concurrency_options=_options(config),
        tags=entry.get("tags", []),
        work_pool_name=entry["work_pool"]["name"],
        job_variables=entry["work_pool"].get("job_variables", {}),
        pull_steps=yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"],
        path=".",
        paused=False,
    )


def _options(config: ConcurrencyLimitConfig | None) -> ConcurrencyOptions | None:
    return ConcurrencyOptions(collision_strategy=config.collision_strategy) if config else None


def read_automations(path: Path = ROOT / "deployments" / "automations.yaml") -> Sequence[dict[str, Any]]:
    """Automations as data; names are unique."""
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text())
    return entries


async def _automation(client: PrefectClient, entry: dict[str, Any], ids: Mapping[str, Any]) -> str:
    """Names are not unique on the server: read by name, then update the first and delete the rest."""
    actions = [_action(action, ids) for action in entry["actions"]]
    wanted = AutomationCore.model_validate({**entry, "actions": actions, "enabled": True})
    there = await client.read_automations_by_name(entry["name"])
    if there:
        await client.update_automation(there[0].id, wanted)
    else:
        await client.create_automation(wanted)
    for extra in there[1:]:
        await client.delete_automation(extra.id)
    return f"automation {entry['name']}"


def _action(action: dict[str, Any], ids: Mapping[str, Any]) -> dict[str, Any]:
    name = action.get("deployment")
    if name is None:
        return action
    if name not in ids:
        raise SpecError(f"automations.yaml: there is no deployment {name}; there is {', '.join(sorted(ids))}")
    return {**{k: v for k, v in action.items() if k != "deployment"}, "deployment_id": str(ids[name])}


async def _pause_others(client: PrefectClient, named: set[str]) -> list[str]:
    """Pause deployments of ours that the file no longer names; nothing of anybody else's is touched."""
    said = []
    for found in await client.read_deployments():
        flow = await client.read_flow(found.flow_id)
        name = f"{flow.name}/{found.name}"
        if TAG in found.tags and name not in named and not found.paused:
            await client.pause_deployment(found.id)
            said.append(f"paused {name}: the file no longer names it")
    return said


async def main() -> int:
    """Register, say what was looked after; 0 done, else the exit code of the error."""
    try:
        async with get_client() as client:
            for line in await apply(client):
                print(line)
    except TidegateError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
