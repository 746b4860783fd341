"""How long until the command line answers?

Fresh processes in turn, CPU of each with its children. `tidegate --help` against a bare Python that does nothing, and
against `prefect --help`. `tidegate plan` of ten deployed objects against a Python that imports the libraries such a
plan needs and does its I/O: one `git ls-remote`, four GETs, the YAML of the folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from benchmarks.measuring import Cost, Goal, Row, process_cost
from benchmarks.world import World, manifests, release_record
from tidegate.adapters.fleet import load_fleet
from tidegate.adapters.ledger import BRANCH
from tidegate.domain.release import Image
from tidegate.operations import byhand
from tidegate.operations.desk import open_desk
from tidegate.running.up import ROOT

ROUNDS, PREFECT_ROUNDS = 7, 3
GOALS = {"help": Goal(4.0), "plan": Goal(1.5), "prefect": Goal(0.1)}
_LEAN = """
import json, subprocess, sys
import click, pydantic, pydantic_settings, urllib3, yaml
_, git, api, namespace, *files = sys.argv
subprocess.run(["git", "ls-remote", git], check=True, capture_output=True)
http = urllib3.PoolManager()
for path in ("/api/v1/namespaces/{}/configmaps/tidegate-{}-{}", "/apis/apps/v1/namespaces/{}/deployments/{}",
             "/api/v1/namespaces/{}/configmaps", "/apis/apps/v1/namespaces/{}/deployments"):
    json.loads(http.request("GET", api + path.format(namespace, namespace, namespace)).data)
for file in files:
    yaml.load(open(file), yaml.CSafeLoader)
"""


def run(world: World) -> list[Row]:
    """`--help` twice, then `plan`."""
    asked, bare, planned, lean = _in_turn(world)
    prefect = [_cost(["-m", "prefect", "--help"]) for _ in range(PREFECT_ROUNDS)]
    wall = {"wall_ms": [1000 * c.wall for c in asked], "plan_wall_ms": [1000 * c.wall for c in planned]}
    cpu = [[1000 * c.cpu for c in each] for each in (asked, bare, prefect, planned, lean)]
    return [
        Row("tidegate --help, CPU", "ms", cpu[0], GOALS["help"], cpu[1], "python -c pass", data=wall),
        Row(
            "tidegate --help, against prefect's, CPU",
            "ms",
            cpu[0],
            GOALS["prefect"],
            cpu[2],
            "prefect --help",
        ),
        Row(
            "tidegate plan, 10 objects, CPU", "ms", cpu[3], GOALS["plan"], cpu[4], "lean imports and the I/O"
        ),
    ]


def _in_turn(world: World) -> list[list[Cost]]:
    git, files = _deployed(world)
    actions = (
        ["-m", "tidegate.cli", "--help"],
        ["-c", "pass"],
        ["-m", "tidegate.cli", "plan", "cold"],
        ["-c", _LEAN, git, world.cluster["url"], "cold", *files],
    )
    rounds = [[_cost(words) for words in actions] for _ in range(ROUNDS + 1)]
    return [list(each) for each in zip(*rounds[1:], strict=True)]


def _cost(words: Sequence[str]) -> Cost:
    return process_cost([sys.executable, *words], env=dict(os.environ), cwd=ROOT)


def _deployed(world: World) -> tuple[str, list[str]]:
    """An application of ten objects that are all live; its config repository and the files there."""
    source, config = world.repository("cold"), world.repository("cold-config")
    image = Image(world.image("cold"), f"sha256:{1:064x}")
    files = manifests("cold", str(image), 10)
    head = source.push({"code.txt": "code\n"})
    config.push(files)
    record = release_record("cold", image, head)
    config.fill(BRANCH, {record.path: record.to_json()})
    world.write_spec("cold", source.url, config.url)
    desk = open_desk(load_fleet(world.settings).application("cold"), "cold", world.settings)
    desk.target.prepare()
    plan = byhand.plan(desk, record.at)
    assert not desk.target.apply(desk.owner, plan, fence=lambda: None).problems
    assert not byhand.plan(desk, record.at).writes
    return config.url, [str(config.folder / path) for path in files]
