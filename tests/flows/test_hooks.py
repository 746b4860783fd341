"""Hooks as whole flows: they run once for each release, at their place, and one that fails keeps the release out."""

from __future__ import annotations

from tests.flows.town import WRITES, Shop, Town, living
from tidegate.domain.records import Kind


def written(town: Town, shop: Shop, since: int) -> list[str]:
    """Objects that Tidegate itself wrote, in order, each once for each time in a row."""
    place = f"/namespaces/{shop.namespace('production')}/"
    ours = [r for r in town.requests()[since:] if str(r["userAgent"]) == "tidegate" and not r["dryRun"]]
    paths = [
        str(r["path"]).partition("?")[0] for r in ours if r["method"] in WRITES and place in str(r["path"])
    ]
    names = [path.rpartition("/")[2] for path in paths]
    return [name for name, before in zip(names, ["", *names], strict=False) if name != before]


def test_hooks_run_before_the_canary_and_after_its_end_and_a_failing_one_keeps_a_release_out(
    the_town: Town,
) -> None:
    shop = living(the_town, "hooked", hooks=True)
    good = shop.live_image()

    seen = len(the_town.requests())
    spoilt = shop.release("2-spoilt")
    second = the_town.run("deliver", app="hooked")
    assert second["name"] == "RolledBack", second["log"]
    assert "PreSync hook Job hooked-production/migrate failed" in second["message"]
    assert shop.live_image() == good
    assert "shop" not in written(the_town, shop, seen), "the workload was never touched"
    assert shop.records("production", Kind.Hold)[-1].release == spoilt.id

    seen = len(the_town.requests())
    shop.release("3")
    third = the_town.run("deliver", app="hooked")
    assert third["name"] == "Completed", third["log"]
    assert shop.version() == "3"
    names = ("migrate", "shop-canary", "shop", "announce")
    order = [name for name in written(the_town, shop, seen) if name in names]
    first = [order.index(name) for name in names]
    assert first == sorted(first), order
