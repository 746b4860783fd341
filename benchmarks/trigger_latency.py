"""How long from an event, or from `git push`, until the flow's first line runs?

An event is posted to Prefect; an automation starts a deployment; a process worker, set up as `tidegate up` does it,
begins the body. The floor is the same flow called in this process, warm. Goal: at most 1.5 times that.
By poll, from `git push` to the body of `pipeline`: at most git-sync's interval and that (`journeys` has the numbers).
"""

from __future__ import annotations

import statistics
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import yaml

from benchmarks.journeys import POLL_SECONDS, journeys
from benchmarks.measuring import Goal, Of, Row
from benchmarks.world import World
from tidegate.running.up import ROOT, RUNNER, Up

ROUNDS, POOL, EVENT = 8, "bench", "bench.trigger"
PATIENCE_SECONDS = 60.0
GOALS = {"event": Goal(1.5)}


def run(world: World) -> list[Row]:
    """By event, then by poll."""
    by_event, floor = _by_event(world)
    by_poll = [1000 * (j.began - j.pushed) for j in journeys(world).each]
    said = "the same flow called in a warm process"
    goal = Goal(1000 * POLL_SECONDS + GOALS["event"].limit * statistics.median(floor), Of.Median)
    return [
        Row("event → flow body, by a process worker", "ms", by_event, GOALS["event"], floor, said),
        Row(f"push → flow body, by poll every {POLL_SECONDS:g} s", "ms", by_poll, goal, floor, said),
    ]


def _by_event(world: World) -> tuple[list[float], list[float]]:
    """Milliseconds until the body began: by event, and called here; in turn."""
    platform = world.prefect
    world.loop.run(_register())
    env = {**world.env, "PYTHONPATH": str(ROOT)}  # the benchmarks are not installed
    up = Up(world.processes, world.home / "state", env=env)
    up.runner(platform, pool=POOL)
    worker, workers = world.processes.children[RUNNER], f"/work_pools/{POOL}/workers/filter"
    world.processes.wait(worker, lambda: bool(world.ask_prefect(workers, {})), seconds=PATIENCE_SECONDS)
    events: list[float] = []
    called: list[float] = []
    for number in range(ROUNDS + 1):
        taken = _post(world, number), _call(world, number)
        if number:  # the first ones warm up
            events.append(taken[0])
            called.append(taken[1])
    up.stop_runner()
    return events, called


def _post(world: World, number: int) -> float:
    file = world.home / f"event-{number}"
    body = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": "bench.noted"},
        "payload": {"file": str(file)},
        "id": str(uuid.uuid4()),
    }
    posted = time.time()
    world.ask_prefect("/events", [body])
    return 1000 * (_noted(file) - posted)


def _call(world: World, number: int) -> float:
    from benchmarks.noted import noted

    file = world.home / f"call-{number}"
    called = time.time()
    world.loop.run(noted(str(file)))
    return 1000 * (_noted(file) - called)


def _noted(file: Path) -> float:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the flow never began: {file.name}")
        time.sleep(0.02)
    return float(file.read_text())


async def _register() -> None:
    """A pool, a deployment and an automation, as `deployments.apply` makes them."""
    from prefect.automations import AutomationCore
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.utilities.callables import parameter_schema

    from benchmarks.noted import noted

    plan = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        deployment = await client.create_deployment(
            flow_id=await client.create_flow_from_name(noted.name),
            name="noted",
            entrypoint="benchmarks.noted.noted",
            parameter_openapi_schema=parameter_schema(noted.fn).model_dump_for_openapi(),
            work_pool_name=POOL,
            job_variables=plan["definitions"]["pool"].get("job_variables", {}),
            pull_steps=plan["pull"],
            path=".",
        )
        trigger = {
            "type": "event",
            "posture": "Reactive",
            "expect": [EVENT],
            "match": {"prefect.resource.id": "bench.noted"},
            "threshold": 1,
            "within": 0,
        }
        parameters = {"file": {"__prefect_kind": "jinja", "template": "{{ event.payload.file }}"}}
        action = {
            "type": "run-deployment",
            "source": "selected",
            "deployment_id": str(deployment),
            "parameters": parameters,
        }
        wanted = {"name": "bench event starts noted", "trigger": trigger, "actions": [action]}
        await client.create_automation(AutomationCore.model_validate(wanted))
