"""People: approve, promote, roll back; on record with their names."""

from __future__ import annotations

import yaml

from tests.flows.town import Shop, Town, living
from tidegate.domain.records import Kind


def test_a_stage_that_needs_approval_waits_for_a_name(the_town: Town) -> None:
    shop = Shop(the_town, "asking", approval=True, canary=False, replicas=1)
    the_town.admit("asking")
    made = shop.release("1")
    waiting = the_town.run("deliver", app="asking")
    assert (waiting["type"], waiting["name"]) == ("COMPLETED", "Held"), waiting
    assert "waits for approval in production: 0 of 1" in waiting["message"]
    assert shop.records("production", Kind.Promotion) == []
    again = the_town.run("deliver", app="asking")
    assert again["name"] == "Held"
    assert len(shop.records("production", Kind.Hold)) == 1

    said = the_town.run("approve", app="asking", stage="production", by="Ada", reason="looks good")
    assert said["type"] == "COMPLETED", said
    done = the_town.run("deliver", app="asking")
    assert done["name"] == "Completed", done
    assert shop.version() == "1"
    [approval] = shop.records("production", Kind.Approval)
    assert (approval.by, approval.release) == ("Ada", made.id)
    [promotion] = shop.records("production", Kind.Promotion)
    assert promotion.by == "Ada"


def test_a_rollback_needs_neither_source_nor_registry_nor_prometheus(the_town: Town) -> None:
    shop = Shop(the_town, "undone", replicas=1, canary=False)
    the_town.admit("undone")
    for version in ("1", "2"):
        shop.release(version)
        assert the_town.run("deliver", app="undone")["name"] == "Completed"
    assert shop.version() == "2"
    path = the_town.fleet / "undone.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["source"]["git"] = "http://127.0.0.1:9/nowhere.git"
    spec["integrate"]["build"]["image"] = "127.0.0.1:9/undone"
    path.write_text(yaml.safe_dump(spec))

    done = the_town.run("rollback", app="undone", stage="production", by="Bob", reason="it feels slow")
    assert done["type"] == "COMPLETED", done
    assert shop.version() == "1"
    assert shop.config_log()[0].startswith("Roll back undone in production")
    [hold] = shop.records("production", Kind.Hold)
    assert hold.by == "Bob"
    assert the_town.run("deliver", app="undone")["name"] == "Completed"
    assert shop.version() == "1", "a held release does not come back by itself"


def test_a_person_may_let_a_failed_release_live(the_town: Town) -> None:
    shop = living(the_town, "pardoned")
    made = shop.release("2", bad=0.3)
    assert the_town.run("deliver", app="pardoned")["name"] == "RolledBack"
    assert shop.version() == "1"
    wrong = the_town.run("approve", app="pardoned", stage="production", by="Eve", release="0000000")
    assert wrong["type"] == "FAILED"
    assert "nothing 0000000 waits for approval" in wrong["message"]

    said = the_town.run("approve", app="pardoned", stage="production", by="Eve", release=made.id)
    assert said["type"] == "COMPLETED", said
    assert the_town.run("deliver", app="pardoned")["name"] == "Completed"
    assert shop.version() == "2"
    assert set(shop.deployments()) == {"shop"}
    assert the_town.run("deliver", app="pardoned")["name"] == "Completed", "it stays"
    assert shop.version() == "2"


def test_a_newer_release_goes_past_a_hold(the_town: Town) -> None:
    shop = Shop(the_town, "newer", replicas=1, canary=False)
    the_town.admit("newer")
    shop.release("1")
    assert the_town.run("deliver", app="newer")["name"] == "Completed"
    shop.release("2", ready=False)
    bad = the_town.run("deliver", app="newer")
    assert bad["name"] == "RolledBack", bad
    assert shop.version("staging") == "1"
    shop.release("3")
    assert the_town.run("deliver", app="newer")["name"] == "Completed"
    assert shop.version() == "3"
