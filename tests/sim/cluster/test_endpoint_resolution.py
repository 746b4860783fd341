"""Which pods a Service sends to, and on which port."""

from __future__ import annotations

from typing import Any

from tidegate.sim.controllers.endpointslice import resolve, slices


def pod(name: str, *, ready: bool = True, leaving: bool = False, **annotations: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"}}
    meta["annotations"] = annotations
    if leaving:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": meta,
        "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {
            "podIP": f"127.0.1.{len(name)}",
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def service(*ports: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "s"},
        "spec": {"selector": {"app": "web"}, "ports": list(ports)},
    }


NAMED = {"name": "web", "port": 80, "targetPort": "http"}


def test_named_target_ports_are_looked_up_in_the_pod() -> None:
    assert resolve(service(NAMED), pod("a")) == (("web", "TCP", 8080),)
    assert resolve(service({"port": 80}), pod("a")) == (("", "TCP", 80),)
    assert resolve(service({"port": 80, "targetPort": "nothing"}), pod("a")) == ()


def test_only_ready_pods_that_are_not_leaving_take_traffic() -> None:
    found = slices(service(NAMED), [pod("a"), pod("bb", ready=False), pod("ccc", leaving=True)])
    (only,) = found.values()
    ready = {e["targetRef"]["name"]: e["conditions"]["ready"] for e in only["endpoints"]}
    assert ready == {"a": True, "bb": False, "ccc": False}


def test_pods_whose_ports_were_remapped_get_slices_of_their_own() -> None:
    found = slices(service(NAMED), [pod("a"), pod("bb", **{"tidegate.dev/port-8080": "40001"})])
    assert sorted(s["ports"][0]["port"] for s in found.values()) == [8080, 40001]
    assert all(len(s["endpoints"]) == 1 for s in found.values())


def test_a_service_without_pods_has_one_empty_slice() -> None:
    (only,) = slices(service(NAMED), []).values()
    assert only["endpoints"] == []
    assert only["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
