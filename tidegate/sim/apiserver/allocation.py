"""Cluster IPs and node ports of Services. What is taken is read from the store, so a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tidegate.sim.apiserver.failures import field_invalid, invalid
from tidegate.sim.apiserver.resources import SERVICES
from tidegate.sim.apiserver.store import Store

Object = dict[str, Any]
_NODE_PORTS: Final = range(30000, 32768)


def allocate(store: Store, service: Object) -> None:
    """Give the service what its type needs; what it already has stays. In place. Raises 422 for a taken address."""
    spec = service["spec"]
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP"):
        spec["clusterIP"] = _free_address(store)
    elif spec["clusterIP"] != "None" and spec["clusterIP"] in _addresses(store, service):
        causes = [
            field_invalid("spec.clusterIPs", [spec["clusterIP"]], "failed to allocate IP: already allocated")
        ]
        raise invalid("", "Service", service["metadata"]["name"], causes)
    spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _node_ports(store, service)


def _others(store: Store, service: Object) -> Iterator[Object]:
    mine = (service["metadata"].get("namespace", ""), service["metadata"].get("name", ""))
    return (stored.object["spec"] for name, stored in store.select(SERVICES) if name != mine)


def _addresses(store: Store, service: Object) -> set[str]:
    return {spec.get("clusterIP", "") for spec in _others(store, service)} - {"", "None"}


def _free_address(store: Store) -> str:
    taken = {stored.object["spec"].get("clusterIP") for _, stored in store.select(SERVICES)}
    candidates = (
        f"10.96.{high}.{low}" for high in range(256) for low in range(1, 255) if (high, low) > (0, 9)
    )
    return next(address for address in candidates if address not in taken)


def _node_ports(store: Store, service: Object) -> None:
    taken = {p.get("nodePort") for spec in _others(store, service) for p in spec.get("ports") or ()}
    free = (port for port in _NODE_PORTS if port not in taken)
    for port in service["spec"].get("ports") or ():
        if not port.get("nodePort"):
            port["nodePort"] = next(free)
