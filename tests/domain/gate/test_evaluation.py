"""A whole gate: clocks, gaps, several checks, and the record that is judged again."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from tidegate.domain.gate import (
    Outcome,
    Ratio,
    Sample,
    Threshold,
    evaluate,
    from_data,
    recompute,
    to_data,
    without_control,
)
from tidegate.domain.gate.evaluation import shared_alpha
from tidegate.spec import Gate, Section

START = 1_000_000.0
ERRORS = Ratio(name="errors", bad="bad_total", total="all_total")
LATENCY = Threshold(name="latency", query="latency_seconds", max=0.5)


def gate(*checks, **settings):
    return Gate(metrics=Section(kind="prometheus"), checks=checks or (ERRORS,), **settings)


def at(minute):
    return START + 60 * minute


def counted(canary=10, control=10, minutes=range(1, 61), total=1000):
    return [Sample(at(m), (canary, total), (control, total)) for m in minutes]


def valued(value, minutes=range(1, 61)):
    return [Sample(at(m), (value, 0.5)) for m in minutes]


def gaps(minutes, why="query failed"):
    return [Sample(at(m), gap=why) for m in minutes]


def judged(spec, samples, minute, **more):
    return evaluate(spec, samples, started=START, now=at(minute), **more)


def test_a_good_canary_passes_when_it_has_baked_and_not_before():
    samples = {"errors": counted()}
    early = judged(gate(), samples, 9)
    assert early.outcome is Outcome.Running
    assert early.message.endswith("; bakes until 10 min")
    passed = judged(gate(), samples, 10)
    assert passed.outcome is Outcome.Successful
    assert re.fullmatch(
        r"errors: ratio 1\.00 \(0\.\d+–2\.1\) < 2 after 10 min, e-value \d+, φ assumed", passed.message
    )


def test_a_worse_canary_fails_before_it_has_baked():
    verdict = judged(gate(), {"errors": counted(canary=60)}, 2)
    assert verdict.outcome is Outcome.Failed
    assert re.fullmatch(
        r"errors: ratio 5\.\d \(.*\) ≥ 1\.25 after \d+ (s|min), e-value \d+, φ assumed", verdict.message
    )


def test_looking_later_or_more_often_never_changes_a_failure():
    samples = {"errors": counted(canary=30)}
    verdicts = [judged(gate(), samples, minute) for minute in range(1, 60)]
    decided = [v for v in verdicts if v.outcome is not Outcome.Running]
    assert decided
    assert len({(v.outcome, v.message, v.parts[0].log_e_fail) for v in decided}) == 1


def test_a_pass_holds_only_as_long_as_nothing_worse_is_seen():
    """A canary grows after its first pass; what breaks at the higher weight must still stop it."""
    samples = {"errors": [*counted(minutes=range(1, 21)), *counted(canary=120, minutes=range(21, 30))]}
    assert judged(gate(), samples, 20).outcome is Outcome.Successful
    assert judged(gate(), samples, 29).outcome is Outcome.Failed
    blind = {"errors": [*counted(minutes=range(1, 21)), *gaps(range(21, 26))]}
    assert judged(gate(), blind, 21).outcome is Outcome.Running
    assert judged(gate(), blind, 25).outcome is Outcome.Error


def test_a_pass_in_time_holds_after_the_time_is_over():
    samples = {"errors": [*counted(minutes=range(1, 70)), *gaps([70]), *counted(minutes=[71])]}
    assert judged(gate(), samples, 69).outcome is Outcome.Successful
    assert judged(gate(), samples, 70).outcome is Outcome.Inconclusive
    assert judged(gate(), samples, 71).outcome is Outcome.Successful


def test_evidence_that_comes_after_the_time_is_over_does_not_count():
    samples = {"errors": [*gaps([1, 2, 3, 4]), *counted(minutes=range(61, 120))]}
    assert judged(gate(), samples, 119).outcome is Outcome.Inconclusive


def test_the_newest_check_must_be_evidence_for_a_pass():
    samples = {"errors": [*counted(minutes=range(1, 10)), *gaps([10, 11]), *counted(minutes=[12])]}
    assert judged(gate(), samples, 11).outcome is Outcome.Running
    assert judged(gate(), samples, 12).outcome is Outcome.Successful


def test_a_gap_adds_nothing_to_the_evidence():
    full = judged(gate(), {"errors": counted(minutes=[1, 2, 4])}, 5).parts[0]
    torn = judged(gate(), {"errors": [*counted(minutes=[1, 2, 4]), *gaps([3])]}, 5).parts[0]
    assert (full.log_e_fail, full.log_e_pass, full.ratio) == (torn.log_e_fail, torn.log_e_pass, torn.ratio)
    assert any(sample.gap for sample in torn.samples)


def test_counts_beside_a_gap_are_not_used():
    odd = replace(counted(minutes=[3])[0], gap="stale")
    verdict = judged(gate(), {"errors": [*counted(minutes=[1, 2]), odd]}, 3)
    assert verdict.parts[0].ratio == judged(gate(), {"errors": counted(minutes=[1, 2])}, 3).parts[0].ratio


def test_five_gaps_in_a_row_are_an_error_that_names_the_reason():
    four = judged(gate(), {"errors": [*counted(minutes=[1, 2]), *gaps(range(3, 7))]}, 6)
    assert four.outcome is Outcome.Running
    five = judged(gate(), {"errors": [*counted(minutes=[1, 2]), *gaps(range(3, 8), "stale")]}, 7)
    assert five.outcome is Outcome.Error
    assert five.message == "errors: no evidence in 5 checks in a row: stale"


def test_gaps_with_evidence_between_them_are_no_error():
    samples = [*gaps([1, 2, 3, 4]), *counted(minutes=[5]), *gaps([6, 7, 8, 9])]
    assert judged(gate(), {"errors": samples}, 9).outcome is Outcome.Running


def test_an_arm_not_seen_yet_is_neither_failure_nor_pass_nor_error():
    samples = {"errors": [Sample(at(m), control=(10, 1000)) for m in range(1, 60)]}
    verdict = judged(gate(), samples, 59)
    assert verdict.outcome is Outcome.Running
    assert verdict.message == "errors: no events counted in the canary after 59 min"
    assert judged(gate(), samples, 60).outcome is Outcome.Inconclusive


@pytest.mark.parametrize(
    ("canary", "control", "words"),
    [
        ((1, 10), None, "no events counted in the stable pods"),
        ((0, 0), (0, 0), "no events counted in either arm"),
        (None, None, "no events counted in either arm"),
    ],
)
def test_an_arm_without_events_is_named(canary, control, words):
    verdict = judged(gate(), {"errors": [Sample(at(1), canary, control)]}, 1)
    assert verdict.message == f"errors: {words} after 60 s"


def test_an_open_check_says_why_it_cannot_see():
    down = gaps([3], "prometheus at x: connection refused")
    verdict = judged(gate(ERRORS, LATENCY), {"errors": [*counted(minutes=[1, 2]), *down], "latency": down}, 3)
    assert verdict.parts[0].message.endswith("; no evidence now: prometheus at x: connection refused")
    assert verdict.parts[1].message == (
        "latency: no measurement yet; no evidence now: prometheus at x: connection refused"
    )


def test_two_checks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two checks of one name"):
        judged(gate(ERRORS, ERRORS), {}, 1)


def test_without_any_sample_the_gate_runs_until_its_time_is_over():
    assert judged(gate(), {}, 0).outcome is Outcome.Running
    assert judged(gate(), {}, 59.9).outcome is Outcome.Running
    assert judged(gate(), {}, 60).outcome is Outcome.Inconclusive
    assert judged(gate(ERRORS, LATENCY), {"errors": [], "latency": []}, 600).outcome is Outcome.Inconclusive


def test_time_over_without_a_decision_is_inconclusive_and_may_be_extended():
    samples = {"errors": counted(canary=14, control=10, minutes=range(1, 121), total=10_000)}
    spec = gate(max_duration="5m")
    verdict = judged(spec, samples, 5)
    assert verdict.outcome is Outcome.Inconclusive
    assert "undecided" in verdict.message
    assert judged(gate(max_duration="3h"), samples, 120).outcome in (
        Outcome.Failed,
        Outcome.Successful,
    )


def test_a_check_at_the_very_end_may_still_decide():
    verdict = judged(gate(min_bake="60m"), {"errors": counted()}, 60)
    assert verdict.outcome is Outcome.Successful


def test_samples_from_before_the_start_and_from_the_future_are_not_evidence():
    past = [Sample(START - 60 * m, (0, 100_000), (10, 100_000)) for m in range(60)]
    future = counted(minutes=range(30, 90))
    verdict = judged(gate(), {"errors": [*past, *future]}, 10)
    assert verdict.outcome is Outcome.Running
    assert verdict.parts[0].samples == ()


def test_a_clock_that_jumps_ahead_does_not_open_the_gate():
    samples = {"errors": counted(minutes=range(1, 6))}
    assert judged(gate(), samples, 5 + 60).outcome is Outcome.Inconclusive


def test_the_order_of_the_samples_does_not_matter():
    samples = counted(canary=13, minutes=range(1, 30))
    assert judged(gate(), {"errors": samples[::-1]}, 30) == judged(gate(), {"errors": samples}, 30)


def test_one_moment_counts_once():
    with pytest.raises(ValueError, match="same moment"):
        judged(gate(), {"errors": counted(minutes=[1, 2, 2])}, 3)


def test_samples_of_an_unknown_check_are_refused():
    with pytest.raises(ValueError, match="samples of no check: erors"):
        judged(gate(), {"erors": counted()}, 3)


@pytest.mark.parametrize("bad", [(math.nan, 10.0), (11.0, 10.0), (-1.0, 10.0), (math.inf, math.inf)])
def test_impossible_counts_are_an_error(bad):
    samples = [*counted(minutes=range(1, 5)), Sample(at(5), bad, (1, 10))]
    verdict = judged(gate(), {"errors": samples}, 60)
    assert verdict.outcome is Outcome.Error
    assert verdict.message.startswith("errors: canary: ")


# -- thresholds ------------------------------------------------------------------------------------------------


def test_a_threshold_passes_when_baked_and_a_value_equal_to_the_bound_passes():
    spec = gate(LATENCY)
    assert judged(spec, {"latency": valued(0.5)}, 9).outcome is Outcome.Running
    verdict = judged(spec, {"latency": valued(0.5)}, 10)
    assert verdict.outcome is Outcome.Successful
    assert (
        verdict.message == "latency: 0.5 ≤ 0.5 after 10 min, 0 of 10 measurements out of bounds, 0 tolerated"
    )


def test_a_value_beyond_the_bound_fails_at_once():
    verdict = judged(gate(LATENCY), {"latency": valued(0.62)}, 1)
    assert verdict.outcome is Outcome.Failed
    assert verdict.message == "latency: 0.62 > 0.5 after 60 s, 1 of 1 measurements out of bounds, 0 tolerated"


def test_a_lower_bound_works_the_same_way():
    spec = gate(Threshold(name="accuracy", query="accuracy", min=0.9))
    ok = judged(spec, {"accuracy": [Sample(at(m), (0.95, 0.9)) for m in range(1, 11)]}, 10)
    assert ok.outcome is Outcome.Successful
    low = judged(spec, {"accuracy": [Sample(at(1), (0.85, 0.9))]}, 1)
    assert low.message.startswith("accuracy: 0.85 < 0.9 after")


def test_tolerated_failures_do_not_fail_and_one_more_does():
    spec = gate(LATENCY.model_copy(update={"failures": 2}))
    samples = [*valued(0.3, [1, 2]), *valued(0.9, [3, 4]), *valued(0.3, range(5, 11))]
    assert judged(spec, {"latency": samples}, 10).outcome is Outcome.Successful
    samples[6] = Sample(at(7), (0.9, 0.5))
    assert judged(spec, {"latency": samples}, 10).outcome is Outcome.Failed


def test_a_threshold_without_a_good_measurement_never_passes():
    spec = gate(LATENCY.model_copy(update={"failures": 100}))
    assert judged(spec, {"latency": valued(0.9)}, 60).outcome is Outcome.Inconclusive


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_a_gap_not_a_pass(value):
    spec = gate(Threshold(name="latency", query="x", max=math.inf if value == math.inf else 0.5))
    verdict = judged(spec, {"latency": valued(value)}, 60)
    assert verdict.outcome is Outcome.Error
    assert verdict.message == f"latency: no evidence in 5 checks in a row: the value is {value}"


def test_the_newest_measurement_must_be_there_for_a_threshold_to_pass():
    samples = [*valued(0.3, range(1, 10)), *gaps([10])]
    assert judged(gate(LATENCY), {"latency": samples}, 10).outcome is Outcome.Running


def test_a_threshold_without_a_bound_never_passes():
    spec = gate(Threshold(name="latency", query="x"))
    assert judged(spec, {"latency": valued(0.3)}, 60).outcome is not Outcome.Successful


# -- several checks --------------------------------------------------------------------------------------------


def test_all_critical_checks_must_pass():
    spec = gate(ERRORS, LATENCY)
    verdict = judged(spec, {"errors": counted(), "latency": valued(0.3, range(1, 8))}, 30)
    assert verdict.outcome is not Outcome.Successful
    both = judged(spec, {"errors": counted(), "latency": valued(0.3)}, 10)
    assert both.outcome is Outcome.Successful
    assert both.message.count(";") == 1


def test_one_critical_failure_fails_the_gate_and_is_the_sentence():
    verdict = judged(gate(ERRORS, LATENCY), {"errors": counted(), "latency": valued(0.9)}, 20)
    assert verdict.outcome is Outcome.Failed
    assert verdict.message.startswith("latency: 0.9 > 0.5")


def test_a_check_that_passed_early_still_fails_the_gate_while_another_is_undecided():
    """Otherwise whatever goes wrong after one check's own pass would go unseen."""
    slow = Ratio(name="slow", bad="b", total="t")
    latency = [*valued(0.3, range(1, 15)), *valued(0.9, range(15, 30))]
    samples = {"slow": counted(canary=1, control=1, minutes=range(1, 30)), "latency": latency}
    verdict = judged(gate(slow, LATENCY), samples, 29)
    assert verdict.outcome is Outcome.Failed
    assert "after 15 min" in verdict.message


def test_all_critical_checks_need_their_newest_sample_at_the_moment_of_the_pass():
    latency = [*valued(0.3, range(1, 11)), *gaps([11]), *valued(0.3, [12])]
    errors = [*gaps([8, 9, 10]), *counted(minutes=[*range(1, 8), 11, 12])]
    spec, samples = gate(ERRORS, LATENCY), {"errors": errors, "latency": latency}
    assert judged(spec, samples, 11).outcome is Outcome.Running
    assert judged(spec, samples, 12).outcome is Outcome.Successful


def test_a_check_that_is_only_reported_neither_fails_nor_passes_the_gate():
    reported = LATENCY.model_copy(update={"critical": False})
    verdict = judged(gate(ERRORS, reported), {"errors": counted(), "latency": valued(0.9)}, 10)
    assert verdict.outcome is Outcome.Successful
    assert [part.outcome for part in verdict.parts] == [Outcome.Successful, Outcome.Failed]


def test_a_gate_without_a_critical_check_treats_all_as_critical():
    reported = LATENCY.model_copy(update={"critical": False})
    assert judged(gate(reported), {"latency": []}, 30).outcome is Outcome.Running
    assert judged(gate(reported), {"latency": valued(0.9)}, 30).outcome is Outcome.Failed


def test_an_error_is_worse_than_inconclusive_and_that_is_worse_than_running():
    spec = gate(ERRORS, LATENCY)
    verdict = judged(spec, {"errors": counted(canary=1, control=1), "latency": gaps(range(1, 61))}, 20)
    assert verdict.outcome is Outcome.Error
    assert verdict.message == "latency: no evidence in 5 checks in a row: query failed"


def test_several_ratio_checks_share_the_rate_of_needless_rollbacks():
    other, reported = (ERRORS.model_copy(update={"name": n, "critical": n == "b"}) for n in ("b", "c"))
    shares = shared_alpha((ERRORS, other, reported, LATENCY))
    assert sum(shares.values()) == pytest.approx(0.01)
    assert shares["errors"] == shares["b"] > shares["c"]
    assert shared_alpha((ERRORS, LATENCY)) == {"errors": 0.01}


def test_a_measured_dispersion_is_used_and_the_sentence_no_longer_says_assumed():
    samples = {"errors": counted(canary=20)}
    calm = judged(gate(), samples, 1, dispersion={"errors": 1.0})
    noisy = judged(gate(), samples, 1, dispersion={"errors": 9.0})
    assert calm.parts[0].phi == 1.0
    assert noisy.parts[0].phi == 9.0
    assert (calm.parts[0].log_e_fail or 0) > (noisy.parts[0].log_e_fail or 0)
    assert "assumed" not in calm.message
    assert calm.parts[0].parameters["dispersion"] == "given"


def test_a_first_release_is_judged_by_its_thresholds_alone_on_all_pods():
    alone = without_control(gate(ERRORS, LATENCY))
    assert alone is not None
    assert [(c.name, c.arm) for c in alone.checks if isinstance(c, Threshold)] == [("latency", "stage")]
    assert len(alone.checks) == 1
    assert without_control(gate(ERRORS)) is None


# -- evidence --------------------------------------------------------------------------------------------------


def as_bytes(verdict):
    return json.dumps(to_data(verdict), sort_keys=True, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "samples",
    [
        {"errors": counted(), "latency": valued(0.3)},
        {"errors": counted(canary=60), "latency": valued(0.3)},
        {"errors": counted(canary=0, control=0), "latency": valued(math.nan)},
        {"errors": [*counted(minutes=range(1, 4)), *gaps(range(4, 12))], "latency": valued(0.3)},
        {"errors": [Sample(at(1), (math.nan, math.inf), (1, 2))], "latency": []},
        {"errors": [Sample(at(1), (30, 100), (0, 100))]},
        {},
    ],
    ids=["pass", "fail", "nan values", "gaps", "nan counts", "open interval", "nothing"],
)
@pytest.mark.parametrize("dispersion", [None, {"errors": 2.5}])
def test_a_recorded_verdict_is_judged_again_to_the_same_bytes(samples, dispersion):
    queries = {"errors": ("sum(a)",)}
    verdict = judged(gate(ERRORS, LATENCY), samples, 20, dispersion=dispersion, queries=queries)
    recorded = json.loads(as_bytes(verdict))
    assert as_bytes(recompute(recorded)) == as_bytes(verdict)
    assert as_bytes(from_data(recorded)) == as_bytes(verdict)
    assert verdict.parts[0].parameters["queries"] == ["sum(a)"]


def test_a_record_somebody_touched_no_longer_agrees():
    data = to_data(judged(gate(), {"errors": counted(canary=60)}, 20))
    data["parts"][0]["samples"][0]["canary"] = [0.0, 1000.0]
    data["outcome"] = "Successful"
    assert to_data(recompute(data)) != data


def test_the_version_that_judged_first_stays_in_the_record():
    data = to_data(judged(gate(), {"errors": counted()}, 20))
    data["parameters"]["code"] = "0.0.1"
    assert to_data(recompute(data)) == data


def test_a_record_holds_no_settings_of_the_metrics_source():
    section = Section.model_validate({"kind": "prometheus", "url": "http://u:hunter2@x", "token": "hunter2"})
    spec = gate().model_copy(update={"metrics": section})
    assert b"hunter2" not in as_bytes(judged(spec, {"errors": counted()}, 20))


def test_a_record_of_an_unknown_rule_is_refused():
    data = to_data(judged(gate(), {}, 0))
    data["parameters"]["rule"] = "astrology"
    with pytest.raises(ValueError, match="astrology"):
        recompute(data)
