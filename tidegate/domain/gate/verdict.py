"""What a gate answers: an outcome, the sentence users read, and the numbers it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What a gate can say. Only `Successful` opens it."""

    Successful = "Successful"
    Failed = "Failed"
    Inconclusive = "Inconclusive"
    Error = "Error"
    Running = "Running"


@dataclass(frozen=True, slots=True)
class Sample:
    """One interval of one check: counts of both arms, or a gap that says why there are none.

    `canary` and `control` are `(bad, total)` for a ratio, `(value, limit)` for a threshold (control unused).
    An arm that is None without a gap has not been seen yet: no information, which is not a fault.
    """

    at: float
    """End of the interval, seconds since the epoch."""
    canary: tuple[float, float] | None = None
    control: tuple[float, float] | None = None
    gap: str | None = None
    """Why this interval is no evidence (stale, NaN, warnings, …); None when it is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says, how sure it is, and everything needed to say it again."""

    outcome: Outcome
    message: str
    log_e_fail: float | None = None
    """Natural log of the e-value against "the canary is no worse"."""
    log_e_pass: float | None = None
    """Natural log of the e-value against "the canary is at least max_ratio times worse"."""
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    """Anytime-valid 95 % interval of the ratio; an end that never closes is 0 or infinity."""
    phi: float = 1.0
    samples: tuple[Sample, ...] = ()
    check: str = ""
    """Name of the check; empty for the verdict of a whole gate."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """The check as written plus queries, window and calibration: with `samples` enough to recompute."""
    parts: tuple[Verdict, ...] = ()
    """For a whole gate: the verdict of each check."""
