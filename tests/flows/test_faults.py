"""What goes wrong around a delivery, and what the stage looks like afterwards."""

from __future__ import annotations

import shutil
import sys
import time

import yaml

from tests.flows.town import Shop, Town, eventually, living, outcome
from tidegate.domain.records import Kind
from tidegate.running.processes import Processes
from tidegate.running.up import ROOT, program_path


def test_the_first_release_that_fails_is_held_and_a_newer_one_helps(the_town: Town) -> None:
    shop = Shop(the_town, "first", replicas=1, canary=False, stages=("production",))
    the_town.admit("first")
    shop.release("1", ready=False)
    bad = the_town.run("deliver", app="first")
    assert bad["name"] == "RolledBack", bad
    assert "verification failed" in bad["message"]
    assert the_town.run("deliver", app="first")["name"] == "Held"
    shop.release("2")
    assert the_town.run("deliver", app="first")["name"] == "Completed"
    assert shop.version() == "2"


def test_a_first_release_is_live_only_when_its_thresholds_say_so(the_town: Town) -> None:
    shop = Shop(the_town, "debut", replicas=1, stages=("production",), thresholds=True)
    the_town.admit("debut")
    made = shop.release("1", bad=0.5)
    bad = the_town.run("deliver", app="debut")
    assert bad["name"] == "RolledBack", bad
    assert shop.records("production", Kind.Sync) == []
    assert {r.release for r in shop.records("production", Kind.Hold)} == {made.id}
    shop.release("2")
    good = the_town.run("deliver", app="debut")
    assert good["name"] == "Completed", good
    assert shop.version() == "2"
    assert [r.kind for r in shop.records("production")][-4:] == [
        Kind.Promotion,
        Kind.Shift,
        Kind.Verdict,
        Kind.Sync,
    ]


def test_without_a_registry_no_commit_names_an_image(the_town: Town) -> None:
    shop = Shop(the_town, "unpublished", replicas=1, canary=False)
    the_town.admit("unpublished")
    path = the_town.fleet / "unpublished.yaml"
    there = path.read_text()
    spec = yaml.safe_load(there)
    spec["integrate"]["build"]["image"] = "127.0.0.1:9/unpublished"
    path.write_text(yaml.safe_dump(spec))
    shop.push("1")
    refs = shop.refs()
    end = the_town.run("pipeline", app="unpublished")
    assert end["type"] == "FAILED", end
    assert "127.0.0.1:9" in end["message"]
    assert shop.records("", Kind.Release) == []
    assert shop.refs()["refs/heads/main"] == refs["refs/heads/main"]
    path.write_text(there)
    assert the_town.run("pipeline", app="unpublished")["name"] == "Completed"
    assert shop.version() == "1"


def test_two_deliveries_at_once_do_everything_once(the_town: Town) -> None:
    shop = Shop(the_town, "twice", replicas=1, canary=False)
    the_town.admit("twice")
    shop.release("1")
    both = [the_town.play("deliver", app="twice") for _ in range(2)]
    ends = [outcome(process) for process in both]
    assert {e["type"] for e in ends} == {"COMPLETED"}, ends
    assert the_town.run("deliver", app="twice")["name"] == "Completed"
    for stage in ("staging", "production"):
        kinds = [r.kind for r in shop.records(stage)]
        assert kinds == [Kind.Promotion, Kind.Sync], kinds
    assert shop.deployments()["shop"]["metadata"]["generation"] == 1


def test_a_prefect_server_that_restarts_in_the_middle_is_not_noticed_by_the_release(the_town: Town) -> None:
    shop = living(the_town, "restart")
    shop.release("2")
    running = the_town.play("deliver", app="restart")
    eventually("a canary runs", lambda: "shop-canary" in shop.deployments())
    server = the_town.processes.children["prefect-server"]
    server.popen.kill()
    server.popen.wait()
    time.sleep(1)
    server.start()
    the_town.up.wait_server(the_town.platform)
    outcome_or_crash(running)
    assert the_town.run("deliver", app="restart")["name"] in ("Completed", "Held")
    eventually("2 is live", lambda: shop.version() == "2")
    assert len(shop.records("production", Kind.Promotion)) == 2


def outcome_or_crash(process) -> None:  # type: ignore[no-untyped-def]
    """The run may finish or give up while its server is away; both are fine, Git and cluster decide."""
    process.communicate(timeout=240)


def test_with_the_database_deleted_and_everything_killed_the_next_push_goes_on(the_town: Town) -> None:
    shop = Shop(the_town, "phoenix", replicas=1, canary=False)
    the_town.admit("phoenix")
    shop.release("1")
    assert the_town.run("deliver", app="phoenix")["name"] == "Completed"
    kill(the_town, "prefect-server", "cluster")
    shutil.rmtree(the_town.platform.home)
    shutil.rmtree(the_town.home / "state" / "mirrors")
    the_town.processes.children["cluster"].start()

    with Processes(the_town.home / "again") as processes:
        env = {**the_town.env, "PATH": program_path(), "PYTHONUNBUFFERED": "1"}
        env["PREFECT_API_URL"] = ""
        up = processes.start(
            "up", [sys.executable, "-m", "tidegate.running.up"], env=env, cwd=ROOT, restart=False
        )
        eventually("it is up", lambda: "The runner is up" in up.log.read_text(), seconds=120)
        shop.push("2")
        eventually("2 is live", lambda: _answers(shop) == "2", seconds=240)
        eventually("it is on record", lambda: len(shop.records("production", Kind.Sync)) == 2)
    the_town.processes.children["prefect-server"].start()
    the_town.up.wait_server(the_town.platform)
    the_town.registered = False  # its database is new
    assert [r.kind for r in shop.records("production")] == [Kind.Promotion, Kind.Sync] * 2


def kill(town: Town, *names: str) -> None:
    for name in names:
        child = town.processes.children[name]
        child.popen.kill()
        child.popen.wait()


def _answers(shop: Shop) -> str:
    try:
        return shop.version()
    except OSError:
        return ""
