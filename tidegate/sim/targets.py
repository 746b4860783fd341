"""The pods as a Prometheus target file (`file_sd_configs`), for builds of Prometheus without Kubernetes discovery.

Debian's package is such a build. The labels are exactly those of `kubernetes_sd_configs` with `role: pod`, so one set
of `relabel_configs` serves both; Prometheus notices a new file at once.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tidegate.sim.client import PODS, Object
from tidegate.sim.controllers.endpointslice import reachable_port
from tidegate.sim.controllers.pods import condition
from tidegate.sim.informer import Informers, controller_of

PREFIX = "__meta_kubernetes_"
GATHER_SECONDS = 0.2
"""Changes that come together are written together."""


class TargetFile:
    """Keeps `path` up to date with the pods; nothing is written while nothing changes."""

    def __init__(self, informers: Informers, path: Path) -> None:
        self.path = path
        self._pods = informers[PODS]
        self._pods.on_change(lambda *_: self._changed.set())
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prometheus-targets", daemon=True)
        self._written = b""

    def start(self) -> None:
        """Writes the file for the first time, and from then on when something has changed."""
        self._write()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait()
            self._stopping.wait(GATHER_SECONDS)
            self._changed.clear()
            self._write()

    def _write(self) -> None:
        text = json.dumps(groups(self._pods.all()), indent=1, sort_keys=True).encode()
        if text == self._written and self.path.exists():
            return
        part = self.path.with_suffix(".new")
        part.write_bytes(text)
        part.replace(self.path)
        self._written = text


def groups(pods: Iterable[Object]) -> list[dict[str, Any]]:
    """One target group per pod with an address and container port, in a stable order."""
    found = [group for pod in pods if (pod.get("status") or {}).get("podIP") for group in _of_pod(pod)]
    return sorted(found, key=lambda g: (g["labels"][f"{PREFIX}pod_uid"], g["targets"]))


def _of_pod(pod: Object) -> list[dict[str, Any]]:
    ip = pod["status"]["podIP"]
    common = pod_labels(pod)
    found = []
    ids = {s["name"]: s.get("containerID", "") for s in pod["status"].get("containerStatuses") or []}
    for container in pod["spec"].get("containers") or []:
        own = {
            f"{PREFIX}pod_container_id": ids.get(container["name"], ""),
            f"{PREFIX}pod_container_name": container["name"],
            f"{PREFIX}pod_container_image": container.get("image", ""),
            f"{PREFIX}pod_container_init": "false",
        }
        for port in container.get("ports") or []:
            number = int(port["containerPort"])
            labels = {
                f"{PREFIX}pod_container_port_name": port.get("name") or "",
                f"{PREFIX}pod_container_port_number": str(number),
                f"{PREFIX}pod_container_port_protocol": port.get("protocol") or "TCP",
            }
            address = f"{ip}:{reachable_port(pod, number)}"
            found.append({"targets": [address], "labels": {**common, **own, **labels}})
        if not container.get("ports"):
            found.append({"targets": [ip], "labels": {**common, **own}})
    return found


def pod_labels(pod: Object) -> dict[str, str]:
    """The meta labels Prometheus gives a pod (discovery/kubernetes/pod.go)."""
    meta, status = pod["metadata"], pod["status"]
    ready = condition(pod, "Ready") or {}
    owner = controller_of(pod) or {}
    plain = {
        "namespace": meta["namespace"],
        "pod_name": meta["name"],
        "pod_uid": meta["uid"],
        "pod_ip": status["podIP"],
        "pod_host_ip": status.get("hostIP", ""),
        "pod_node_name": pod["spec"].get("nodeName", ""),
        "pod_phase": status.get("phase", ""),
        "pod_ready": str(ready.get("status", "unknown")).lower(),
        "pod_controller_kind": owner.get("kind", ""),
        "pod_controller_name": owner.get("name", ""),
    }
    labels = {f"{PREFIX}{k}": v for k, v in plain.items() if v}
    return {
        **labels,
        **_copied("label", meta.get("labels")),
        **_copied("annotation", meta.get("annotations")),
    }


def _copied(kind: str, entries: Mapping[str, str] | None) -> dict[str, str]:
    found = {}
    for name, value in (entries or {}).items():
        safe = re.sub(r"[^a-zA-Z0-9_]", "_", name)
        found[f"{PREFIX}pod_{kind}_{safe}"] = value
        found[f"{PREFIX}pod_{kind}present_{safe}"] = "true"
    return found
