"""A Prometheus that is down, slow, partial or talks nonsense never opens a gate."""

from __future__ import annotations

import json
import signal
import time

import pytest
from prometheus_server import free_port, until

from tidegate.adapters.metrics.prometheus import Settings, build
from tidegate.domain.gate import Outcome, Ratio, Sample, Threshold, evaluate
from tidegate.spec import Gate, Section

ERRORS = Ratio(name="errors", bad='req_total{code="500"}', total="req_total")
VALUE = Threshold(name="value", query="max(latency)", max=0.5)
START = 1_700_000_040
NOW = START + 1200
PART = "tidegate"


def gate(*checks, **settings):
    return Gate(metrics=Section(kind="prometheus"), checks=checks or (ERRORS, VALUE), **settings)


def never_passes(spec, found):
    for minutes in (20, 59, 60, 600):
        verdict = evaluate(spec, found, started=START, now=START + 60 * minutes)
        assert verdict.outcome is not Outcome.Successful
    return evaluate(spec, found, started=START, now=NOW)


def matrix(*series, **more):
    body = {"status": "success", "data": {"resultType": "matrix", "result": list(series)}, **more}
    return json.dumps(body).encode()


def good_series():
    """What a healthy Prometheus says to a ratio check."""
    times = range(START + 60, NOW + 1, 60)
    parts = {"bad": "10", "total": "1000"}
    said = [
        {"metric": {PART: f"{arm}_{part}"}, "values": [[t, value] for t in times]}
        for arm in ("canary", "control")
        for part, value in parts.items()
    ]
    seen = [
        {"metric": {PART: f"{arm}_seen"}, "values": [[t, str(t)] for t in times]}
        for arm in ("canary", "control")
    ]
    return said + seen


def asked(liar, spec=None, **more):
    source = build(Settings(url=liar.url, timeout=more.pop("timeout", "10s")))
    try:
        return source.collect(spec or gate(ERRORS), started=START, now=NOW, **more)
    finally:
        source.close()


def test_the_liar_can_tell_the_truth(liar):
    liar.body = matrix(*good_series())
    found = asked(liar)
    assert evaluate(gate(ERRORS), found, started=START, now=NOW).outcome is Outcome.Successful


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"warnings": ["some store did not answer"]}, "adds warnings: some store did not answer"),
        ({"infos": ["metric might not be a counter"]}, "adds infos: metric might not be a counter"),
        ({"status": "partial"}, "answered with status 'partial'"),
    ],
)
def test_a_reply_with_reservations_is_a_gap_that_names_them(liar, more, words):
    liar.body = matrix(*good_series(), **more)
    found = asked(liar)
    assert {s.gap for s in found["errors"]} == {f"prometheus at {liar.url.removeprefix('http://')} {words}"}
    assert never_passes(gate(ERRORS), found).outcome is Outcome.Error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>please log in</html>",
        b"null",
        b"[]",
        b'{"status":"success"}',
        b'{"status":"success","data":null}',
        b'{"status":"success","data":{"resultType":"matrix"}}',
        b'{"status":"success","data":{"resultType":"matrix","result":{"a":1}}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[1,2]}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[]}]}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1]]}]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[]}}',
        b'{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}',
        b'{"status":"success","data":{"resultType":"string","result":[1,"1"]}}',
        b"\xff\xfe\x00nonsense",
        b'{"status":' * 50_000,
    ],
)
def test_nonsense_is_a_gap(liar, body):
    liar.body = body
    found = asked(liar)
    assert all(s.gap for s in found["errors"])
    assert len(found["errors"]) == 20
    assert never_passes(gate(ERRORS), found).outcome is Outcome.Error


def test_an_empty_answer_is_no_information(liar):
    liar.body = matrix()
    found = asked(liar, gate())
    assert {(s.canary, s.control, s.gap) for s in found["errors"]} == {(None, None, None)}
    assert {s.gap for s in found["value"]} == {"none of the query's selectors finds a sample"}
    never_passes(gate(), found)


def test_two_series_for_one_number_are_a_gap(liar):
    liar.body = matrix(*good_series(), good_series()[0])
    found = asked(liar)
    assert {s.gap for s in found["errors"]} == {"several series for one number"}


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf"])
@pytest.mark.parametrize("part", range(6))
def test_one_number_that_is_none_is_enough_for_a_gap(liar, text, part):
    series = good_series()
    series[part]["values"][-1][1] = text
    liar.body = matrix(*series)
    found = asked(liar)["errors"]
    assert found[-1].gap
    assert not any(s.gap for s in found[:-1])


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_server_that_says_later_costs_the_newest_check_alone(liar, status):
    liar.status, liar.body = status, b"later"
    began = time.monotonic()
    found = asked(liar, gate())
    assert time.monotonic() - began < 5, "its Retry-After of a minute is not ours to wait"
    host = liar.url.removeprefix("http://")
    assert found["errors"] == (Sample(float(NOW), gap=f"prometheus at {host} answered {status}"),)
    assert found["value"][0].gap == found["errors"][0].gap
    assert len(liar.requests) <= 3, "nobody who is down is asked for every check"
    assert never_passes(gate(), found).outcome is Outcome.Running


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_server_that_says_no_says_it_for_every_check(liar, status):
    liar.status = status
    liar.body = b'{"status":"error","errorType":"bad_data","error":"parse error: unexpected end"}'
    found = asked(liar)
    words = f"prometheus at {liar.url.removeprefix('http://')} answered {status}"
    assert {s.gap for s in found["errors"]} == {f"{words} bad_data: parse error: unexpected end"}
    assert never_passes(gate(ERRORS), found).outcome is Outcome.Error


def test_a_reply_cut_short_is_silence(liar):
    liar.body = matrix(*good_series())
    liar.declared = len(liar.body) + 100
    found = asked(liar)
    assert len(found["errors"]) == 1
    assert found["errors"][0].gap.endswith(": connection broke")


def test_a_server_that_hangs_is_left_after_the_timeout_and_not_asked_again(liar):
    liar.hanging = True
    began = time.monotonic()
    found = asked(liar, gate(), timeout="1s", canary_targets=3)
    assert 0.9 < time.monotonic() - began < 4
    assert found["errors"][0].gap.endswith("no answer within 1 s")
    assert len(liar.requests) == 1
    never_passes(gate(), found)


def test_refused_connections_are_silence():
    port = free_port()
    source = build(Settings(url=f"http://127.0.0.1:{port}"))
    found = source.collect(gate(), started=START, now=NOW)
    assert found["errors"] == (Sample(float(NOW), gap=f"prometheus at 127.0.0.1:{port}: connection refused"),)
    never_passes(gate(), found)


def test_a_host_that_does_not_exist_is_silence_and_the_password_stays_out_of_it():
    source = build(Settings(url="http://user:hunter2@prometheus.invalid:9090"))
    (gap,) = {s.gap for s in source.collect(gate(), started=START, now=NOW)["errors"]}
    assert gap.startswith("prometheus at prometheus.invalid:9090: ")
    assert "hunter2" not in gap


def test_what_was_read_before_stays_and_the_silence_becomes_gaps(liar):
    liar.body = matrix(*good_series())
    spec = gate(ERRORS, max_duration="2h")
    before = asked(liar, spec)
    liar.status = 503
    source = build(Settings(url=liar.url))
    for minutes, outcome in ((1, Outcome.Running), (4, Outcome.Running), (5, Outcome.Error)):
        known = {"errors": before["errors"][:8]}
        found = source.collect(spec, started=START, now=START + 60 * (8 + minutes), known=known)["errors"]
        assert found[:8] == before["errors"][:8]
        assert [s.at for s in found[8:]] == [START + 60 * (9 + i) for i in range(minutes)]
        verdict = evaluate(spec, {"errors": found}, started=START, now=START + 60 * (8 + minutes))
        assert verdict.outcome is outcome


def test_a_token_is_sent_and_shown_nowhere(liar, tmp_path):
    (tmp_path / "token").write_text("hunter2\n")
    source = build(Settings(url=liar.url, token_file=tmp_path / "token", headers={"X-Scope-OrgID": "shop"}))
    liar.status, liar.body = 401, b'{"error":"no"}'
    found = source.collect(gate(), started=START, now=NOW)
    assert "hunter2" not in repr(found) + repr(vars(source)) + repr(liar.requests)


def test_environment_proxies_are_not_used(liar, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    liar.body = matrix(*good_series())
    assert not any(s.gap for s in asked(liar)["errors"])


# -- a real Prometheus that scrapes what the test serves ----------------------------------------------------------

SCRAPED = """
global: {{scrape_interval: 250ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: pods
  static_configs:
  - {{targets: [{canary}], labels: {{track: canary}}}}
  - {{targets: [{stable}], labels: {{track: stable}}}}
"""
QUICK = {"every": "2s", "scrape_interval": "250ms", "min_bake": "4s", "max_duration": "10m"}


def counters(requests, bad):
    return f'req_total{{code="200"}} {requests - bad}\nreq_total{{code="500"}} {bad}\nlatency 0.2\n'


class Traffic:
    """Both arms' counters, moved on by the test while it waits."""

    def __init__(self, expositions):
        self.canary, self.stable = expositions(counters(0, 0)), expositions(counters(0, 0))
        self.last = time.time()
        self.requests = self.bad_canary = self.bad_stable = 0.0
        self.bad_share = 0.01

    def flow(self):
        passed, self.last = time.time() - self.last, time.time()
        self.requests += 1000 * passed
        self.bad_canary += 1000 * passed * self.bad_share
        self.bad_stable += 1000 * passed * 0.01
        self.canary.text = counters(self.requests, self.bad_canary)
        self.stable.text = counters(self.requests, self.bad_stable)

    def config(self):
        return SCRAPED.format(canary=self.canary.address, stable=self.stable.address)


def evidence(found):
    """Has the newest check counts of both arms?"""
    return bool(found["errors"]) and found["errors"][-1].canary and found["errors"][-1].control


def watch(source, traffic, spec, started, done, what, **more):
    """Look again and again, while traffic flows, until `done(samples)`."""

    def look():
        traffic.flow()
        return done(source.collect(spec, started=started, now=time.time(), **more))

    until(look, what)


def test_live_traffic_passes_a_good_canary_and_fails_a_bad_one(prometheus_in, expositions):
    traffic = Traffic(expositions)
    server = prometheus_in(traffic.config())
    source = build(Settings(url=server.url))
    spec = gate(ERRORS.model_copy(update={"max_ratio": 5.0}), VALUE, **QUICK)

    def verdict(found):
        return evaluate(spec, found, started=started, now=time.time()).outcome

    started = time.time()
    watch(
        source, traffic, spec, started, lambda s: verdict(s) is Outcome.Successful, "pass", canary_targets=1
    )
    traffic.bad_share = 0.2
    started = time.time()
    watch(source, traffic, spec, started, lambda s: verdict(s) is Outcome.Failed, "failure", canary_targets=1)
    source.close()


def test_a_prometheus_that_stops_answers_or_dies_leaves_gaps_and_recovers(prometheus_in, expositions):
    traffic = Traffic(expositions)
    server = prometheus_in(traffic.config())
    source, spec = build(Settings(url=server.url, timeout="1s")), gate(ERRORS, **QUICK)
    started = time.time()
    watch(source, traffic, spec, started, evidence, "evidence")
    server.send(signal.SIGSTOP)
    (newest,) = source.collect(spec, started=started, now=time.time())["errors"]
    assert newest.gap.endswith("no answer within 1 s")
    server.send(signal.SIGCONT)
    server.stop()
    (newest,) = source.collect(spec, started=started, now=time.time())["errors"]
    assert newest.gap.endswith("connection refused")
    server.start()
    watch(source, traffic, spec, started, evidence, "evidence again")
    source.close()


def test_old_data_under_a_fresh_timestamp_is_a_gap(prometheus_in, expositions):
    """Restarted without targets, Prometheus goes on answering with what it last knew."""
    traffic = Traffic(expositions)
    server = prometheus_in(traffic.config())
    source, spec = build(Settings(url=server.url)), gate(**QUICK)
    started = time.time()
    watch(source, traffic, spec, started, evidence, "evidence")
    server.stop()
    server.config = "global: {scrape_interval: 250ms, scrape_timeout: 200ms}\n"
    server.start()
    watch(source, traffic, spec, started, lambda s: s["errors"][-1].gap and s["value"][-1].gap, "a gap")
    found = source.collect(spec, started=started, now=time.time())
    assert "stale after 0.5 s" in found["errors"][-1].gap
    assert "stale after 0.5 s" in found["value"][-1].gap
    source.close()


def test_one_of_three_targets_stopped_is_a_gap(prometheus_in, expositions):
    traffic = Traffic(expositions)
    more = [expositions(counters(0, 0)) for _ in range(2)]
    targets = ", ".join([traffic.canary.address, *(one.address for one in more)])
    server = prometheus_in(SCRAPED.format(canary=targets, stable=traffic.stable.address))
    source, spec = build(Settings(url=server.url)), gate(ERRORS, **QUICK)
    started = time.time()
    watch(
        source,
        traffic,
        spec,
        started,
        evidence,
        "3 of 3",
        canary_targets=3,
    )
    more[0].server.shutdown()
    more[0].server.server_close()
    watch(
        source,
        traffic,
        spec,
        started,
        lambda s: s["errors"][-1].gap == "2 of 3 canary targets answered every scrape",
        "2 of 3",
        canary_targets=3,
    )
    source.close()
