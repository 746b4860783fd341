"""EndpointSlices: for each Service the ready pods it selects, with the ports they really listen on.

As upstream, endpoints whose ports resolve differently go into different slices. That also serves pods whose ports
were remapped by the node agent (see `tidegate.sim.node.network`): the annotation on the pod tells the real number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tidegate.errors import NotFound
from tidegate.sim.client import ENDPOINT_SLICES, PODS, SERVICES, AlreadyExists, Client, Object
from tidegate.sim.controllers.pods import is_deleting, is_ready, owner_reference, phase
from tidegate.sim.informer import Informers, Key

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
PORT_ANNOTATION = "tidegate.dev/port-"
"""`tidegate.dev/port-8080: "41234"` on a pod: container port 8080 is reachable at 41234."""

Ports = tuple[tuple[str, str, int], ...]
"""(name, protocol, number) per service port."""


class EndpointSliceController:
    """Keeps the slices of every Service that has a selector."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._services = informers[SERVICES]
        self._pods = informers[PODS]
        self._slices = informers[ENDPOINT_SLICES]

    def services_of(self, pod: Object) -> list[Key]:
        """The Services that select the pod."""
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        return [
            (meta["namespace"], s["metadata"]["name"])
            for s in self._services.all(meta["namespace"])
            if selects(s, labels)
        ]

    def reconcile(self, key: Key) -> float | None:
        service = self._services.get(*key)
        if service is None or is_deleting(service) or not service["spec"].get("selector"):
            return None
        wanted = slices(service, [p for p in self._pods.all(key[0]) if _counts(service, p)])
        mine = [s for s in self._slices.all(key[0]) if _is_ours(s, key[1])]
        unused = [s for s in mine if s["metadata"]["name"] not in wanted]
        for name, body in wanted.items():
            self._write(name, body)
        for old in unused:
            self._remove(old)
        return None

    def _write(self, name: str, body: Object) -> None:
        namespace = body["metadata"]["namespace"]
        live = self._slices.get(namespace, name)
        if live is None:
            try:
                self._slices.remember(self._client.create(ENDPOINT_SLICES, body))
            except AlreadyExists:
                self._slices.remember(self._client.get(ENDPOINT_SLICES, namespace, name))
                raise
        elif any(live.get(field) != body[field] for field in ("endpoints", "ports")):
            merged = {**live, "endpoints": body["endpoints"], "ports": body["ports"]}
            self._slices.remember(self._client.update(ENDPOINT_SLICES, merged))

    def _remove(self, old: Object) -> None:
        meta = old["metadata"]
        with contextlib.suppress(NotFound):
            self._client.delete(ENDPOINT_SLICES, meta["namespace"], meta["name"])
        self._slices.forget(old)


def selects(service: Object, labels: Mapping[str, str]) -> bool:
    selector = service["spec"].get("selector") or {}
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def slices(service: Object, pods: list[Object]) -> dict[str, Object]:
    """Slice name → EndpointSlice; one per distinct set of resolved ports, `<service>-<hash>`; never none at all."""
    groups: dict[Ports, list[Object]] = {}
    for pod in pods:
        groups.setdefault(resolve(service, pod), []).append(pod)
    if not groups:
        groups[()] = []
    return {
        name: body for ports, members in groups.items() for name, body in [_slice(service, ports, members)]
    }


def resolve(service: Object, pod: Object) -> Ports:
    """The numbers a pod answers on for each service port; ports it does not have are left out."""
    found = []
    for port in service["spec"].get("ports") or []:
        number = _target(port, pod)
        if number is not None:
            found.append((port.get("name") or "", port.get("protocol") or "TCP", reachable_port(pod, number)))
    return tuple(found)


def reachable_port(pod: Object, number: int) -> int:
    """The port at which container port `number` is reached at the pod's address."""
    annotated = (pod["metadata"].get("annotations") or {}).get(f"{PORT_ANNOTATION}{number}", "")
    return int(annotated) if annotated.isdigit() else number


def _target(port: Mapping[str, Any], pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int) or str(target).isdigit():
        return int(target)
    for container in pod["spec"].get("containers") or []:
        for declared in container.get("ports") or []:
            same = (declared.get("protocol") or "TCP") == (port.get("protocol") or "TCP")
            if declared.get("name") == target and same:
                return int(declared["containerPort"])
    return None


def _slice(service: Object, ports: Ports, pods: list[Object]) -> tuple[str, Object]:
    meta = service["metadata"]
    suffix = _suffix(ports)
    name = f"{meta['name']}-{suffix}"
    ordered = sorted(pods, key=lambda p: p["metadata"]["name"])
    body = {
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {**(meta.get("labels") or {}), SERVICE_LABEL: meta["name"], MANAGED_BY: CONTROLLER},
            "ownerReferences": [owner_reference(service, SERVICES)],
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(service, pod) for pod in ordered],
        "ports": [{"name": n, "protocol": protocol, "port": number} for n, protocol, number in ports],
    }
    return name, body


def _suffix(ports: Ports) -> str:
    safe = "bcdfghjklmnpqrstvwxz2456789"
    digest = hashlib.sha256(json.dumps(ports).encode()).digest()
    return "".join(safe[byte % len(safe)] for byte in digest[:5])


def _endpoint(service: Object, pod: Object) -> Object:
    meta = pod["metadata"]
    serving = is_ready(pod)
    ready = (serving and not is_deleting(pod)) or bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": is_deleting(pod)},
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
    }


def _counts(service: Object, pod: Object) -> bool:
    if not selects(service, pod["metadata"].get("labels") or {}) or phase(pod) in ("Succeeded", "Failed"):
        return False
    return bool((pod.get("status") or {}).get("podIP"))


def _is_ours(found: Object, service: str) -> bool:
    labels = found["metadata"].get("labels") or {}
    return labels.get(SERVICE_LABEL) == service and labels.get(MANAGED_BY) == CONTROLLER
