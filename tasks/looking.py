"""Look: what is true about a stage, and the one next move that follows."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from prefect import task

from tasks import showing
from tasks._desk import application, desk, desk_of
from tasks._retry import patient
from tasks._thread import in_thread
from tidegate.adapters.fleet import load_fleet
from tidegate.domain.moves import Hold, Move, Settled
from tidegate.domain.promotion import StageView, next_move
from tidegate.errors import TidegateError
from tidegate.operations.desk import Desk
from tidegate.operations.look import look, look_together, refresh
from tidegate.settings import settings

log = logging.getLogger(__name__)
POLL = timedelta(seconds=5)
"""Longest time between two looks while a run waits."""


Seen = dict[str, tuple[StageView, Move]]
"""Stages by name, each with its view and the one move that follows."""


async def see(app: str, stage: str) -> tuple[StageView, Move]:
    """One look and its answer."""
    view = await in_thread(look, desk(app, stage), datetime.now(UTC))
    return view, next_move(view)


async def see_all(app: str) -> Seen:
    """One look at all stages, with one question to their config repository."""
    desks = [desk(app, stage.name) for stage in application(app).stages]
    views = await in_thread(look_together, desks, datetime.now(UTC))
    return {view.stage.name: (view, next_move(view)) for view in views}


def is_short(move: Move, now: datetime) -> bool:
    """Whether a run stays alive for this hold."""
    if not isinstance(move, Hold) or move.until is None:
        return False
    return (move.until - now).total_seconds() <= settings().patience


def acts(move: Move) -> bool:
    """Whether a move changes anything."""
    return not isinstance(move, Hold | Settled)


@task(task_run_name="watch {app} {stage}", **patient)
async def next_step(app: str, stage: str) -> tuple[StageView, Move]:
    """Look until there is something to do, or nothing that a run should wait for; says each new reason once."""
    said = ""
    while True:
        view, move = await see(app, stage)
        if view.verdict:
            await showing.verdict(app, stage, view)
        if not is_short(move, view.now):
            log.info("%s %s: %s", app, stage, move.message)
            return view, move
        if move.message != said:
            log.info("%s %s: %s", app, stage, move.message)
            said = move.message
        await _sleep(move)


@task(task_run_name="look at {app}", **patient)
async def look_around(app: str) -> Seen:
    """Look at all stages until one of them has something to do, or none is worth waiting for."""
    said: dict[str, str] = {}
    while True:
        seen = await see_all(app)
        moves = [move for _, move in seen.values()]
        for stage, (_, move) in seen.items():
            if said.get(stage) != move.message:
                log.info("%s %s: %s", app, stage, move.message)
                said[stage] = move.message
        now = datetime.now(UTC)
        waits = [m for m in moves if is_short(m, now)]
        if any(map(acts, moves)) or not waits:
            return seen
        await _sleep(*waits)


@dataclass(frozen=True, slots=True)
class Everywhere:
    """One look at the whole fleet."""

    asked: int
    busy: tuple[str, ...]
    """Applications where something is left to do now."""
    problems: tuple[str, ...]


@task(task_run_name="look everywhere", **patient)
async def look_everywhere() -> Everywhere:
    """One look at every stage of every application; waits for nothing."""
    return await in_thread(_everywhere)


def _everywhere() -> Everywhere:
    fleet = load_fleet(settings())
    apps = fleet.applications
    desks: dict[str, list[Desk]] = {}
    busy: list[str] = []
    problems: list[str] = []
    for app in apps:
        try:
            desks[app.name] = [desk_of(app, stage.name, fleet.health) for stage in app.stages]
        except TidegateError as error:
            problems.append(f"{app.name}: {error}")
    away = refresh(chain.from_iterable(desks.values()))
    for name, stages in desks.items():
        try:
            moves = [next_move(look(at, datetime.now(UTC), away)) for at in stages]
        except TidegateError as error:
            problems.append(f"{name}: {error}")
            continue
        if any(map(acts, moves)):
            busy.append(name)
    return Everywhere(len(apps), tuple(busy), tuple(problems))


async def _sleep(*waits: Move) -> None:
    now = datetime.now(UTC)
    left = [m.until - now for m in waits if isinstance(m, Hold) and m.until]
    await asyncio.sleep(max(0.2, min([POLL, *left]).total_seconds()))


def soonest(seen: Seen) -> Hold | None:
    """The hold that ends first, of those that time ends."""
    holds = [m for _, m in seen.values() if isinstance(m, Hold) and m.until]
    return min(holds, key=lambda h: h.until or datetime.max.replace(tzinfo=UTC), default=None)


@task(task_run_name="show {app}", **patient)
async def show(app: str, seen: Seen) -> None:
    """Where the newest release stands, as an artifact."""
    releases = [v.candidate for v, _ in seen.values() if v.candidate]
    newest = max(releases, key=lambda r: r.order, default=None)
    await showing.release(
        app, newest, {s: m for s, (_, m) in seen.items()}, {s: v for s, (v, _) in seen.items()}
    )
