"""The closing table: per release how long it took, what the gate said, and whom it hurt."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.table import Table

from tidegate.demo.answers import Tally
from tidegate.demo.repositories import Pushed
from tidegate.demo.scene import Course
from tidegate.demo.screen import clock
from tidegate.domain.records import Kind, Record
from tidegate.domain.rollout import WHOLE


@dataclass(frozen=True, slots=True)
class Told:
    """One release of the story, when it is over."""

    number: int
    pushed: Pushed
    at: float
    """When it was pushed, seconds since the epoch."""
    course: Course
    visits: Tally
    """Requests from its push until it was live or undone."""


def closing(releases: list[Told]) -> Table:
    """One row per release."""
    table = Table(box=box.SIMPLE_HEAD, title="What happened (times since the push)", title_justify="left")
    table.add_column("release", max_width=28)
    table.add_column("staging", justify="right")
    table.add_column("production", justify="right")
    table.add_column("what the gate said", overflow="fold", ratio=1)
    table.add_column("requests\nit hurt", justify="right", no_wrap=True)
    for told in releases:
        table.add_row(
            f"{told.number}  {told.course.release}\n[dim]{told.pushed.subject}[/dim]",
            _after(told, "staging"),
            _after(told, "production"),
            gate(told.course),
            f"{told.visits.hurt}\n[dim]of {told.visits.total}[/dim]",
        )
    return table


def _after(told: Told, stage: str) -> str:
    live = told.course.live(stage)
    return clock(live.timestamp() - told.at) if live else "never"


def gate(course: Course) -> str:
    """The verdict's sentence and how long the canary had run; or why there was none."""
    verdict = course.verdict
    if verdict is None:
        return "no verdict"
    started = _started(course)
    took = f" after {(verdict.at - started.at).total_seconds():.0f} s of {_kind(started)}" if started else ""
    return f"{verdict.data.get('outcome')}{took}. {_sentence(verdict)}"


def _sentence(verdict: Record) -> str:
    """What decided a failure; of a success the comparison, and how many others agree."""
    first, *others = verdict.data.get("parts") or [{"message": verdict.message}]
    if verdict.data.get("outcome") != "Successful" or not others:
        return verdict.message
    return f"{first['message']}; {', '.join(part['check'] for part in others)} as they should be"


def _started(course: Course) -> Record | None:
    shift: Record | None = course.first(Kind.Shift, "production")
    return shift


def _kind(shift: Record) -> str:
    return "trial" if shift.data.get("weight") == WHOLE else "canary"
