"""A commit goes all the way, a bad one comes back, and looking again changes nothing."""

from __future__ import annotations

from tests.flows.town import WRITES, Shop, Town
from tidegate.domain.records import Kind


def is_ours(request: dict[str, str]) -> bool:
    """Whether Tidegate itself asked; the embedded cluster's own parts say `tidegate-sim-…`."""
    return str(request["userAgent"]).split("/")[0] == "tidegate"


def test_a_good_release_reaches_production_and_a_bad_one_is_undone(the_town: Town) -> None:
    shop = Shop(the_town, "shop")
    the_town.admit("shop")
    shop.push("1")
    first = the_town.run("pipeline", app="shop")
    assert first["type"] == "COMPLETED", first
    assert shop.version("staging") == "1", first["log"]
    good = shop.live_image()

    shop.push("2", bad=0.2)
    second = the_town.run("pipeline", app="shop")
    assert (second["type"], second["name"]) == ("FAILED", "RolledBack"), second
    assert shop.version("staging") == "2"
    assert shop.live_image() == good
    assert set(shop.deployments()) == {"shop"}
    assert [r.kind for r in shop.records("production")][-4:] == [
        Kind.Verdict,
        Kind.Hold,
        Kind.Rollback,
        Kind.Sync,
    ]

    shop.push("3")
    third = the_town.run("pipeline", app="shop")
    assert third["type"] == "COMPLETED", third
    assert shop.version() == "3"
    shifts = shop.records("production", Kind.Shift)
    bad, better = list(dict.fromkeys(r.release for r in shifts))
    assert [r.data["weight"] for r in shifts if r.release == better] == [20, 50]
    assert shifts[0].data["weight"] == 20  # how far the bad one came is a matter of speed
    assert {r.release for r in shop.records("production", Kind.Hold)} == {bad}

    refs, seen = shop.refs(), len(the_town.requests())
    again = the_town.run("deliver", app="shop")
    assert again["type"] == "COMPLETED", again
    writes = [r for r in the_town.requests()[seen:] if r["method"] in WRITES and is_ours(r)]
    assert writes == []
    assert shop.refs() == refs
