"""Matchers go into PromQL through its syntax tree, wherever the query hides its selectors."""

from __future__ import annotations

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.adapters.metrics._promql import Match, QueryError, Selector, selectors, with_matchers
from tidegate.adapters.metrics.prometheus import check_queries
from tidegate.spec import Gate, Ratio, Section, Threshold

CANARY = Match("track", "=", "canary")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("x", 'x{track="canary"}'),
        ("x{}", 'x{track="canary"}'),
        ('x{a="b",}', 'x{a="b",track="canary"}'),
        ('{__name__="x"}', '{__name__="x",track="canary"}'),
        ('{__name__=~"a|b",c!="d"}', '{__name__=~"a|b",c!="d",track="canary"}'),
        ('{"my.metric"}', '{__name__="my.metric",track="canary"}'),
        ('x{a="}{,\\"y{\\\\"}', 'x{a="}{,\\"y{\\\\",track="canary"}'),
        ("x{a='}\"'}", 'x{a="}\\"",track="canary"}'),
        ('x{a=~"\\\\d+\\\\.5.."}', 'x{a=~"\\\\d+\\\\.5..",track="canary"}'),
        ('x{a="line\\nü€😀"}', 'x{a="line\\nü€😀",track="canary"}'),
        ("x offset 5m", 'x{track="canary"} offset 300s'),
        ("x offset -500ms", 'x{track="canary"} offset -500ms'),
        ("x @ 1609746000.5 offset 1h", 'x{track="canary"} @ 1609746000.500 offset 3600s'),
        ("rate(x[5m] @ start())", 'rate(x{track="canary"}[300s] @ start())'),
        ("x @ end()", 'x{track="canary"} @ end()'),
        (
            "max_over_time(rate(x[5m])[30m:1m] offset 5m)",
            'max_over_time(rate(x{track="canary"}[300s])[1800s:60s] offset 300s)',
        ),
        ("avg_over_time(x[5m:])", 'avg_over_time(x{track="canary"}[300s:])'),
        (
            'sum by (a) (rate(x[1m])) # x{track="stable"} }\n / sum(y)',
            'sum by (a) (rate(x{track="canary"}[60s])) / sum(y{track="canary"})',
        ),
        ("sum(x) without (a)", 'sum without (a) (x{track="canary"})'),
        (
            "a / on (y) group_left (z) b > bool 3",
            'a{track="canary"} / on (y) group_left (z) b{track="canary"} > bool 3',
        ),
        (
            "a * ignoring (q) group_right b",
            'a{track="canary"} * ignoring (q) group_right () b{track="canary"}',
        ),
        (
            "a and on () b or c unless d",
            'a{track="canary"} and on () b{track="canary"} or c{track="canary"} unless d{track="canary"}',
        ),
        ("-(1 - x) ^ 2", '-(1 - x{track="canary"}) ^ 2'),
        ("quantile(scalar(q), x)", 'quantile(scalar(q{track="canary"}), x{track="canary"})'),
        (
            'label_replace(x, "a", "$1", "b", "(.*)")',
            'label_replace(x{track="canary"}, "a", "$1", "b", "(.*)")',
        ),
        (
            "histogram_quantile(.99, sum by (le) (rate(b_bucket[5m])))",
            'histogram_quantile(0.99, sum by (le) (rate(b_bucket{track="canary"}[300s])))',
        ),
        ("topk(3, x) or vector(0)", 'topk(3, x{track="canary"}) or vector(0)'),
        ("time() - timestamp(x)", 'time() - timestamp(x{track="canary"})'),
        ("absent(x)", 'absent(x{track="canary"})'),
    ],
)
def test_the_matcher_goes_into_every_selector_and_nowhere_else(query, expected):
    assert with_matchers(query, [CANARY]) == expected


@pytest.mark.parametrize(
    "value", ['"} or vector(0) #', "a\\", "\n", "a\"b'c`d", "$(x)", "\x00\x1f\x7f", "ü😀"]
)
def test_a_value_stays_a_value_whatever_it_holds(value):
    text = with_matchers('sum(rate(x{a="b"}[5m]))', [Match("namespace", "=", value)])
    (found,) = selectors(text)
    assert found == Selector("x", (Match("a", "=", "b"), Match("namespace", "=", value)))


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("sum(x", "unclosed|unexpected|expected"),
        ("", "no expression"),
        ("x{a=~'('}", "regex"),
        ("foo(x)", "unknown function"),
        ("rate(x)", "expected type"),
        ("x @ -1", "before 1970"),
        ('x{a="b" or c="d"}', "not PromQL as Prometheus knows it"),
        ("a + fill(0) b", "cannot be rewritten faithfully"),
        (r"x{a=~`\d+`}", "double quotes"),
    ],
)
def test_what_is_no_promql_or_cannot_be_kept_is_refused(query, complaint):
    with pytest.raises(QueryError, match=complaint):
        with_matchers(query, [CANARY])


names = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(
    lambda n: (
        n not in {"and", "or", "unless", "bool", "on", "by", "offset", "inf", "nan", "atan2", "start", "end"}
    )
)
values = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=8)
plain = st.builds(
    lambda name, matches: str(Selector(f"m_{name}", tuple(matches))),
    names,
    st.lists(st.builds(Match, names.map("l_".__add__), st.sampled_from(["=", "!="]), values), max_size=3),
)
numbers = st.recursive(
    st.one_of(plain, st.floats(0, 1e6).map(repr)),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "/", "> bool", "^"]), inner).map(" ".join).map("({})".format),
        inner.map("(-{})".format),
        inner.map("sum by (a) (vector(1) * {})".format),
        inner.map("max_over_time((vector(1) + {})[5m:30s])".format),
        plain.map("rate({}[90s] offset 1500ms)".format),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(query=numbers, value=values)
def test_every_selector_of_every_query_takes_the_matcher_and_keeps_its_own(query, value):
    try:
        promql_parser.parse(query)
    except ValueError:
        return
    before = selectors(query)
    after = selectors(with_matchers(query, [Match("track", "=", value)]))
    assert after == tuple(Selector(s.metric, (*s.matches, Match("track", "=", value))) for s in before)


def gate(*checks, **settings):
    return Gate(metrics=Section(kind="prometheus"), checks=checks, **settings)


def ratio(bad='x_total{code=~"5.."}', total="x_total"):
    return Ratio(name="errors", bad=bad, total=total)


def threshold(query="max(x)", **more):
    return Threshold(name="latency", query=query, **({"max": 1.0} | more))


def test_a_gate_that_can_work_has_no_problems():
    assert check_queries(gate(ratio(), threshold(), threshold("time() - max(x)", min=0.0))) == []


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        (
            ratio(total="sum(x_total)"),
            "errors: total: is one counter selector, without function, range, offset or @",
        ),
        (ratio(bad="rate(x_total[5m])"), "errors: bad: is one counter selector"),
        (ratio(bad="x_total[5m]"), "errors: bad: is one counter selector"),
        (ratio(bad="x_total offset 5m"), "errors: bad: is one counter selector"),
        (ratio(bad="x_total @ end()"), "errors: bad: is one counter selector"),
        (ratio(bad="x_total or y_total"), "errors: bad: is one counter selector"),
        (ratio(bad="1"), "errors: bad: is one counter selector"),
        (ratio(bad="(x_total)"), "errors: bad: is one counter selector"),
        (ratio(bad="x_total{"), "errors: bad: unexpected"),
        (ratio(bad='{app="shop"}'), "errors: bad: names no metric"),
        (ratio(bad='x_total{track="stable"}'), "errors: bad: already asks for the label 'track'"),
        (threshold("x["), "latency: query: unexpected"),
        (threshold("x[5m]"), "latency: query: gives a range or a string; a number is asked for"),
        (threshold('"x"'), "latency: query: gives a range or a string"),
        (threshold("x[5m:1m]"), "latency: query: gives a range or a string"),
        (threshold("vector(1)"), "latency: query: looks at no metric, so it is no evidence"),
        (threshold('max(x{track="canary"})'), "latency: query: already asks for the label 'track'"),
        (threshold(max=None), "latency: has neither max nor min, so nothing could fail it"),
    ],
)
def test_a_query_that_cannot_work_is_named_before_anything_runs(check, problem):
    found = check_queries(gate(check))
    assert any(text.startswith(problem) for text in found), found


def test_a_query_on_all_pods_may_ask_for_the_track_itself():
    assert check_queries(gate(threshold('max(x{track="canary"})', arm="all"))) == []


def test_a_check_shorter_than_four_scrapes_or_not_in_whole_seconds_is_refused():
    assert check_queries(gate(ratio(), every="30s")) == [
        "every: 30 s is too short for counters; a check lasts at least 4 scrape intervals (60 s)"
    ]
    assert check_queries(gate(ratio(), every="1500ms", scrape_interval="100ms")) == [
        "every: 1.5 s; a check lasts whole seconds"
    ]
