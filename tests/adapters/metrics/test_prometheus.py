"""Reading a gate's samples from a real Prometheus whose every sample is known."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tidegate import plugins
from tidegate.adapters.metrics.prometheus import Settings, build
from tidegate.domain.gate import Outcome, Ratio, Threshold, evaluate, recompute, to_data
from tidegate.errors import SpecError
from tidegate.spec import Gate, Section

START = 1_700_000_040  # a whole minute
HOUR = range(0, 3601, 15)


def line(per_second, seconds=HOUR, begin=0.0):
    """A counter or, with 0 per second, a gauge."""
    return [(START + s, begin + s * per_second) for s in seconds]


def constant(value, seconds=HOUR):
    return [(START + s, value) for s in seconds]


HISTORY = {
    # a canary with 2 requests a second, 5 % of them bad, and two stable pods, of which one has no track
    'req_total{code="200",track="canary",ns="a"}': line(1.9),
    'req_total{code="500",track="canary",ns="a"}': line(0.1),
    'req_total{code="200",track="stable",ns="a",pod="1"}': line(3.98),
    'req_total{code="500",track="stable",ns="a",pod="1"}': line(0.02),
    'req_total{code="200",ns="a",pod="2"}': line(4.0),
    # the same names in another namespace, which must not count
    'req_total{code="500",track="canary",ns="b"}': line(50),
    'req_total{code="200",track="stable",ns="b"}': line(50),
    # targets: three canaries, of which one is down from minute 20 to 25
    **{f'up{{track="canary",ns="a",pod="{n}"}}': constant(1) for n in range(2)},
    'up{track="canary",ns="a",pod="2"}': [(START + s, int(not 1200 <= s < 1500)) for s in HOUR],
    # and in a namespace of their own, with names and without
    'req_total{code="200",track="canary",ns="named"}': line(1),
    'req_total{code="200",track="stable",ns="named"}': line(1),
    'up{track="canary",ns="named",pod="web-canary-5d-x"}': constant(1),
    'req_total{code="200",track="canary",ns="bare"}': line(1),
    'req_total{code="200",track="stable",ns="bare"}': line(1),
    'up{track="canary",ns="bare",instance="1"}': constant(1),
    'up{track="canary",ns="bare",instance="2"}': constant(1),
    # ends after nine minutes
    'old_total{track="canary"}': line(1, range(0, 541, 15)),
    'old_total{track="stable"}': line(1),
    "old_value": constant(1, range(0, 541, 15)),
    # only one arm, only a quarter of an hour late
    'late_total{track="canary"}': line(1, range(900, 3601, 15)),
    'late_total{track="stable"}': line(1),
    'lonely_total{track="stable"}': line(1),
    # restarts at half time
    'reset_total{track="canary"}': [(START + s, (s if s < 1800 else s - 1800) * 2.0) for s in HOUR],
    'reset_total{track="stable"}': line(2),
    # values
    'nan_value{track="canary"}': constant("NaN"),
    'inf_value{track="canary"}': constant("+Inf"),
    'minus_value{track="canary"}': constant("-Inf"),
    'nan_total{track="canary"}': constant("NaN"),
    'nan_total{track="stable"}': line(1),
    'two_value{track="canary",pod="1"}': constant(1),
    'two_value{track="canary",pod="2"}': constant(2),
    'latency{track="canary"}': [(START + s, 0.2 if s < 1200 else 0.8) for s in HOUR],
    'latency{track="stable"}': constant(0.1),
}


@pytest.fixture(scope="module")
def source(prometheus_of):
    server = prometheus_of(HISTORY)
    source = build(Settings(url=server.url))
    yield source
    source.close()


def gate(*checks, **settings):
    return Gate(metrics=Section(kind="prometheus"), checks=checks, **settings)


def ratio(name="req_total", bad='{code="500"}'):
    return Ratio(name="errors", bad=f"{name}{bad}", total=name)


def threshold(query, **more):
    return Threshold(name="value", query=query, **({"max": 0.5} | more))


def read(source, check, minutes=20, started=START, **more):
    found = source.collect(gate(check), started=started, now=START + 60 * minutes, **more)
    return found[check.name]


def gaps(samples):
    return {sample.gap for sample in samples}


def test_one_query_written_once_gives_the_counts_of_both_arms(source):
    samples = read(source, ratio(), selector={"ns": "a"})
    assert [s.at for s in samples] == [START + 60 * m for m in range(1, 21)]
    assert gaps(samples) == {None}
    for sample in samples:
        assert sample.canary == pytest.approx((6, 120))
        assert sample.control == pytest.approx((1.2, 480)), "pods without a track are stable"


def test_a_namespace_keeps_strangers_out(source):
    everyone = read(source, ratio())[0]
    assert everyone.canary == pytest.approx((3006, 3240))


def test_the_same_plugin_is_found_by_its_kind(source, prometheus_of):
    section = Section.model_validate({"kind": "prometheus", "url": "http://127.0.0.1:9", "timeout": "1s"})
    assert type(plugins.build("metrics", section)).__name__ == "Prometheus"
    assert "prometheus" in plugins.kinds("metrics")
    assert not [kind for kind in plugins.kinds("metrics") if kind.startswith("_")]


def test_only_checks_that_lie_wholly_between_start_and_now_are_read(source):
    spec = ratio()
    assert [s.at - START for s in read(source, spec, minutes=3, started=START + 1)] == [120, 180]
    assert [s.at - START for s in read(source, spec, minutes=2.999, started=START)] == [60, 120]
    assert read(source, spec, minutes=1, started=START + 1) == ()
    assert read(source, spec, minutes=-5) == ()


def test_the_warm_up_of_a_canary_is_no_evidence(source):
    found = source.collect(gate(ratio(), warmup="2m"), started=START + 1, now=START + 300)
    assert [s.at - START for s in found["errors"]] == [240, 300]


def test_all_events_there_and_no_bad_ones_is_zero_bad(source):
    samples = read(source, ratio(bad='{code="418"}'), selector={"ns": "a"})
    assert {(s.canary[0], s.control[0]) for s in samples} == {(0.0, 0.0)}
    assert gaps(samples) == {None}


def test_an_arm_never_seen_is_no_information(source):
    samples = read(source, ratio("lonely_total", ""))
    assert gaps(samples) == {None}
    assert {s.canary for s in samples} == {None}
    verdict = evaluate(gate(ratio("lonely_total", "")), {"errors": samples}, started=START, now=START + 3600)
    assert verdict.outcome is Outcome.Inconclusive


def test_an_arm_that_comes_late_counts_from_when_it_is_there(source):
    samples = read(source, ratio("late_total", ""), minutes=20)
    assert [s.canary is not None for s in samples] == [False] * 15 + [True] * 5


def test_counters_that_were_there_and_stopped_are_stale_and_then_gone(source):
    samples = read(source, ratio("old_total", ""), minutes=20)
    assert gaps(samples[:9]) == {None}
    assert samples[9].gap == "canary: newest sample is 60 s old, stale after 30 s"
    assert samples[-1].gap == "canary: its counters were there before and are gone"
    assert all(s.gap for s in samples[9:])
    verdict = evaluate(gate(ratio("old_total", "")), {"errors": samples}, started=START, now=START + 1200)
    assert verdict.outcome is not Outcome.Successful


def test_a_restarted_counter_is_counted_on(source):
    samples = read(source, ratio("reset_total", '{code="500"}'), minutes=60)
    assert gaps(samples) == {None}
    totals = [round(s.canary[1]) for s in samples]
    assert totals[:29] == [120] * 29
    assert 85 <= totals[29] <= 120, "what was counted between last scrape and restart is lost"


@pytest.mark.parametrize(
    ("check", "gap"),
    [
        (threshold("nan_value"), "the value is nan"),
        (threshold("inf_value"), "the value is inf"),
        (threshold("minus_value"), "the value is -inf"),
        (threshold("two_value"), "the query gives 2 series for one number; aggregate it"),
        (threshold("no_such_value"), "none of the query's selectors finds a sample"),
        (threshold("no_such_value or vector(0)"), "none of the query's selectors finds a sample"),
        (threshold("latency > 10"), "the query gives no value"),
        (threshold("latency / 0"), "the value is inf"),
        (threshold("sum(nan_value) / sum(latency)"), "the value is nan"),
        (ratio("nan_total", ""), "canary: total is nan"),
        (Ratio(name="errors", bad="nan_total", total="latency"), "canary: bad is nan"),
    ],
)
def test_numbers_that_are_none_are_gaps_and_never_pass(source, check, gap):
    samples = read(source, check, minutes=19)
    assert gaps(samples) == {gap}
    verdict = evaluate(gate(check), {check.name: samples}, started=START, now=START + 19 * 60)
    assert verdict.outcome is Outcome.Error
    assert gap in verdict.message


def test_a_query_that_prometheus_refuses_at_run_time_is_a_gap_for_every_check(source):
    samples = read(source, threshold('label_replace(two_value, "pod", "same", "", "")', arm="all"))
    assert all("prometheus at 127.0.0.1" in s.gap and " answered 4" in s.gap for s in samples), samples[0]
    assert len(samples) == 20


def test_a_threshold_looks_at_the_canary_and_at_all_pods_where_it_says_so(source):
    canary = read(source, threshold("max(latency)"))[0]
    assert canary.canary == (0.2, 0.5)
    everyone = read(source, threshold("min(latency)", arm="all"))[0]
    assert everyone.canary == (0.1, 0.5)


def test_a_scalar_is_a_number_too(source):
    assert read(source, threshold("scalar(max(latency)) * 2"))[0].canary == (0.4, 0.5)


def test_a_value_of_a_series_that_ended_is_stale(source):
    samples = read(source, threshold("old_value", arm="all"), minutes=20)
    assert samples[8].canary == (1.0, 0.5)
    assert samples[9].gap == "newest sample is 60 s old, stale after 30 s"


def test_fewer_canary_targets_than_should_be_are_a_gap(source):
    samples = read(source, ratio(), minutes=30, selector={"ns": "a"}, canary_targets=3)
    missing = [round((s.at - START) / 60) for s in samples if s.gap]
    assert missing == [20, 21, 22, 23, 24, 25]
    assert gaps(samples) == {None, "2 of 3 canary targets answered every scrape"}


def test_the_newest_check_needs_all_targets_but_a_growing_canary_keeps_its_past(source):
    samples = read(source, ratio(), minutes=10, selector={"ns": "a"}, canary_targets=5)
    assert [s.gap for s in samples] == [None] * 9 + ["3 of 5 canary targets answered every scrape"]


@pytest.mark.parametrize(
    ("workloads", "expected"),
    [
        (("other-canary",), "0 of 3 canary targets answered every scrape"),
        (("web-canary", "other-canary"), "1 of 3 canary targets answered every scrape"),
        ((), None),
    ],
)
def test_pods_of_another_canary_do_not_stand_in_for_missing_ones(source, workloads, expected):
    more = {"ns": "a"} if not workloads else {"ns": "named"}
    samples = read(source, ratio(), minutes=2, selector=more, canary_targets=3, workloads=workloads)
    assert samples[-1].gap == expected


def test_a_target_without_a_pod_label_counts_for_every_workload(source):
    samples = read(
        source, ratio(), minutes=2, selector={"ns": "bare"}, canary_targets=2, workloads=("web-canary",)
    )
    assert samples[-1].gap is None


def test_a_threshold_on_the_stage_sees_all_its_pods_and_those_of_no_other(source):
    def value(arm):
        check = threshold("sum(req_total)", arm=arm, max=10**9)
        return read(source, check, minutes=2, selector={"ns": "a"})[-1].canary[0]

    assert value("canary") < value("stage") < value("all")


def test_the_samples_judge_the_canary_and_the_record_judges_again(source):
    spec = gate(ratio(), threshold("latency"))
    found = source.collect(spec, started=START, now=START + 1200, selector={"ns": "a"}, canary_targets=3)
    queries = source.queries(spec, selector={"ns": "a"})
    verdict = evaluate(spec, found, started=START, now=START + 1200, queries=queries)
    assert verdict.outcome is Outcome.Failed
    assert verdict.message.startswith("errors: ratio ")
    assert 'track="canary"' in str(verdict.parts[0].parameters["queries"])
    recorded = json.loads(json.dumps(to_data(verdict), allow_nan=False))
    assert to_data(recompute(recorded)) == to_data(verdict)


def test_a_gate_that_cannot_work_is_refused_before_asking(source):
    with pytest.raises(SpecError, match="gate: errors: total: is one counter selector"):
        source.collect(gate(Ratio(name="errors", bad="x", total="sum(x)")), started=0, now=1)
    with pytest.raises(SpecError, match="unknown function"):
        source.queries(gate(threshold("foo(x)")))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="at most 25s"):
        Settings(url="http://x", timeout=timedelta(seconds=60))
    with pytest.raises(ValueError, match="pattern"):
        Settings(url="prometheus:9090")
    with pytest.raises(SpecError, match="token_file /no/such/file"):
        build(Settings(url="http://x", token_file="/no/such/file"))


def test_the_heavy_library_is_not_needed_to_look_at_a_gate():
    import subprocess
    import sys

    code = "import sys, tidegate.adapters.metrics.prometheus, tidegate.domain.gate as g; g.Outcome.Failed; "
    code += (
        "print([m for m in ('requests', 'numpy', 'prometheus_api_client', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
