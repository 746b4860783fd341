"""`kind: threshold`: one number per check against a bound; a value equal to the bound passes.

Counted like an Argo AnalysisRun: more failing measurements than `failures` fail the check. It passes once the
gate has baked, if there is at least one good measurement and the newest one is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tidegate.domain.gate.sentences import seconds
from tidegate.domain.gate.timeline import Timeline, Window, first, moment_of, too_many_gaps, unseen
from tidegate.domain.gate.verdict import Outcome, Sample, Verdict
from tidegate.spec import Threshold


def compared(check: Threshold, value: float) -> str:
    """The value beside the bound it breaks, or else the one that it keeps: `0.62 > 0.5`, `0.98 ≥ 0.95`."""
    if check.min is not None and (value < check.min or check.max is None):
        return f"{value:.4g} {'<' if value < check.min else '≥'} {check.min:.4g}"
    if check.max is None:
        return f"{value:.4g}"
    return f"{value:.4g} {'>' if value > check.max else '≤'} {check.max:.4g}"


def limit(check: Threshold, value: float) -> float:
    """The bound a value is compared with, for its sample; infinity when the check has none."""
    if check.min is not None and (value < check.min or check.max is None):
        return check.min
    return math.inf if check.max is None else check.max


def good(check: Threshold, value: float) -> bool:
    """Is the value within the bounds? NaN never is, and nothing is where there is no bound."""
    if check.max is None and check.min is None:
        return False
    above = check.min is None or value >= check.min
    return above and (check.max is None or value <= check.max) and math.isfinite(value)


def timeline(check: Threshold, samples: tuple[Sample, ...], window: Window, blank: Verdict) -> Timeline:
    """The check along its samples; a sample without a finite value is a gap."""
    samples = tuple(_honest(sample) for sample in samples)
    values = [None if s.gap is not None or s.canary is None else s.canary[0] for s in samples]
    failed, passed = [], []
    bad, ok = 0, 0
    for sample, value in zip(samples, values, strict=True):
        if value is not None:
            bad, ok = bad + (not good(check, value)), ok + good(check, value)
        failed.append(bad > check.failures)
        passed.append(window.baked(sample.at) and value is not None and ok > 0 and bad <= check.failures)
    broken = too_many_gaps(samples)

    def at_sample(index: int | None, outcome: Outcome) -> Verdict:
        seen = 0 if index is None else index + 1
        after = seconds(samples[seen - 1].at - window.started) if seen else "no time"
        said = broken[seen - 1] if seen and outcome is Outcome.Error else None
        text = said or _finding(check, [v for v in values[:seen] if v is not None], after, outcome, window)
        text += unseen(samples[seen - 1], outcome) if seen else ""
        parameters = {**blank.parameters, "at": moment_of(samples, index)}
        message = f"{check.name}: {text}"
        return replace(blank, outcome=outcome, message=message, samples=samples, parameters=parameters)

    return Timeline(
        check=check,
        samples=samples,
        failing=first(failed),
        passing=first(passed),
        breaking=first(reason is not None for reason in broken),
        complete=[value is not None for value in values],
        at_sample=at_sample,
    )


def _honest(sample: Sample) -> Sample:
    """The sample, or a gap in its place when its value is not a number."""
    if sample.gap is None and sample.canary is not None and not math.isfinite(sample.canary[0]):
        return replace(sample, canary=None, gap=f"the value is {sample.canary[0]}")
    return sample


def _finding(check: Threshold, values: Sequence[float], after: str, outcome: Outcome, window: Window) -> str:
    """`0.62 > 0.5 after 4 min, 1 of 4 measurements failing, 0 tolerated`."""
    if not values:
        return "no measurement yet"
    bad = [value for value in values if not good(check, value)]
    shown = bad[-1] if outcome is Outcome.Failed else values[-1]
    tally = f"{len(bad)} of {len(values)} measurements out of bounds, {check.failures} tolerated"
    waiting = f"; bakes until {seconds(window.min_bake)}" if outcome is Outcome.Running else ""
    return f"{compared(check, shown)} after {after}, {tally}{waiting}"
