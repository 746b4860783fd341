"""The API server and Prometheus at their worst, and what a delivery makes of it."""

from __future__ import annotations

from pathlib import Path

from tests.adapters.servers.fault_proxy import FaultProxy
from tests.flows.town import Shop, Town, living
from tidegate.domain.records import Kind


def test_an_api_server_that_throttles_fails_and_hangs_up_gets_everything_once(
    the_town: Town, tmp_path: Path
) -> None:
    shop = Shop(the_town, "stormy", replicas=1, canary=False, stages=("production",))
    the_town.admit("stormy")
    with FaultProxy(the_town.cluster["url"]) as proxy:
        kubeconfig = tmp_path / "kubeconfig"
        there = Path(the_town.cluster["kubeconfig"]).read_text()
        kubeconfig.write_text(there.replace(the_town.cluster["url"], proxy.address))
        shop.change_stage(target={"kubeconfig": str(kubeconfig)})
        proxy.fail("status:429:1", times=2)
        proxy.fail("status:500", method="GET", times=2)
        proxy.fail("reset", method="GET", path="/deployments/")
        proxy.fail("drop_after_accept", path="/leases")
        proxy.fail("drop_after_accept", method="PATCH", path="/configmaps/")
        patched = "/deployments/shop?fieldManager=tidegate&force=true"
        proxy.fail("drop_after_accept", method="PATCH", path=patched)
        shop.release("1")
        end = the_town.run("deliver", app="stormy")
        assert end["name"] == "Completed", end
        assert [fault for fault in proxy.faults if fault.times] == []
    assert shop.version() == "1"
    assert [r.kind for r in shop.records("production")] == [Kind.Promotion, Kind.Sync]
    assert shop.deployments()["shop"]["metadata"]["generation"] == 1


def measured_by(shop: Shop, prometheus: str) -> None:
    """Let the gate ask this Prometheus from now on."""
    shop.change_stage(gate={"metrics": {"kind": "prometheus", "url": prometheus}})


def test_without_prometheus_no_canary_passes(the_town: Town) -> None:
    shop = living(the_town, "blind")
    measured_by(shop, "http://127.0.0.1:9")
    stays_without_evidence(shop)


def test_a_prometheus_that_talks_nonsense_lets_no_canary_pass(the_town: Town) -> None:
    shop = living(the_town, "nonsense")
    with FaultProxy(the_town.prometheus.url) as proxy:
        measured_by(shop, proxy.address)
        proxy.fail("status:200", times=10**6)  # 200, and a body that is no JSON
        stays_without_evidence(shop)


def stays_without_evidence(shop: Shop) -> None:
    shop.release("2")
    end = shop.town.run("deliver", app=shop.name)
    assert end["name"] == "RolledBack", end
    assert "no evidence" in end["message"]
    assert shop.version() == "1"
    assert set(shop.deployments()) == {"shop"}


def test_a_prometheus_that_is_slow_and_fails_at_first_only_delays_a_good_release(the_town: Town) -> None:
    shop = living(the_town, "patient")
    with FaultProxy(the_town.prometheus.url) as proxy:
        measured_by(shop, proxy.address)
        for action in ("status:503", "delay:2", "reset", "reset_mid:20", "status:200"):
            proxy.fail(action)
        shop.release("2")
        end = the_town.run("deliver", app="patient")
        assert end["name"] == "Completed", end
        assert [fault for fault in proxy.faults if fault.times] == []
    assert shop.version() == "2"
