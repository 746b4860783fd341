"""What does a stage cost when there is nothing to do in it?

`deliver` of a settled application of six stages and of one, called in this process: a fifth of the difference is one
stage, with everything a look takes: Git, ledger, cluster, and Prefect's record of it. The floor is one bare Prefect
task, a tenth of the difference between a flow of ten of them and an empty one. Goal: at most twice that. It is CPU
that is compared, ours and that of the git commands we start: the difference of two waits for a server says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks.measuring import Cost, Goal, Row, in_turn, milliseconds
from benchmarks.world import World, manifests, release_record
from tidegate.adapters.fleet import load_fleet
from tidegate.adapters.ledger import BRANCH
from tidegate.domain.release import Image
from tidegate.operations.desk import open_desk
from tidegate.operations.look import look

STAGES, TASKS, ROUNDS = 6, 10, 7
GOALS = {"stage": Goal(2.0), "look": Goal(2.0, ours=True)}


def run(world: World) -> list[Row]:
    """A stage in `deliver`; and the same look without Prefect, which says where the time goes."""
    one, many = _settled(world, "single", 1), _settled(world, "several", STAGES)
    from benchmarks.noted import steps

    desk = open_desk(load_fleet(world.settings).application(one), one, world.settings)
    actions = (
        lambda: world.deliver(one),
        lambda: world.deliver(many),
        lambda: world.loop.run(steps(0)),
        lambda: world.loop.run(steps(TASKS)),
        lambda: look(desk, datetime.now(UTC)),
    )
    costs = in_turn(*actions, rounds=ROUNDS)
    (stage, task, alone), (stage_wall, task_wall, alone_wall) = (
        _each(costs, what) for what in ("cpu", "wall")
    )
    said = "one bare Prefect task"
    return [
        Row(
            "a settled stage in `deliver`, CPU",
            "ms",
            stage,
            GOALS["stage"],
            task,
            said,
            data={"wall_ms": stage_wall, "floor_wall_ms": task_wall},
        ),
        Row(
            "one look at a settled stage, no Prefect, CPU",
            "ms",
            alone,
            GOALS["look"],
            task,
            said,
            data={"wall_ms": alone_wall},
        ),
    ]


def _each(costs: Sequence[Sequence[Cost]], what: str) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of a stage, of a task, of a look."""
    short, long, empty, full, alone = (milliseconds(c, what) for c in costs)
    stage = [(b - a) / (STAGES - 1) for a, b in zip(short, long, strict=True)]
    task = [(b - a) / TASKS for a, b in zip(empty, full, strict=True)]
    return stage, task, alone


def _settled(world: World, app: str, stages: int) -> str:
    """An application whose stages all have what Git says."""
    source, config = world.repository(app), world.repository(f"{app}-config")
    head = source.push({"code.txt": "code\n"})
    image = Image(world.image(app), f"sha256:{1:064x}")
    places = [app] if stages == 1 else [f"{app}-{i}" for i in range(stages)]
    files: dict[str, str] = {}
    for place in places:
        files |= manifests(place, str(image), 3)
    config.push(files)
    record = release_record(app, image, head)
    config.fill(BRANCH, {record.path: record.to_json()})
    world.write_spec(app, source.url, config.url, stages=stages)
    world.deliver(app)
    return app
