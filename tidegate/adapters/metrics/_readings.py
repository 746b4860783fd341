"""Replies of Prometheus as samples: what is evidence, what is a gap, and what is no information yet.

Pure. The rules are those of `docs/gate.md`, "What counts as evidence": all events there and bad ones absent is 0
bad events; no events to count is no information; anything stale, non-finite or ambiguous is a gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tidegate.adapters.metrics._queries import ARMS, PART
from tidegate.adapters.metrics._replies import Series
from tidegate.domain.gate import Sample, Threshold
from tidegate.domain.gate.threshold import limit

_CLOCK = 1.0
"""Seconds a sample may lie after the moment it is asked for: rounding, nothing else."""

Points = Mapping[int, float]


class _Gap(Exception):
    """Why a check is no evidence."""


def counted(series: Sequence[Series], ends: range, oldest: float) -> list[Sample]:
    """The counts of both arms at each of `ends`; samples older than `oldest` seconds are stale."""
    parts = {one.labels.get(PART, ""): one.points for one in series}
    if len(parts) < len(series):
        return [Sample(float(end), gap="several series for one number") for end in ends]
    known: set[str] = set()
    samples = []
    for end in ends:
        try:
            canary, control = (_arm(arm, parts, end, oldest, known) for arm in ARMS)
            samples.append(Sample(float(end), canary, control))
        except _Gap as gap:
            samples.append(Sample(float(end), gap=str(gap)))
    return samples


def _arm(
    arm: str, parts: Mapping[str, Points], end: int, oldest: float, known: set[str]
) -> tuple[float, float] | None:
    """`(bad, total)` of one arm, None when it has nothing to count yet; `_Gap` when it cannot be trusted."""
    seen = parts.get(f"{arm}_seen", {}).get(end)
    if seen is None:
        if arm in known:
            raise _Gap(f"{arm}: its counters were there before and are gone")
        return None
    known.add(arm)
    if stale := _stale(end - seen, oldest):
        raise _Gap(f"{arm}: {stale}")
    total = parts.get(f"{arm}_total", {}).get(end)
    if total is None:
        return None
    bad = parts.get(f"{arm}_bad", {}).get(end, 0.0)
    for name, value in (("total", total), ("bad", bad)):
        if not math.isfinite(value):
            raise _Gap(f"{arm}: {name} is {value}")
    return bad, total


def _stale(age: float, oldest: float) -> str | None:
    """What is wrong with the age of a newest sample; NaN compares false with everything and is caught too."""
    if -_CLOCK <= age <= oldest:
        return None
    if not math.isfinite(age) or age < 0:
        return "newest sample has no time"
    return f"newest sample is {age:.0f} s old, stale after {oldest:g} s"


def measured(
    check: Threshold, values: Sequence[Series], seen: Sequence[Series], ends: range, oldest: float
) -> list[Sample]:
    """The check's number at each of `ends`, with the bound it is compared with."""
    samples = []
    for end in ends:
        try:
            _fresh([one.points[end] for one in seen if end in one.points], end, oldest)
            value = _only([one.points[end] for one in values if end in one.points])
            samples.append(Sample(float(end), canary=(value, limit(check, value))))
        except _Gap as gap:
            samples.append(Sample(float(end), gap=str(gap)))
    return samples


def _fresh(seen: Sequence[float], end: int, oldest: float) -> None:
    """`_Gap` unless something the query looks at is there, and nothing of it is stale."""
    if not seen:
        raise _Gap("none of the query's selectors finds a sample")
    if stale := next((s for s in (_stale(end - one, oldest) for one in seen) if s), None):
        raise _Gap(stale)


def _only(values: Sequence[float]) -> float:
    if not values:
        raise _Gap("the query gives no value")
    if len(values) > 1:
        raise _Gap(f"the query gives {len(values)} series for one number; aggregate it")
    if not math.isfinite(values[0]):
        raise _Gap(f"the value is {values[0]}")
    return values[0]
