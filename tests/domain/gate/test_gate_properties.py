"""What must hold for every input: nothing passes without evidence, and evidence points where it should."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tidegate.domain.gate import Outcome, Ratio, Sample, Threshold, evaluate, recompute, to_data
from tidegate.domain.gate.evalues import counts, interval
from tidegate.domain.gate.ratio import judge
from tidegate.spec import Gate, Section

CHECK = Ratio(name="errors", bad="bad_total", total="all_total")
GATE = Gate(
    metrics=Section(kind="prometheus"),
    checks=(CHECK, Threshold(name="latency", query="latency_seconds", max=0.5)),
)
START = 1_000_000.0

pairs = st.integers(0, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
both_arms = st.lists(st.tuples(pairs, pairs), max_size=30)
anything = st.floats(allow_nan=True, allow_infinity=True)
wild_pairs = st.one_of(st.none(), st.tuples(anything, anything), pairs)


def split(checks):
    return [canary for canary, _ in checks], [control for _, control in checks]


@st.composite
def wild_samples(draw):
    """Samples as a broken source might give them: any gaps, any values, any order."""
    minutes = draw(st.lists(st.integers(-5, 70), unique=True, max_size=40))
    return [
        Sample(START + 60 * m, draw(wild_pairs), draw(wild_pairs), draw(st.sampled_from([None, None, "gap"])))
        for m in minutes
    ]


def newest(samples, decided):
    """The last moment of which a check's source says anything: what passes needs evidence from there."""
    return max(s.at for s in samples if START < s.at <= decided)


@settings(deadline=None, max_examples=300)
@given(errors=wild_samples(), latency=wild_samples(), minute=st.integers(0, 90))
def test_no_gate_passes_without_evidence(errors, latency, minute):
    now = START + 60 * minute
    verdict = evaluate(GATE, {"errors": errors, "latency": latency}, started=START, now=now)
    again = recompute(json.loads(json.dumps(to_data(verdict), allow_nan=False)))
    assert json.dumps(to_data(again), sort_keys=True) == json.dumps(to_data(verdict), sort_keys=True)
    if verdict.outcome is not Outcome.Successful:
        return
    decided = verdict.parameters["at"]
    assert decided >= START + 600
    counted = [s for s in errors if START < s.at <= decided and s.gap is None and s.canary and s.control]
    useful = [s for s in counted if s.canary[1] > 0 and s.control[1] > 0]
    assert sum(s.canary[0] + s.control[0] for s in useful) > 0
    assert newest(errors, decided) in {s.at for s in useful}
    values = [s for s in latency if START < s.at <= decided and s.gap is None and s.canary]
    assert newest(latency, decided) in {s.at for s in values}
    assert any(s.canary[0] <= 0.5 for s in values)


@settings(deadline=None)
@given(checks=both_arms)
def test_an_arm_that_saw_nothing_decides_nothing(checks):
    canary, control = split(checks)
    empty = [(0, 0)] * len(checks)
    assert judge(CHECK, canary, empty).outcome is Outcome.Running
    assert judge(CHECK, empty, control).outcome is Outcome.Running


@settings(deadline=None)
@given(checks=both_arms)
def test_no_bad_event_in_either_arm_decides_nothing(checks):
    canary, control = split(checks)
    silent = [[(0, total) for _, total in arm] for arm in (canary, control)]
    assert judge(CHECK, *silent).outcome is Outcome.Running


@settings(deadline=None)
@given(checks=both_arms)
def test_at_one_check_not_both_the_canary_and_its_mirror_fail(checks):
    """Evidence that one arm is worse is evidence against the other being so."""
    canary, control = split(checks)
    one, other = judge(CHECK, canary[-1:], control[-1:]), judge(CHECK, control[-1:], canary[-1:])
    assert not (one.outcome is Outcome.Failed and other.outcome is Outcome.Failed)


@settings(deadline=None)
@given(check=st.tuples(pairs, pairs), more=st.integers(1, 50))
def test_more_bad_events_in_the_canary_never_look_better(check, more):
    (bad, total), control = check
    assume(bad + more <= total)
    few, many = judge(CHECK, [(bad, total)], [control]), judge(CHECK, [(bad + more, total)], [control])
    if few.log_e_fail is None or many.log_e_fail is None:
        return
    assert many.log_e_pass <= few.log_e_pass + 1e-6
    assert many.ratio > few.ratio
    if few.outcome is Outcome.Failed:
        assert many.outcome is Outcome.Failed
    if many.outcome is Outcome.Successful:
        assert few.outcome is not Outcome.Failed


@settings(deadline=None)
@given(checks=both_arms, seed=st.integers(0, 2**32))
def test_the_evidence_after_all_checks_does_not_depend_on_their_order(checks, seed):
    shuffled = list(checks)
    random.Random(seed).shuffle(shuffled)
    found = [
        interval(counts(*split(each))) for each in (checks, shuffled) if any(a[1] and b[1] for a, b in each)
    ]
    if found:
        assert found[0] == pytest.approx(found[1], rel=1e-6)


@settings(deadline=None)
@given(checks=both_arms)
def test_the_verdict_is_that_of_the_first_prefix_that_decides(checks):
    canary, control = split(checks)
    whole = judge(CHECK, canary, control)
    for length in range(len(checks) + 1):
        prefix = judge(CHECK, canary[:length], control[:length])
        if prefix.outcome is not Outcome.Running:
            assert (whole.outcome, whole.message) == (prefix.outcome, prefix.message)
            return
    assert whole.outcome is Outcome.Running


@settings(deadline=None)
@given(check=st.tuples(pairs, pairs))
def test_the_interval_holds_the_estimate(check):
    (x, n), (y, m) = check
    assume(n > 0 and m > 0 and x > 0 and y > 0)
    low, high = interval(counts([(x, n)], [(y, m)]))
    assert low <= (x / n) / (y / m) * 1.2
    assert high >= (x / n) / (y / m) / 1.2
    assert not math.isnan(low + high)


def test_any_number_of_looks_keeps_the_promised_rate_of_needless_rollbacks():
    """Equal arms, a look after every check: at most α of the runs fail (here α = 5 %, 400 runs, 3 s.e.)."""
    seed = 20_240_611
    rng = random.Random(seed)
    check = CHECK.model_copy(update={"alpha": 0.05, "min_ratio": 1.001})
    failed = 0
    for _ in range(400):
        arms = [[(sum(rng.random() < 0.05 for _ in range(60)), 60) for _ in range(30)] for _ in range(2)]
        failed += judge(check, *arms).outcome is Outcome.Failed
    assert failed / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400), f"seed {seed}: {failed} of 400 failed"
