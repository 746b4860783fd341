"""The sentences users read: both numbers, the name of the limit, how sure, after how long."""

from __future__ import annotations

import math

from tidegate.domain.gate.limits import DEFAULT_FLOOR, REFUTED
from tidegate.domain.gate.verdict import Outcome, Verdict
from tidegate.spec import Ratio


def sentence(verdict: Verdict, check: Ratio, *, after: str, alpha: float) -> str:
    """What a ratio check found: `errors: ratio 3.1 (1.9–5.2) ≥ 1.25 after 4 min, e-value 212`."""
    assert verdict.ratio is not None
    assert verdict.log_e_fail is not None
    assert verdict.log_e_pass is not None
    start = f"{check.name}: ratio {number(verdict.ratio)}{_between(verdict.interval)}"
    fail, passed = e_value(verdict.log_e_fail), e_value(verdict.log_e_pass)
    match verdict.outcome:
        case Outcome.Failed:
            return f"{start} ≥ {check.min_ratio:g} after {after}, e-value {fail}"
        case Outcome.Successful:
            return f"{start} < {check.max_ratio:g} after {after}, e-value {passed}"
        case _:
            bounds = f"e-value {fail} of {1 / alpha:.3g} to fail, {passed} of {REFUTED:g} to pass"
            return f"{start} after {after}, undecided: {bounds}{_immaterial(verdict, check, alpha)}"


def _immaterial(verdict: Verdict, check: Ratio, alpha: float) -> str:
    """Why a canary that is surely worse is not failed for it."""
    if verdict.log_e_fail is None or verdict.ratio is None or verdict.log_e_fail < math.log(1 / alpha):
        return ""
    if verdict.ratio < check.min_ratio:
        return f"; worse, but by less than {check.min_ratio:g}"
    floor = DEFAULT_FLOOR if check.floor is None else check.floor
    return f"; worse, but its share of bad events is not above {floor:g}"


def _between(interval: tuple[float, float] | None) -> str:
    if interval is None or interval == (0.0, math.inf):
        return ""
    low, high = interval
    if math.isinf(high):
        return f" (> {number(low)})"
    return f" (< {number(high)})" if low == 0 else f" ({number(low)}–{number(high)})"


def number(value: float) -> str:
    """A ratio to as many digits as anybody reads: 0.96, 3.1, 27."""
    digits = 2 if value < 1.995 else 1 if value < 9.95 else 0
    return f"{value:.{digits}f}" if value < 1e6 else f"{value:.1e}"


def e_value(log_e: float) -> str:
    """An e-value from its natural log: 0.021, 4.2, 212, 10^27."""
    if log_e > math.log(1e6):
        return f"10^{math.floor(log_e / math.log(10))}"
    value = math.exp(log_e)
    return f"{value:.0f}" if value >= 9.5 else f"{value:.2g}" if value >= 0.001 else "< 0.001"


def seconds(value: float) -> str:
    """A time as people say it: 45 s, 4 min, 90 min, 3 h."""
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
