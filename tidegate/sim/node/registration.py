"""The Node object: registered, kept Ready, and its Lease renewed, as kubelet does."""

from __future__ import annotations

import os
import platform
import threading
from importlib.metadata import version

import psutil

from tidegate.errors import Conflict, NotFound, OutsideError
from tidegate.sim.client import LEASES, NODES, AlreadyExists, Client, Object, micro_timestamp, timestamp

LEASE_NAMESPACE = "kube-node-lease"
RENEW_SECONDS = 10
LEASE_SECONDS = 40
STATUS_SECONDS = 300


class Registration:
    """Announces one node and keeps it alive on a thread of its own."""

    def __init__(self, client: Client, name: str, port: int) -> None:
        self._client = client
        self._name = name
        self._port = port
        self._stopping = threading.Event()
        self._told = 0
        self._thread = threading.Thread(target=self._renew, name="node-lease", daemon=True)

    def start(self) -> None:
        """Registers now (raises when the API server refuses) and renews from then on."""
        self.register()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def register(self) -> None:
        body = {"metadata": {"name": self._name, "labels": _labels(self._name)}, "spec": {}}
        try:
            self._client.create(NODES, body)
        except AlreadyExists:
            self._client.patch(NODES, None, self._name, {"metadata": {"labels": _labels(self._name)}})
        self._client.patch(NODES, None, self._name, {"status": node_status(self._name, self._port)}, "status")
        self._lease()

    def _renew(self) -> None:
        while not self._stopping.wait(RENEW_SECONDS):
            try:
                self._lease()
                self._told += RENEW_SECONDS
                if self._told >= STATUS_SECONDS:
                    self._told = 0
                    self.register()
            except OutsideError:
                continue

    def _lease(self) -> None:
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": micro_timestamp(),
        }
        try:
            self._client.patch(LEASES, LEASE_NAMESPACE, self._name, {"spec": spec})
        except NotFound:
            self._first_lease(spec)

    def _first_lease(self, spec: Object) -> None:
        body = {"metadata": {"name": self._name, "namespace": LEASE_NAMESPACE}, "spec": spec}
        try:
            self._client.create(LEASES, body)
        except NotFound:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
            self._client.request("POST", "/api/v1/namespaces", namespace)
            self._client.create(LEASES, body)
        except Conflict:
            return


def _labels(name: str) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": platform.system().lower(),
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(
            platform.machine(), platform.machine()
        ),
        "tidegate.dev/node": "embedded",
    }


def node_status(name: str, port: int) -> Object:
    now, own = timestamp(), version("tidegate")
    capacity = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{psutil.virtual_memory().total // 1024}Ki",
        "pods": "110",
    }
    pressures = {"MemoryPressure": "Memory", "DiskPressure": "Disk", "PIDPressure": "PID"}
    conditions = [
        _condition(kind, "False", f"KubeletHasSufficient{what}", f"kubelet has sufficient {what}", now)
        for kind, what in pressures.items()
    ]
    return {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [*conditions, _condition("Ready", "True", "KubeletReady", "node agent is ready", now)],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "kubeletVersion": f"tidegate-{own}",
            "kubeProxyVersion": f"tidegate-{own}",
            "containerRuntimeVersion": f"tidegate-process://{own}",
            "operatingSystem": platform.system().lower(),
            "osImage": platform.platform(),
            "kernelVersion": platform.release(),
            "architecture": _labels(name)["kubernetes.io/arch"],
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> Object:
    stamps = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return {"type": kind, "status": status, "reason": reason, "message": message, **stamps}
