"""`kind: ratio`: is the canary's rate of bad events higher than the control's?

The sequential test of `docs/gate.md`: evidence against "no worse" fails the canary, evidence against
"at least `max_ratio` times worse" passes it. Any number of looks is covered (Ville's inequality), so the
verdict is that of the first prefix of the checks that decides, however often somebody looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tidegate.domain.gate.evalues import (
    FAIL_GRID,
    FAIL_WEIGHTS,
    PASS_GRID,
    PASS_WEIGHTS,
    Arm,
    BoolArray,
    Counts,
    FloatArray,
    counts,
    interval,
    log_e_series,
)
from tidegate.domain.gate.limits import DEFAULT_FLOOR, REFUTED
from tidegate.domain.gate.sentences import sentence
from tidegate.domain.gate.verdict import Outcome, Sample, Verdict
from tidegate.spec import Ratio

TOLERATED_EXCESS = 1.05
"""`increase` extrapolates each counter on its own: bad may exceed total a little; more is a wrong query."""
_LARGEST = 1e15
"""Beyond this a float no longer counts."""


def impossible(arm: tuple[float, float]) -> str | None:
    """Why `(bad, total)` cannot be a count of events, or None."""
    bad, total = arm
    if not (math.isfinite(bad) and math.isfinite(total)):
        return f"{bad:g} bad of {total:g} is not a count"
    if max(abs(bad), abs(total)) > _LARGEST:
        return f"{bad:g} bad of {total:g} is beyond counting"
    if bad < 0 or total < 0:
        return f"{bad:g} bad of {total:g} is negative"
    if bad > TOLERATED_EXCESS * total:
        return f"{bad:g} bad of {total:g}: more bad events than events; is `bad` part of `total`?"
    return None


@dataclass(frozen=True, slots=True)
class Course:
    """The test after every check: what it says there, and the numbers it says it from."""

    log_e_fail: FloatArray
    log_e_pass: FloatArray
    fails: BoolArray
    """The canary is worse, materially so, and above the floor."""
    passes: BoolArray
    """The canary is less than `max_ratio` times worse, and this check itself is evidence."""
    ratio: FloatArray
    """NaN while no check is evidence."""
    phi: FloatArray


def course(check: Ratio, data: Counts, phi: FloatArray, alpha: float) -> Course:
    """The test over all prefixes of the checks."""
    x_c, n_c = np.cumsum(data.bad_canary), np.cumsum(data.total_canary)
    x_b, n_b = np.cumsum(data.bad_control), np.cumsum(data.total_control)
    seen = (n_c > 0) & (n_b > 0)
    n_c, n_b = np.where(seen, n_c, 1.0), np.where(seen, n_b, 1.0)
    ratio = np.where(seen, ((x_c + 0.5) / n_c) / ((x_b + 0.5) / n_b), np.nan)
    fail = log_e_series(data, 1.0, FAIL_GRID, FAIL_WEIGHTS, phi)
    passed = log_e_series(data, check.max_ratio, PASS_GRID, PASS_WEIGHTS, phi)
    floor = DEFAULT_FLOOR if check.floor is None else check.floor
    material = seen & (ratio >= check.min_ratio) & (x_c / n_c > floor)
    return Course(
        log_e_fail=fail,
        log_e_pass=passed,
        fails=(fail >= math.log(1 / alpha)) & material,
        passes=(passed >= math.log(REFUTED)) & data.informative,
        ratio=ratio,
        phi=phi,
    )


def judge(check: Ratio, canary: Arm, control: Arm, *, dispersion: float = 1.0) -> Verdict:
    """The sequential rate-ratio test, without a clock: `min_bake` and `max_duration` belong to `evaluate`.

    `canary` and `control` hold one `(bad, total)` per check, oldest first. The verdict is that of the first
    check that decides: `Failed` or `Successful`, else `Running`; its numbers are those of that check, or of
    the last. Counts that cannot be (NaN, negative, more bad than total by over 5 %) are an `Error`,
    wherever they stand. `ValueError` for arms of different length and for a `dispersion` that is not a
    finite number of at least 1.
    """
    if len(canary) != len(control):
        raise ValueError(f"arms of different length: canary has {len(canary)} checks, control {len(control)}")
    if not (math.isfinite(dispersion) and dispersion >= 1):
        raise ValueError(f"dispersion is {dispersion}; it is a finite number of at least 1")
    samples = tuple(
        Sample(at=float(i), canary=_pair(a), control=_pair(b))
        for i, (a, b) in enumerate(zip(canary, control, strict=True), 1)
    )
    parameters = {"rule": "ratio", "check": check.model_dump(mode="json"), "dispersion": float(dispersion)}
    blank = Verdict(
        Outcome.Running,
        f"{check.name}: no checks yet",
        phi=float(dispersion),
        samples=samples,
        check=check.name,
        parameters=parameters,
    )
    for number, (a, b) in enumerate(zip(canary, control, strict=True), 1):
        for arm, pair in (("canary", a), ("control", b)):
            if reason := impossible(pair):
                message = f"{check.name}: {arm}, check {number}: {reason}"
                return replace(blank, outcome=Outcome.Error, message=message)
    if not samples:
        return blank
    data = counts(canary, control)
    run = course(check, data, np.full(len(samples), float(dispersion)), check.alpha)
    at, outcome = _first_decision(run)
    blank = replace(blank, parameters={**parameters, "at": samples[at].at})
    return described(blank, check, data, run, at, outcome, after=_checks(at + 1), alpha=check.alpha)


def _pair(arm: tuple[float, float]) -> tuple[float, float]:
    bad, total = arm
    return float(bad), float(total)


def _checks(number: int) -> str:
    return f"{number} check" if number == 1 else f"{number} checks"


def _first_decision(run: Course) -> tuple[int, Outcome]:
    """Index of the first check that decides, and what it says; the last one and `Running` when none does."""
    decided = np.flatnonzero(run.fails | run.passes)
    if not len(decided):
        return len(run.fails) - 1, Outcome.Running
    at = int(decided[0])
    return at, Outcome.Failed if run.fails[at] else Outcome.Successful


def described(
    blank: Verdict,
    check: Ratio,
    data: Counts,
    run: Course,
    at: int,
    outcome: Outcome,
    *,
    after: str,
    alpha: float,
) -> Verdict:
    """`blank` with the numbers of the test after check `at` (from 0), and the sentence that says them."""
    prefix = data.first(at + 1)
    phi = float(run.phi[at])
    if not prefix.informative.any():
        message = f"{check.name}: no check with events in both arms after {after}"
        return replace(blank, outcome=outcome, message=message, phi=_recorded(phi))
    low, high = interval(prefix, phi)
    verdict = replace(
        blank,
        outcome=outcome,
        log_e_fail=_recorded(run.log_e_fail[at]),
        log_e_pass=_recorded(run.log_e_pass[at]),
        ratio=_recorded(run.ratio[at]),
        interval=(_recorded(low, 6), _recorded(high, 6)),
        phi=_recorded(phi),
    )
    return replace(verdict, message=sentence(verdict, check, after=after, alpha=alpha))


def _recorded(value: float, digits: int = 9) -> float:
    """Rounded to what all platforms' arithmetic agrees on: a recomputed verdict has the same bytes."""
    return float(f"{value:.{digits}g}")
