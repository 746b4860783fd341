"""Rounds of candidate and floor in turn, and what came of them as one row of the table."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

SLACK = 1.15
"""A goal missed by less than this is noise, for who lets a machine judge."""


class Of(StrEnum):
    """Which number a goal limits."""

    Ratio = "ratio"
    """Median of the candidate by median of the floor."""
    Median = "median"
    P95 = "p95"


@dataclass(frozen=True, slots=True)
class Goal:
    """At most this. `ours`: the design names no limit, this one only catches a sudden growth."""

    limit: float
    of: Of = Of.Ratio
    ours: bool = False


class Cost(NamedTuple):
    """Seconds of wall clock, and of CPU: our own and that of children which have ended."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Values and floor in `unit`; without a floor there is no ratio."""

    what: str
    unit: str
    values: Sequence[float]
    goal: Goal | None = None
    floor: Sequence[float] = ()
    floor_is: str = ""
    digits: int = 0
    """Digits after the point that mean something."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else was seen, for the JSON."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        return percentile(self.values, 0.95)

    @property
    def floor_median(self) -> float | None:
        return statistics.median(self.floor) if self.floor else None

    @property
    def ratio(self) -> float | None:
        floor = self.floor_median
        return self.median / floor if floor else None

    @property
    def excess(self) -> float | None:
        """How many times the goal the limited number is; above 1 it is missed."""
        if self.goal is None:
            return None
        found = {Of.Ratio: self.ratio, Of.Median: self.median, Of.P95: self.p95}[self.goal.of]
        if found is None:
            return None
        if self.goal.limit == 0:
            return 1.0 if found == 0 else float("inf")
        return found / self.goal.limit

    def to_json(self) -> dict[str, Any]:
        shown = asdict(self) | {"median": self.median, "p95": self.p95, "ratio": self.ratio}
        return shown | {"floor_median": self.floor_median, "excess": self.excess}


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; with few values the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * int(100 * share) // 100) - 1))]


def cost(action: Callable[[], object]) -> Cost:
    """What one call costs."""
    before, began = _cpu(), time.perf_counter()
    action()
    return Cost(time.perf_counter() - began, _cpu() - before)


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def in_turn(*actions: Callable[[], object], rounds: int = 5, warm: int = 1) -> list[list[Cost]]:
    """Costs per action. They take turns, so that a busy moment of the machine hits all of them."""
    for _ in range(warm):
        for action in actions:
            action()
    taken = [[cost(action) for action in actions] for _ in range(rounds)]
    return [list(costs) for costs in zip(*taken, strict=True)]


def milliseconds(costs: Sequence[Cost], what: str = "wall") -> list[float]:
    """Wall (or `cpu`) milliseconds of costs."""
    return [1000 * getattr(each, what) for each in costs]


def process_cost(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Cost:
    """What one process costs, its own children included; `CalledProcessError` when it fails."""
    began = time.perf_counter()
    child = subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(argv))
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime)
