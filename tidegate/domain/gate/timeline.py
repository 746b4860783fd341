"""One check of a gate along its samples: at each of them, has it failed, passed, or run out of evidence?"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate.domain.gate.verdict import Outcome, Sample, Verdict

GAPS_IN_A_ROW = 5
"""So many checks without evidence in a row are an `Error`."""


class Named(Protocol):
    """What every kind of check has."""

    @property
    def name(self) -> str: ...

    @property
    def critical(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Window:
    """When the gate started, how long it bakes and may last, and when we look; seconds (since the epoch)."""

    started: float
    now: float
    every: float
    min_bake: float
    max_duration: float

    def baked(self, at: float) -> bool:
        """Is the canary old enough to pass at this moment?"""
        return at - self.started >= self.min_bake

    def expired(self, at: float) -> bool:
        """Has the gate had all its time at this moment?"""
        return at - self.started >= self.max_duration


@dataclass(frozen=True, slots=True)
class Timeline:
    """What one check says along its samples."""

    check: Named
    samples: tuple[Sample, ...]
    failing: int | None
    """Index of the first sample at which the check fails."""
    passing: int | None
    """… at which it would open the gate, bake time included."""
    breaking: int | None
    """… at which it is in error: impossible counts, too many gaps in a row."""
    complete: Sequence[bool]
    """For each sample: is it evidence?"""
    at_sample: Callable[[int | None, Outcome], Verdict]
    """The verdict with the numbers of that sample (None: there is none), saying that outcome."""

    def outcome(self, moment: float, window: Window) -> Outcome:
        """What the check says with all samples up to a moment; a failure or error stays, the first wins."""
        fail, error, passed = (self._time(i) for i in (self.failing, self.breaking, self.passing))
        if fail <= moment and fail <= error:
            return Outcome.Failed
        if error <= moment:
            return Outcome.Error
        if passed <= min(moment, window.started + window.max_duration):
            return Outcome.Successful
        return Outcome.Inconclusive if window.expired(moment) else Outcome.Running

    def is_complete(self, moment: float) -> bool:
        """Is the newest sample up to a moment evidence?"""
        last = self._last(moment)
        return last is not None and self.complete[last]

    def verdict(self, moment: float, window: Window) -> Verdict:
        """The check's own verdict with all samples up to a moment."""
        outcome = self.outcome(moment, window)
        match outcome:
            case Outcome.Failed:
                index = self.failing
            case Outcome.Error:
                index = self.breaking
            case Outcome.Successful:
                index = self.passing
            case _:
                index = self._last(moment)
        return self.at_sample(index, outcome)

    def _time(self, index: int | None) -> float:
        return math.inf if index is None else self.samples[index].at

    def _last(self, moment: float) -> int | None:
        count = bisect_right(self.samples, moment, key=lambda sample: sample.at)
        return count - 1 if count else None


def first(flags: Iterable[bool]) -> int | None:
    """Index of the first true one."""
    return next((i for i, flag in enumerate(flags) if flag), None)


def moment_of(samples: Sequence[Sample], index: int | None) -> float | None:
    """When the sample was taken that a verdict's numbers are from; None when there is none."""
    return None if index is None else samples[index].at


def unseen(newest: Sample, outcome: Outcome) -> str:
    """Why nothing can be seen at the moment, for a check that is still open."""
    if newest.gap is None or outcome not in (Outcome.Running, Outcome.Inconclusive):
        return ""
    return f"; no evidence now: {newest.gap}"


def too_many_gaps(samples: Sequence[Sample]) -> list[str | None]:
    """At each sample that ends a run of `GAPS_IN_A_ROW` or more gaps: the sentence that says so."""
    found: list[str | None] = []
    run = 0
    for sample in samples:
        run = run + 1 if sample.gap is not None else 0
        text = f"no evidence in {run} checks in a row: {sample.gap}" if run >= GAPS_IN_A_ROW else None
        found.append(text)
    return found


def in_window(samples: Sequence[Sample], window: Window) -> tuple[Sample, ...]:
    """The samples after the start and up to now, oldest first; `ValueError` for two of the same moment."""
    ordered = sorted((_as_floats(sample) for sample in samples), key=lambda sample: sample.at)
    if len({sample.at for sample in ordered}) < len(ordered):
        raise ValueError("two samples of one check end at the same moment; evidence must not count twice")
    return tuple(s for s in ordered if window.started < s.at <= window.now)


def _as_floats(sample: Sample) -> Sample:
    """Counts may come as integers; a record holds floats, so that reading it back changes no byte."""
    canary, control = (
        None if arm is None else (float(arm[0]), float(arm[1])) for arm in (sample.canary, sample.control)
    )
    return Sample(float(sample.at), canary, control, sample.gap)
