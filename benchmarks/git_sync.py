"""What does git-sync pay for N applications with nothing new?

N applications share one source and one config repository, each has its newest revision on record. The candidate is
`find_new` as every run of git-sync calls it: opened anew, nothing in memory, mirrors on disk. The floor is a bare
`git ls-remote` of the two repositories, in turn. Goal: at most 1.2 times the floor, whatever N is.

The last row is what a run of git-sync pays before that for reading the fleet's N specs, against bare YAML.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.measuring import Goal, Row, cost, in_turn, milliseconds
from benchmarks.world import World, release_record
from tidegate.adapters.ledger import BRANCH
from tidegate.domain.release import Image
from tidegate.operations.revisions import find_new
from tidegate.spec import Application, load

SIZES = (10, 100, 1000, 5000)
ROUNDS = 9
GOALS = {"same": Goal(1.2), "specs": Goal(1.2, ours=True)}


def run(world: World) -> list[Row]:
    """A row per size, and one for reading the largest fleet."""
    return [_nothing_new(world, size) for size in SIZES] + [_specs(world, SIZES[-1])]


def _nothing_new(world: World, size: int) -> Row:
    source, config = world.repository(f"source-{size}"), world.repository(f"config-{size}")
    head = source.push({"code.txt": "code\n"})
    config.push({"README.md": "what should be live\n"})
    apps = [_application(i, source.url, config.url) for i in range(size)]
    image = Image("registry.example/app", f"sha256:{0:064x}")
    records = (release_record(app.name, image, head) for app in apps)
    config.fill(BRANCH, {record.path: record.to_json() for record in records})

    def candidate() -> None:
        found = find_new(apps, world.settings)
        assert not found.revisions and not found.problems, found

    first = cost(candidate)
    mine, bare = in_turn(candidate, _ls_remotes(source.url, config.url), rounds=ROUNDS)
    return Row(
        f"git-sync of {size} applications, nothing new",
        "ms",
        milliseconds(mine),
        GOALS["same"],
        milliseconds(bare),
        "git ls-remote of both repositories",
        data={
            "cpu_ms": milliseconds(mine, "cpu"),
            "floor_cpu_ms": milliseconds(bare, "cpu"),
            "first_ms": 1000 * first.wall,
        },
    )


def _application(number: int, source: str, config: str) -> Application:
    stage = {"name": "live", "path": f"app-{number}", "target": {"kind": "kubernetes", "namespace": "apps"}}
    build = {"kind": "archive", "image": "registry.example/app", "entrypoint": ["app"]}
    return Application.model_validate(
        {
            "kind": "Application",
            "name": f"app-{number}",
            "source": {"git": source, "paths": [f"services/app-{number}/**"]},
            "integrate": {"build": build},
            "config": {"git": config},
            "stages": [stage],
        }
    )


def _ls_remotes(source: str, config: str) -> Callable[[], None]:
    """Both at once: nothing keeps anybody from asking two servers at the same time."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    asked = ((source, "refs/heads/main"), (config, f"refs/heads/{BRANCH}"))

    def ask(words: tuple[str, str]) -> None:
        done = subprocess.run(
            ["git", "ls-remote", *words], env=env, capture_output=True, timeout=20, check=True
        )
        assert done.stdout

    def floor() -> None:
        with ThreadPoolExecutor(len(asked)) as pool:
            list(pool.map(ask, asked))

    return floor


def _specs(world: World, size: int) -> Row:
    folder = world.home / "large-fleet"
    folder.mkdir()
    for i in range(size):
        spec = _application(i, "https://git.example/code.git", "https://git.example/config.git")
        text = yaml.safe_dump(
            spec.model_dump(mode="json", by_alias=True, exclude_unset=True), sort_keys=False
        )
        (folder / f"app-{i}.yaml").write_text(text)
    files = sorted(folder.iterdir())
    mine, bare = cost(lambda: load(folder)), cost(lambda: _parse(files))
    return Row(
        f"git-sync reads {size} specs",
        "ms",
        milliseconds([mine], "cpu"),
        GOALS["specs"],
        milliseconds([bare], "cpu"),
        "the same files through yaml.CSafeLoader, CPU",
    )


def _parse(files: Sequence[Path]) -> None:
    for file in files:
        yaml.load(file.read_bytes(), yaml.CSafeLoader)
