"""The sequential rate-ratio test against the worked vectors of the design."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from tidegate.domain.gate import Outcome, Ratio, Verdict
from tidegate.domain.gate.evalues import (
    FAIL_GRID,
    FAIL_WEIGHTS,
    PASS_GRID,
    PASS_WEIGHTS,
    counts,
    interval,
    log_e_series,
)
from tidegate.domain.gate.ratio import judge

CHECK = Ratio(name="errors", bad="bad_total", total="all_total")


def arm(bad, total=600):
    totals = total if isinstance(total, list) else [total] * len(bad)
    return list(zip(map(float, bad), map(float, totals), strict=True))


def fail_series(canary, control, phi=1.0):
    return log_e_series(counts(canary, control), 1.0, FAIL_GRID, FAIL_WEIGHTS, phi)


def pass_series(canary, control, phi=1.0):
    return log_e_series(counts(canary, control), 2.0, PASS_GRID, PASS_WEIGHTS, phi)


def test_evidence_of_a_worse_canary_grows_as_in_the_worked_example():
    canary, control = arm([3, 5, 4, 6, 2, 7]), arm([1, 2, 1, 3, 0, 2])
    expected = [0.387701, 0.885566, 1.639740, 1.989739, 2.642917, 3.913982]
    assert fail_series(canary, control) == pytest.approx(expected, abs=1e-6)
    assert fail_series(canary, control, 2.5)[-1] == pytest.approx(1.466427, abs=1e-6)
    assert judge(CHECK, canary, control).ratio == pytest.approx(2.8947, abs=5e-5)


def test_evidence_of_a_good_canary_grows_as_in_the_worked_example():
    series = pass_series(arm([2, 1, 3, 2, 2, 1]), arm([2, 3, 1, 2, 2, 2]))
    assert series == pytest.approx([0.2061, 1.2323, 0.6299, 0.8464, 1.0653, 1.616266], abs=5e-5)


def test_a_small_canary_is_compared_by_rate():
    canary, control = arm([2, 3, 1, 4], 100), arm([9, 8, 10, 9], 900)
    assert fail_series(canary, control) == pytest.approx([0.1092, 1.0832, 0.6043, 2.1077], abs=5e-5)
    assert pass_series(canary, control) == pytest.approx([-0.4515, -1.6015, -1.2486, -2.8522], abs=5e-5)


def test_evidence_carries_over_the_steps_of_a_ramp():
    canary, control = arm([1, 2, 6, 9], [50, 50, 250, 500]), arm([9, 8, 7, 5], [950, 950, 750, 500])
    assert fail_series(canary, control) == pytest.approx([0.0483, 0.9771, 2.0923, 2.4460], abs=5e-5)


@pytest.mark.parametrize(
    ("bad", "fail", "passed"),
    [
        ((10, 0), 4.3095, None),
        ((11, 0), 4.8327, None),
        ((20, 5), 3.9232, None),
        ((60, 60), -2.7336, 6.7901),
        ((0, 10), None, 5.2290),
    ],
)
def test_one_look_is_worth_what_the_table_says(bad, fail, passed):
    canary, control = arm([bad[0]]), arm([bad[1]])
    if fail is not None:
        assert fail_series(canary, control)[0] == pytest.approx(fail, abs=5e-5)
    if passed is not None:
        assert pass_series(canary, control)[0] == pytest.approx(passed, abs=5e-5)


@pytest.mark.parametrize(
    ("series", "theta", "expected"),
    [
        (fail_series, 1 / 2, 1.0),
        (fail_series, 0.4, 0.157907),
        (pass_series, 2 / 3, 1.0),
        (pass_series, 3 / 4, 0.114893),
    ],
)
def test_an_e_value_has_expectation_one_under_its_hypothesis_and_less_beyond(series, theta, expected):
    law = [math.comb(30, x) * theta**x * (1 - theta) ** (30 - x) for x in range(31)]
    values = [math.exp(series(arm([x]), arm([30 - x]))[0]) for x in range(31)]
    assert float(np.dot(law, values)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("bad", "phi", "expected"),
    [((27, 9), 1.0, (1.0300, 11.5022)), ((27, 9), 2.5, (0.5457, 39.8156)), ((60, 60), 1.0, (0.5717, 1.7490))],
)
def test_the_interval_of_the_ratio_is_that_of_the_table(bad, phi, expected):
    assert interval(counts(arm([bad[0]]), arm([bad[1]])), phi) == pytest.approx(expected, abs=5e-5)


def test_an_interval_that_never_closes_is_open():
    assert interval(counts(arm([20]), arm([0])))[1] == math.inf
    assert interval(counts(arm([0]), arm([20])))[0] == 0.0
    assert interval(counts(arm([0]), arm([0]))) == (0.0, math.inf)


def test_the_interval_of_much_data_is_narrow_and_holds_the_estimate():
    low, high = interval(counts(arm([300_000], 10_000_000), arm([100_000], 10_000_000)))
    assert low < 3.0 < high
    assert low > 2.5
    assert high < 3.5


def test_a_worse_canary_fails_with_numbers_in_the_sentence():
    verdict = judge(CHECK, arm([30, 30, 30]), arm([10, 10, 10]))
    assert verdict.outcome is Outcome.Failed
    assert verdict.message == "errors: ratio 3.0 (1.45–6.9) ≥ 1.25 after 2 checks, e-value 10565"
    assert verdict.log_e_fail == pytest.approx(fail_series(arm([30, 30]), arm([10, 10]))[-1])


def test_an_equal_canary_passes_with_numbers_in_the_sentence():
    verdict = judge(CHECK, arm([20, 20, 20]), arm([20, 20, 20]))
    assert verdict.outcome is Outcome.Successful
    assert verdict.message == "errors: ratio 1.00 (0.51–1.97) < 2 after 2 checks, e-value 88"


def test_the_first_check_that_decides_is_the_verdict_whatever_comes_later():
    worse, better = [(30.0, 600.0)] * 3, [(0.0, 600.0)] * 200
    control = [(10.0, 600.0)] * 203
    late = judge(CHECK, worse + better, control)
    early = judge(CHECK, worse, control[:3])
    assert late.outcome is early.outcome is Outcome.Failed
    assert late.message == early.message


def test_without_events_nothing_is_decided():
    assert judge(CHECK, [], []).outcome is Outcome.Running
    verdict = judge(CHECK, arm([0] * 90, 0), arm([0] * 90, 0))
    assert verdict.outcome is Outcome.Running
    assert verdict.message == "errors: no check with events in both arms after 90 checks"
    assert judge(CHECK, arm([0] * 90), arm([0] * 90)).outcome is Outcome.Running


def test_a_check_in_which_one_arm_has_no_traffic_adds_nothing():
    canary, control = arm([3, 0, 5], [600, 0, 600]), arm([1, 50, 2], [600, 600, 600])
    with_pause, without = fail_series(canary, control), fail_series(canary[::2], control[::2])
    assert with_pause.tolist() == [without[0], without[0], without[1]]
    assert judge(CHECK, canary, control).ratio == judge(CHECK, canary[::2], control[::2]).ratio


def test_a_canary_worse_by_less_than_min_ratio_is_not_failed_and_the_sentence_says_why():
    verdict = judge(CHECK, arm([12_000], 1_000_000), arm([10_000], 1_000_000))
    assert verdict.log_e_fail is not None
    assert verdict.log_e_fail > math.log(100)
    assert verdict.outcome is Outcome.Successful
    strict = CHECK.model_copy(update={"max_ratio": 1.2})
    assert judge(strict, arm([12_000], 1_000_000), arm([10_000], 1_000_000)).message.endswith(
        "worse, but by less than 1.25"
    )


def test_a_canary_below_the_floor_is_not_failed_and_the_sentence_says_why():
    canary, control = arm([90], 1_000_000), arm([10], 1_000_000)
    verdict = judge(CHECK, canary, control)
    assert verdict.outcome is Outcome.Running
    assert verdict.message.endswith("worse, but its share of bad events is not above 0.0001")
    assert judge(CHECK.model_copy(update={"floor": 1e-5}), canary, control).outcome is Outcome.Failed


def test_both_decisions_at_one_check_are_a_failure():
    lax = CHECK.model_copy(update={"max_ratio": 10.0})
    verdict = judge(lax, arm([2000], 100_000), arm([1000], 100_000))
    assert verdict.log_e_pass is not None
    assert verdict.log_e_pass > math.log(20)
    assert verdict.outcome is Outcome.Failed


def test_fractional_counts_stay_as_they_are():
    whole, half = judge(CHECK, arm([3]), arm([1])), judge(CHECK, arm([3.5]), arm([1]))
    assert whole.log_e_fail is not None
    assert half.log_e_fail is not None
    assert half.log_e_fail > whole.log_e_fail


@pytest.mark.parametrize(
    "bad",
    [
        (math.nan, 10),
        (1, math.nan),
        (math.inf, math.inf),
        (-1, 10),
        (1, -10),
        (10.6, 10),
        (1, 0),
        (1e300, 1e300),
    ],
)
@pytest.mark.parametrize("side", ["canary", "control"])
def test_counts_that_cannot_be_are_an_error_never_a_pass(bad, side):
    good = [(20.0, 600.0)] * 5
    broken = [*good[:4], bad]
    arms = (broken, good) if side == "canary" else (good, broken)
    verdict = judge(CHECK, *arms)
    assert verdict.outcome is Outcome.Error
    assert verdict.message.startswith(f"errors: {side}, check 5: ")


def test_bad_events_may_exceed_all_events_by_what_extrapolation_adds():
    assert judge(CHECK, [(10.4, 10.0)], [(1.0, 10.0)]).outcome is not Outcome.Error


def test_arms_of_different_length_are_refused():
    with pytest.raises(ValueError, match="canary has 2 checks, control 1"):
        judge(CHECK, arm([1, 1]), arm([1]))


@pytest.mark.parametrize("phi", [0.5, 0.0, -1.0, math.nan, math.inf])
def test_a_dispersion_below_one_is_refused(phi):
    with pytest.raises(ValueError, match="dispersion"):
        judge(CHECK, arm([1]), arm([1]), dispersion=phi)


def test_more_dispersion_means_less_evidence():
    found = [
        judge(CHECK, arm([30]), arm([10]), dispersion=phi).log_e_fail or 0 for phi in (1.0, 2.0, 4.0, 8.0)
    ]
    assert all(a > b for a, b in pairwise(found))


def test_the_default_verdict_of_the_public_function_is_typed():
    verdict = judge(Ratio(name="errors", bad="b", total="t"), [(0, 1)], [(0, 1)])
    assert isinstance(verdict, Verdict)
    assert verdict.check == "errors"
    assert verdict.phi == 1.0
    assert [s.at for s in verdict.samples] == [1.0]
