"""A whole gate: every check along its samples, combined moment by moment; the first "no" stays.

Pure: no clock, no client. Looking more often never changes what is said, because each moment is judged with
what was known then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np

from tidegate.domain.gate import dispersion as phi_of
from tidegate.domain.gate import ratio, threshold
from tidegate.domain.gate.evalues import Counts, FloatArray, counts
from tidegate.domain.gate.limits import REFUTED
from tidegate.domain.gate.sentences import seconds
from tidegate.domain.gate.timeline import Timeline, Window, first, in_window, moment_of, too_many_gaps, unseen
from tidegate.domain.gate.verdict import Outcome, Sample, Verdict
from tidegate.spec import Check, Gate, Ratio, Threshold

RULES = 1
"""Raised whenever the same samples may lead to another verdict."""
_CRITICAL_WEIGHT = 4.0
"""Share of α a critical ratio check gets, against 1 for one that is only reported."""
_SEVERITY = (Outcome.Running, Outcome.Inconclusive, Outcome.Error)
"""From mildest to worst, where neither all passed nor one failed."""


def evaluate(
    gate: Gate,
    samples: Mapping[str, Sequence[Sample]],
    *,
    started: float,
    now: float,
    dispersion: Mapping[str, float] | None = None,
    queries: Mapping[str, Sequence[str]] | None = None,
) -> Verdict:
    """What the gate says at `now` (seconds since the epoch) about a canary that started at `started`.

    `samples` are the intervals of each check by its name; those outside `started` … `now` are ignored.
    `dispersion` is φ per ratio check where a history measured it; without it φ is assumed and the verdict
    says so. `queries` are only recorded.

    Failed: a critical check failed. Successful: all critical checks passed in time, none has failed since,
    and their newest sample is evidence. Else the worst of Error, Inconclusive, Running. A gate without a
    critical check treats all as critical. `ValueError` for samples of no check, two samples of one moment
    and two checks of one name.
    """
    if len({check.name for check in gate.checks}) < len(gate.checks):
        raise ValueError("two checks of one name")
    if unknown := set(samples) - {check.name for check in gate.checks}:
        raise ValueError(f"samples of no check: {', '.join(sorted(unknown))}")
    window = Window(
        started=float(started),
        now=float(now),
        every=gate.every.total_seconds(),
        min_bake=gate.min_bake.total_seconds(),
        max_duration=gate.max_duration.total_seconds(),
    )
    alphas = shared_alpha(gate.checks)
    lines = []
    for check in gate.checks:
        within = in_window(samples.get(check.name, ()), window)
        given = (dispersion or {}).get(check.name)
        blank = _blank(check, within, list((queries or {}).get(check.name, ())))
        match check:
            case Ratio():
                lines.append(_ratio_timeline(check, within, window, blank, alphas[check.name], given))
            case Threshold():
                lines.append(threshold.timeline(check, within, window, blank))
    moment, outcome = _decision(lines, window)
    parts = tuple(line.verdict(moment, window) for line in lines)
    return Verdict(
        outcome=outcome,
        message=_message(outcome, parts, lines),
        parts=parts,
        parameters={**_parameters(gate, window, dispersion), "at": moment},
    )


def without_control(gate: Gate) -> Gate | None:
    """The gate of a first release, which has nothing to compare with: its threshold checks, on all pods of the stage.

    None when the gate has no such check.
    """
    checks = tuple(
        c.model_copy(update={"arm": "stage"}) if c.arm == "canary" else c
        for c in gate.checks
        if isinstance(c, Threshold)
    )
    return gate.model_copy(update={"checks": checks}) if checks else None


def shared_alpha(checks: Sequence[Check]) -> dict[str, float]:
    """Each ratio check's share of its α: together they keep the promised rate of needless rollbacks."""
    weights = {c.name: _CRITICAL_WEIGHT if c.critical else 1.0 for c in checks if isinstance(c, Ratio)}
    total = sum(weights.values())
    return {c.name: c.alpha * weights[c.name] / total for c in checks if isinstance(c, Ratio)}


def _blank(check: Check, samples: tuple[Sample, ...], queries: list[str]) -> Verdict:
    parameters: dict[str, object] = {"check": check.model_dump(mode="json"), "queries": queries}
    return Verdict(Outcome.Running, "", samples=samples, check=check.name, parameters=parameters)


def _decision(lines: Sequence[Timeline], window: Window) -> tuple[float, Outcome]:
    """The moment that decides, and what it says.

    The first failure, error or end of time stays. A pass does not: the canary is watched on while it grows, and
    the test covers any number of looks, so a pass counts only until something worse is seen.
    """
    moments = {sample.at for line in lines for sample in line.samples}
    moments |= {m for m in (window.started + window.max_duration,) if m <= window.now}
    for moment in sorted(moments | {window.now}):
        outcome = _combined(lines, moment, window)
        open_ended = outcome is Outcome.Inconclusive and _all_passed(lines, moment, window)
        if outcome not in (Outcome.Running, Outcome.Successful) and not open_ended:
            return moment, outcome
    outcome = _combined(lines, window.now, window)
    return (max(moments) if outcome is Outcome.Successful else window.now), outcome


def _critical(lines: Sequence[Timeline]) -> Sequence[Timeline]:
    return [line for line in lines if line.check.critical] or lines


def _all_passed(lines: Sequence[Timeline], moment: float, window: Window) -> bool:
    return all(line.outcome(moment, window) is Outcome.Successful for line in _critical(lines))


def _combined(lines: Sequence[Timeline], moment: float, window: Window) -> Outcome:
    critical = _critical(lines)
    said = [line.outcome(moment, window) for line in critical]
    if Outcome.Failed in said:
        return Outcome.Failed
    if not _all_passed(lines, moment, window):
        return max((o for o in said if o is not Outcome.Successful), key=_SEVERITY.index)
    if all(line.is_complete(moment) for line in critical):
        return Outcome.Successful
    return Outcome.Inconclusive if window.expired(moment) else Outcome.Running


def _message(outcome: Outcome, parts: Sequence[Verdict], lines: Sequence[Timeline]) -> str:
    """The sentences of the checks that made the outcome; all of them when the gate is still open."""
    critical = {line.check.name for line in _critical(lines)}
    decisive = [p for p in parts if p.check in critical and p.outcome is outcome]
    return "; ".join(p.message for p in (decisive or parts))


def _parameters(gate: Gate, window: Window, dispersion: Mapping[str, float] | None) -> dict[str, Any]:
    """What `recompute` needs besides the samples; settings of the metrics source stay out: secrets."""
    written = gate.model_dump(mode="json")
    written["metrics"] = {"kind": gate.metrics.kind}
    return {
        "rule": "gate",
        "rules": RULES,
        "code": _code(),
        "gate": written,
        "started": window.started,
        "now": window.now,
        "dispersion": None if dispersion is None else {name: float(p) for name, p in dispersion.items()},
    }


@lru_cache(maxsize=1)
def _code() -> str:
    return version("tidegate")


def _ratio_timeline(
    check: Ratio,
    samples: tuple[Sample, ...],
    window: Window,
    blank: Verdict,
    alpha: float,
    given: float | None,
) -> Timeline:
    """A ratio check along its samples: the sequential test over the prefixes of its checks."""
    arms = [(s.canary, s.control) if s.gap is None else (None, None) for s in samples]
    faults = [_impossible(canary, control) for canary, control in arms]
    usable = [
        (a, b) if a is not None and b is not None and fault is None else ((0.0, 0.0), (0.0, 0.0))
        for (a, b), fault in zip(arms, faults, strict=True)
    ]
    data = counts([a for a, _ in usable], [b for _, b in usable])
    phi = _phi(data, window.every, given)
    run = ratio.course(check, data, phi, alpha)
    broken = [fault or gaps for fault, gaps in zip(faults, too_many_gaps(samples), strict=True)]
    origin = "given" if given is not None else f"assumed: no history, τ = {phi_of.ASSUMED_TAU:g}"
    parameters = {**blank.parameters, "alpha": alpha, "dispersion": origin}

    def at_sample(index: int | None, outcome: Outcome) -> Verdict:
        start = replace(blank, outcome=outcome, parameters={**parameters, "at": moment_of(samples, index)})
        if index is None:
            return replace(start, message=f"{check.name}: no check yet")
        after = seconds(samples[index].at - window.started)
        found = ratio.described(start, check, data, run, index, outcome, after=after, alpha=alpha)
        if outcome is Outcome.Error:
            return replace(found, message=f"{check.name}: {broken[index]}")
        if found.ratio is None:
            found = replace(
                found, message=f"{check.name}: {_silent_arms(samples[: index + 1])} after {after}"
            )
        elif given is None:
            found = replace(found, message=f"{found.message}, φ assumed")
        said = _waiting(found, outcome, window) + unseen(samples[index], outcome)
        return replace(found, message=f"{found.message}{said}")

    return Timeline(
        check=check,
        samples=samples,
        failing=first(run.fails.tolist()),
        passing=first(f and window.baked(s.at) for f, s in zip(run.passes.tolist(), samples, strict=True)),
        breaking=first(reason is not None for reason in broken),
        complete=data.informative.tolist(),
        at_sample=at_sample,
    )


def _phi(data: Counts, every: float, given: float | None) -> FloatArray:
    if given is not None:
        return np.full(len(data.informative), max(1.0, float(given)))
    events = np.cumsum(data.bad_canary + data.bad_control)
    return phi_of.assumed(events, np.cumsum(data.informative, dtype=np.float64) * every)


def _impossible(canary: tuple[float, float] | None, control: tuple[float, float] | None) -> str | None:
    for name, arm in (("canary", canary), ("control", control)):
        if arm is not None and (reason := ratio.impossible(arm)):
            return f"{name}: {reason}"
    return None


def _silent_arms(samples: Sequence[Sample]) -> str:
    """Which arm has had no events so far: the usual sign of a selector that matches nothing."""
    seen = [s for s in samples if s.gap is None]
    canary = any(s.canary and s.canary[1] > 0 for s in seen)
    control = any(s.control and s.control[1] > 0 for s in seen)
    if canary and control:
        return "no check with events in both arms"
    missing = "the stable pods" if canary else "the canary" if control else "either arm"
    return f"no events counted in {missing}"


def _waiting(found: Verdict, outcome: Outcome, window: Window) -> str:
    """Why a check with enough evidence to pass still waits."""
    if outcome is not Outcome.Running or found.log_e_pass is None or found.log_e_pass < np.log(REFUTED):
        return ""
    return f"; bakes until {seconds(window.min_bake)}"
