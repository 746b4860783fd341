"""A few commits on their whole way, from `git push` of the source to the cluster, by schedule, automation and runner.

Walked once per run of the benchmarks; several questions are answered from them: how long until the flow runs, how
long until the cluster is told, how much memory everything takes meanwhile.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psutil

from benchmarks.world import World, manifests
from tidegate.running.up import RUNNER, SERVER, WARM, Up

POLL_SECONDS = 5.0
ROUNDS = 6
BUDGET_SECONDS = 110.0
"""No further commit is begun after this."""
PATIENCE_SECONDS = 180.0
LOOK_SECONDS = 0.25

TOGETHER = "runner and all its flow runs"

Sizes = Mapping[str, int]
"""Resident bytes by part."""


@dataclass(frozen=True, slots=True)
class Journey:
    """When (epoch seconds) `git push` returned, the pipeline's body began, and the Deployment was patched."""

    pushed: float
    began: float
    patched: float


@dataclass(frozen=True, slots=True)
class Journeys:
    """All of them, and the memory before and meanwhile."""

    each: tuple[Journey, ...]
    rest: Sizes
    peak: Sizes


_walked: dict[World, Journeys] = {}


def journeys(world: World) -> Journeys:
    """Of this run of the benchmarks; walked when first asked for."""
    if world not in _walked:
        _walked[world] = _walk(world)
    return _walked[world]


def _walk(world: World) -> Journeys:
    """The first commit warms up and is not counted."""
    source, config = world.repository("walk"), world.repository("walk-config")
    fleet = world.home / "walking"
    world.write_spec("walk", source.url, config.url, fleet=fleet)
    config.push(manifests("walk", world.image("walk"), 10))
    platform = world.prefect
    env = {**world.env, "TIDEGATE_FLEET": str(fleet), "TIDEGATE_POLL": f"{POLL_SECONDS:g}"}
    up = Up(world.processes, world.home / "state", env=env)
    rest = _sizes(world)
    up.register(platform)
    up.runner(platform)
    found: list[Journey] = []
    started = time.monotonic()
    with _watching(world) as peak:
        for number in range(ROUNDS + 1):
            source.push({"code.txt": f"version {number}\n"})
            found.append(_follow(world, time.time()))
            if time.monotonic() - started > BUDGET_SECONDS and number:
                break
    up.stop_runner()
    _pause_schedules(world)
    return Journeys(tuple(found[1:]), rest, peak)


def _pause_schedules(world: World) -> None:
    for deployment in world.ask_prefect("/deployments/filter", {}):
        world.ask_prefect(f"/deployments/{deployment['id']}/pause_deployment", {})


def _follow(world: World, pushed: float) -> Journey:
    """Wait for the pipeline that a push starts to end."""

    def done() -> dict[str, Any] | None:
        body = {
            "flows": {"name": {"any_": ["pipeline"]}},
            "flow_runs": {"start_time": {"after_": datetime.fromtimestamp(pushed).astimezone().isoformat()}},
            "sort": "EXPECTED_START_TIME_ASC",
        }
        ended = [r for r in world.ask_prefect("/flow_runs/filter", body) if r["end_time"]]
        return ended[0] if ended else None

    run = _until("the pipeline ends", done)
    assert run["state_type"] == "COMPLETED", run["state"]
    began = datetime.fromisoformat(run["start_time"]).timestamp()
    return Journey(pushed, began, world.patched("walk", pushed))


def _until(what: str, check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"never came true: {what}")
        time.sleep(LOOK_SECONDS)
    return found


# --- memory -------------------------------------------------------------------------------------------------


@contextmanager
def _watching(world: World) -> Iterator[dict[str, int]]:
    """The largest size of every part while it lasts."""
    peak: dict[str, int] = defaultdict(int)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            for part, size in _sizes(world).items():
                peak[part] = max(peak[part], size)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _sizes(world: World) -> dict[str, int]:
    """Resident bytes now; together, what is shared counts once. A flow run is the largest there is."""
    found = {
        "Prefect server": sum(map(_rss, _processes(world, SERVER))),
        "embedded cluster": sum(map(_rss, _processes(world, "cluster"))),
    }
    if RUNNER in world.processes.children:
        worker, warm = _processes(world, RUNNER), _processes(world, WARM)
        found["runner"] = sum(map(_rss, worker[:1]))
        found["one flow run"] = max(map(_rss, worker[1:] + warm[1:]), default=0)
        found[TOGETHER] = sum(map(_share, worker + warm))
    return found


def _processes(world: World, name: str) -> list[psutil.Process]:
    """The processes of a part; first the one that was started."""
    if name not in world.processes.children:
        return []
    try:
        first = psutil.Process(world.processes.children[name].popen.pid)
        family = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    return family if sys.platform == "linux" else family[1:]  # elsewhere its leash is a process too


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _share(process: psutil.Process) -> int:
    """Resident bytes, of what several processes hold only its part (where the system tells that)."""
    try:
        return int(getattr(process.memory_full_info(), "pss", 0)) or _rss(process)
    except psutil.Error:
        return 0
