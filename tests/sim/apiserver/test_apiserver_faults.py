"""Faults on demand, and the log that counts requests."""

import json
import time

import pytest
import urllib3

from tidegate.sim.apiserver import Fault


def logged(tmp_path):
    return [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]


def test_a_rule_answers_instead_of_the_server_so_often(server, api, config):
    server.faults.add(Fault(method="POST", path="/configmaps", status=429, retry_after=7, count=2))
    answer = api.post("configmaps", config())
    assert (answer.status, answer.body["reason"], answer.headers["Retry-After"]) == (
        429,
        "TooManyRequests",
        "7",
    )
    assert api.post("configmaps", config()).status == 429
    assert api.post("configmaps", config()).status == 201


def test_rules_leave_other_requests_alone(server, api, config):
    server.faults.add(Fault(method="PATCH", status=500))
    assert api.post("configmaps", config()).status == 201


def test_an_answer_can_be_late(server, api):
    server.faults.add(Fault(path="/version", delay=0.5))
    began = time.monotonic()
    assert api.get("/version").status == 200
    assert time.monotonic() - began >= 0.5


def test_a_connection_can_drop_before_the_write(server, api, config):
    server.faults.add(Fault(method="POST", drop="before"))
    with pytest.raises(urllib3.exceptions.HTTPError):
        api.post("configmaps", config())
    assert api.get("configmaps/conf").status == 404


def test_a_connection_can_drop_after_the_write(server, api, config):
    server.faults.add(Fault(method="POST", drop="after"))
    with pytest.raises(urllib3.exceptions.HTTPError):
        api.post("configmaps", config())
    assert api.get("configmaps/conf").status == 200


def test_rules_can_be_set_over_http(api, config):
    rules = [{"path": "configmaps", "status": 503, "message": "try later"}]
    assert api.put("/_tidegate/faults", rules).body[0]["status"] == 503
    assert api.get("configmaps").message == "try later"
    assert api.get("/_tidegate/faults").body[0]["count"] == 0
    assert api.delete("/_tidegate/faults").body == []
    assert api.ask("POST", "/_tidegate/faults", {"unknown": 1}).status == 400


def test_every_request_is_logged_with_who_and_how(tmp_path, api, config):
    api.apply("configmaps/conf", config(a="1"), query="&dryRun=All")
    entry = logged(tmp_path)[-1]
    assert entry["method"] == "PATCH"
    assert entry["path"] == "/api/v1/namespaces/shop/configmaps/conf"
    assert (entry["status"], entry["userAgent"], entry["fieldManager"]) == (201, "tests/1.0", "alice")
    assert entry["dryRun"] is True
    assert entry["query"]["dryRun"] == "All"
    assert abs(entry["ts"] - time.time()) < 60


def test_dropped_requests_are_logged_as_zero(server, tmp_path, api):
    server.faults.add(Fault(path="/version", drop="before"))
    with pytest.raises(urllib3.exceptions.HTTPError):
        api.get("/version")
    assert logged(tmp_path)[-1]["status"] == 0


def test_a_hook_sees_every_request(server, api):
    seen = []
    server.on_request = lambda *request: seen.append(request)
    api.get("configmaps")
    assert seen == [("GET", "/api/v1/namespaces/shop/configmaps", 200, "tests/1.0")]


def test_a_watch_can_break_off(server, api):
    server.faults.add(Fault(path="watch=1", drop="stream", delay=0.2))
    with pytest.raises(urllib3.exceptions.ProtocolError):
        api.watch("configmaps?watch=1&timeoutSeconds=30")
