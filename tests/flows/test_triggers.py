"""Triggers: a push is enough; schedules fire, events carry parameters, a burst ends with its newest commit."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.flows.town import Shop, Town, eventually, living
from tidegate.domain.records import Kind
from tidegate.running.up import ROOT, client_settings, program_path


@pytest.fixture(scope="module")
def with_runner(the_town: Town) -> Iterator[Town]:
    Shop(the_town, "standing", replicas=1, canary=False)
    the_town.admit("standing")
    the_town.up.runner(the_town.platform)
    yield the_town
    the_town.up.stop_runner()


def runs(town: Town, flow: str) -> list[dict]:  # type: ignore[type-arg]
    body = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 200}
    found: list[dict] = town.prefect("/flow_runs/filter", body)  # type: ignore[type-arg]
    return found


def test_a_burst_of_pushes_ends_with_the_newest_one_live(with_runner: Town) -> None:
    shop = Shop(with_runner, "burst", replicas=1, canary=False)
    with_runner.admit("burst")
    for number in range(1, 6):
        newest = shop.push(str(number))
    eventually("the newest push is live in production", lambda: "5" in _version(shop), seconds=200)
    released = {r.data["revision"] for r in shop.records("", Kind.Release)}
    assert newest in released
    assert len(released) <= 3, "commits that were old before anybody looked need no release"

    def is_on_record() -> bool:
        live = [r.release for r in shop.records("production", Kind.Sync)]
        return bool(live) and live[-1].startswith(newest[:7])

    eventually("it is on record", is_on_record)
    assert any(r["state_type"] == "COMPLETED" for r in runs(with_runner, "git-sync")), "the schedule fired"
    started = [r for r in runs(with_runner, "pipeline") if r["parameters"].get("app") == "burst"]
    assert all(r["created_by"]["type"] == "AUTOMATION" for r in started)


def _version(shop: Shop) -> str:
    try:
        return shop.version()
    except OSError:
        return ""


def test_an_approval_event_starts_deliver_with_the_application_it_names(with_runner: Town) -> None:
    shop = Shop(with_runner, "event", replicas=1, canary=False)
    with_runner.admit("event")
    shop.release("1")
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "tidegate.approved",
        "resource": {"prefect.resource.id": "tidegate.stage.event.production"},
        "payload": {"app": "event"},
    }
    with_runner.prefect("/events", [event, event])
    eventually("it is live", lambda: _version(shop) == "1", seconds=120)
    started = [r for r in runs(with_runner, "deliver") if r["parameters"] == {"app": "event"}]
    assert len([r for r in started if r["created_by"] and r["created_by"]["type"] == "AUTOMATION"]) == 1


def test_a_cancelled_run_puts_the_last_good_release_back_and_holds_the_new_one(with_runner: Town) -> None:
    with with_runner.clocks_stopped():
        shop = living(with_runner, "cancelled")
        good, made = shop.live_image(), shop.release("2")
        starts = f"/deployments/{deployments(with_runner)['deliver']['id']}/create_flow_run"
        run = with_runner.prefect(
            starts, {"parameters": {"app": "cancelled"}, "state": {"type": "SCHEDULED"}}
        )
        eventually("a canary runs", lambda: "shop-canary" in shop.deployments())
        stop = {"type": "CANCELLING", "name": "Cancelling"}
        with_runner.prefect(f"/flow_runs/{run['id']}/set_state", {"state": stop})

        def ended() -> str:
            found = with_runner.prefect("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
            return str(found[0]["state_name"]) if found[0]["end_time"] else ""

        assert eventually("the run ends", ended) == "Cancelled"
        [hold] = shop.records("production", Kind.Hold)
        assert hold.release == made.id
        assert "the run was cancelled" in hold.message
        assert with_runner.run("deliver", app="cancelled")["name"] == "Completed"
    assert shop.live_image() == good
    assert set(shop.deployments()) == {"shop"}
    assert len(shop.records("production", Kind.Rollback)) == 1


def test_registering_twice_changes_nothing_and_prefect_deploy_agrees(with_runner: Town) -> None:
    before = deployments(with_runner)
    with_runner.up.register(with_runner.platform)
    again = deployments(with_runner)
    assert {n: d["id"] for n, d in again.items()} == {n: d["id"] for n, d in before.items()}
    assert _told(again) == _told(before)
    automations = with_runner.prefect("/automations/filter", {})
    assert len(automations) == len({a["name"] for a in automations})
    env = {
        **os.environ,
        **with_runner.env,
        **client_settings(with_runner.platform.home, with_runner.platform.api),
        "PATH": program_path(),
    }
    env.pop("TIDEGATE_POLL")
    words = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = deployments(with_runner)
    told, expected = _told(after), _told(before)
    assert {what: told[what] for what in told if told[what] != expected[what]} == {}


def deployments(town: Town) -> dict[str, dict]:  # type: ignore[type-arg]
    found = town.prefect("/deployments/filter", {"limit": 200})
    return {d["name"]: d for d in found}


def _told(found: dict[str, dict]) -> dict[str, object]:  # type: ignore[type-arg]
    """What both ways of registering must agree on."""
    names = ("entrypoint", "parameters", "parameter_openapi_schema", "tags", "work_pool_name", "description")
    names += ("pull_steps", "concurrency_options", "paused", "job_variables")
    return {
        f"{deployment} {name}": value
        for deployment, d in found.items()
        for name, value in [*((n, d[n]) for n in names), ("limit", _limit(d)), ("slugs", _slugs(d))]
    }


def _limit(deployment: dict) -> object:  # type: ignore[type-arg]
    return (deployment.get("global_concurrency_limit") or {}).get("limit")


def _slugs(deployment: dict) -> list[str]:  # type: ignore[type-arg]
    return sorted(s["slug"] for s in deployment["schedules"])
