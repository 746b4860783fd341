"""A real API server for every test, a target that talks to it, and a record of what was asked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.kubernetes.jobs import Jobs
from tests.controlplane.build import Programs
from tests.controlplane.cluster import ControlPlane
from tidegate.adapters.targets.kubernetes import Cluster, Settings, build
from tidegate.domain.manifests import Manifest, Ref, read
from tidegate.domain.options import Phase, split
from tidegate.domain.plan import Owner, Plan, SyncResult
from tidegate.domain.schedule import EVERY_PHASE, Hooks
from tidegate.sim.apiserver import ApiServer

OWNER = Owner("shop", "production", "default")
READS = {"GET", "HEAD"}
CONTROLLERS = "garbage-collector-controller,namespace-controller"
VERBS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


@dataclass
class Requests:
    """What the server was asked: (method, path)."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def clear(self) -> None:
        self.seen.clear()

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.seen if method not in READS and not _of_status(path)]

    @property
    def names(self) -> list[str]:
        """`+name`, `~name` (any patch), `-name` of each write; the inventory left out."""
        signs = {"POST": "+", "PATCH": "~", "PUT": "~", "DELETE": "-"}
        told = [(signs[method], path.rpartition("/")[2]) for method, path in self.writes]
        return [sign + name for sign, name in told if not name.startswith("tidegate-")]


def _of_status(path: str) -> bool:
    return path.endswith("/status")


@dataclass
class Audit(Requests):
    """What a real server was asked for about one namespace, from its audit log."""

    log: Path = Path()
    namespace: str = ""
    start: int = 0

    def clear(self) -> None:
        self.start = self.log.stat().st_size

    @property
    def writes(self) -> list[tuple[str, str]]:
        mine = [(e["verb"], e["requestURI"]) for e in self._events() if "dryRun" not in e["requestURI"]]
        paths = [(VERBS[verb], uri.partition("?")[0]) for verb, uri in mine if verb in VERBS]
        return [(method, path) for method, path in paths if not _of_status(path)]

    @property
    def users(self) -> set[str]:
        """As whom everything was asked, also what only read; the Jobs' own controller left out."""
        asked = [e for e in self._events() if e["objectRef"]["resource"] != "jobs"]
        return {(e.get("impersonatedUser") or e["user"])["username"] for e in asked}

    def _events(self) -> list[dict[str, Any]]:
        with self.log.open("rb") as stream:
            stream.seek(self.start)
            events = [json.loads(line) for line in stream]
        here = f"/namespaces/{self.namespace}/"
        return [e for e in events if e.get("userAgent") == "tidegate" and here in e["requestURI"]]


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

    def sync(
        self,
        text: str,
        sync: str = "one",
        *,
        phases: frozenset[Phase] = EVERY_PHASE,
        fence: Callable[[], None] = lambda: None,
        seconds: float = 60.0,
    ) -> tuple[Plan, SyncResult]:
        """Look and apply, with the hooks that the text has."""
        kept, hooks = split(read(text.encode(), "test.yaml"))
        plan = self.cluster.look(self.owner, kept, hooks=Hooks(sync, tuple(hooks), phases))
        self.requests.clear()
        if not plan.acts and not plan.refusals:
            return plan, SyncResult()
        return plan, self.cluster.apply(self.owner, plan, fence=fence, deadline_seconds=seconds)

    def look(self, text: str) -> Plan:
        return self.cluster.look(self.owner, read(text.encode(), "test.yaml"))

    def get(self, kind: str, name: str, group: str = "", namespace: str = "") -> Manifest | None:
        at = Ref(group, kind, namespace or self.cluster.namespace, name)
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


@pytest.fixture(scope="session")
def plane(kubernetes_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real control plane without pods: Jobs are ended by `jobs.Jobs`, as on the embedded server."""
    home = tmp_path_factory.mktemp("plane")
    with ControlPlane(home, kubernetes_programs, CONTROLLERS, runs_pods=False) as running:
        yield running


_numbers = itertools.count(1)


@pytest.fixture(params=["embedded", "real"])
def either(request: pytest.FixtureRequest) -> Iterator[World]:
    """The same stage on the embedded API server and on a real one; its Jobs end by themselves."""
    if request.param == "embedded":
        found: World = request.getfixturevalue("world")
    else:
        found = _on_real(request.getfixturevalue("plane"))
    with Jobs(found.cluster._objects):
        yield found


@pytest.fixture
def kubeconfig_of(either: World) -> Path:
    """The administrator's kubeconfig of the server that `either` is on."""
    found: Path = either.cluster._settings.kubeconfig  # type: ignore[assignment]
    return found


def _on_real(plane: ControlPlane) -> World:
    name = f"shop-{next(_numbers)}"
    cluster = build(Settings(kubeconfig=plane.kubeconfig, namespace=name, create_namespace=True))
    cluster.prepare()
    return World(None, cluster, Audit(log=plane.audit_log, namespace=name))  # type: ignore[arg-type]
