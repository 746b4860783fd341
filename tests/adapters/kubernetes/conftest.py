"""A real API server for every test, a target that talks to it, and a record of what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.targets.kubernetes import Cluster, Settings, build
from tidegate.domain.manifests import Manifest, Ref, read
from tidegate.domain.plan import Owner, Plan, SyncResult
from tidegate.sim.apiserver import ApiServer

OWNER = Owner("shop", "production", "default")
READS = {"GET", "HEAD"}


@dataclass
class Requests:
    """What the server was asked: (method, path)."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def clear(self) -> None:
        self.seen.clear()

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.seen if method not in READS]


@dataclass
class World:
    """One API server with one stage on it."""

    server: ApiServer
    cluster: Cluster
    requests: Requests
    owner: Owner = OWNER

    def deploy(self, text: str, *, fence: Callable[[], None] = lambda: None) -> tuple[Plan, SyncResult]:
        """Look and apply."""
        plan = self.look(text)
        return plan, self.cluster.apply(self.owner, plan, fence=fence)

    def look(self, text: str) -> Plan:
        return self.cluster.look(self.owner, read(text.encode(), "test.yaml"))

    def get(self, kind: str, name: str, group: str = "", namespace: str = "shop") -> Manifest | None:
        at = Ref(group, kind, namespace, name)
        return self.cluster.read([at]).get(at)

    def put(self, text: str, manager: str = "kubectl") -> list[Manifest]:
        """Objects by somebody else's hand."""
        return [self.patch(m, manager) for m in read(text.encode(), "other.yaml")]

    def patch(self, manifest: Manifest, manager: str, subresource: str = "") -> Manifest:
        objects = self.cluster._objects
        from tidegate.adapters.targets.kubernetes.rest import Request
        from tidegate.domain.manifests import ref

        path = objects.path(ref(manifest)) + (f"/{subresource}" if subresource else "")
        query = {"fieldManager": manager, "force": "true"}
        return objects.rest.send(
            Request("PATCH", path, "setup", query, manifest, "application/apply-patch+yaml")
        )

    def set_status(self, manifest: Manifest, status: dict[str, Any]) -> Manifest:
        """Write a status the way a controller does."""
        bare = {k: manifest[k] for k in ("apiVersion", "kind")}
        meta = {k: manifest["metadata"][k] for k in ("name", "namespace")}
        return self.patch({**bare, "metadata": meta, "status": status}, "controller", "status")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> Path:
    return server.write_kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def world(server: ApiServer, kubeconfig: Path) -> World:
    cluster = build(Settings(kubeconfig=kubeconfig, namespace="shop"))
    requests = Requests()
    made = World(server, cluster, requests)
    made.put("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    server.on_request = lambda method, path, status, agent: requests.seen.append((method, path))
    return made
