"""The commands that act: on record with a name, refused with a reason, and never without the fence."""

from __future__ import annotations

from tests.cli.conftest import Shop


def states(shop: Shop) -> dict[str, str]:
    return {row["stage"]: row["live"][:7] for row in shop("status", "-o", "json").json}


def test_a_person_s_yes_no_and_yes_again_are_on_record_and_obeyed(own_shop: Shop) -> None:
    shop = own_shop
    assert (
        "nothing 9999999 waits" in shop("approve", "shop", "production", "--release", "9999999", code=1).err
    )
    said = shop("approve", "shop", "production", "--by", "grace", "-m", "looked at it").out
    assert said.startswith("grace approved in production (looked at it)")
    shop.deliver("production")
    assert states(shop) == {"staging": "2222222", "production": "2222222"}
    (*_, last) = shop("history", "shop", "--kind", "approval", "-o", "json").json
    assert (last["by"], last["data"]["reason"]) == ("grace", "looked at it")
    assert "nothing waits for approval" in shop("approve", "shop", "production", code=1).err

    said = shop("rollback", "shop", "production", "-m", "orders are slow", "--by", "ada").out
    assert "rolled back to 1111111-" in said
    assert "orders are slow" in said
    rows = {row["stage"]: row for row in shop("status", "-o", "json").json}
    assert rows["production"]["live"].startswith("1111111-")
    assert [h["release"][:7] for h in rows["production"]["held"]] == ["2222222"]
    refused = shop("promote", "shop", "production", "2222222", code=1).err
    assert refused.startswith("tidegate: 2222222-")
    assert "is held in production" in refused


def test_rollback_works_while_the_git_server_is_away(own_shop: Shop) -> None:
    shop = own_shop
    assert "begins with '77'" in shop("promote", "shop", "production", "77", code=1).err
    said = shop("promote", "shop", "production", "2222222", "--by", "ada").out
    assert "shop 2222222 promoted to production by commit" in said
    shop.deliver("production")
    assert states(shop)["production"] == "2222222"
    shop.git.stop()
    shop("rollback", "shop", "production", "-m", "night", "--by", "ada")
    shop.git.start()
    assert states(shop)["production"] == "1111111"


def test_names_that_are_not_there_get_the_likely_one(shop: Shop) -> None:
    assert shop("status", "shp", code=2).err == "tidegate: no application 'shp'; did you mean 'shop'?\n"
    assert shop("plan", "shop", "prod", code=2).err == (
        "tidegate: shop has no stage 'prod'; did you mean 'production'?\n"
    )
    assert (
        "no record of kind 'verdikt'; did you mean 'verdict'?"
        in shop("history", "shop", "--kind", "verdikt", code=2).err
    )


def test_run_without_a_server_says_how_to_get_one(shop: Shop) -> None:
    said = shop(
        "run", "shop", code=3, env={"PREFECT_API_URL": "", "PREFECT_HOME": str(shop.root / "prefect")}
    )
    assert said.err.splitlines()[-1] == (
        "tidegate: no Prefect server; start one with `tidegate up`, or set PREFECT_API_URL"
    )
    gone = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(shop.root / "prefect")}
    assert "Prefect at http://127.0.0.1:9/api does not answer" in shop("run", "shop", code=3, env=gone).err
