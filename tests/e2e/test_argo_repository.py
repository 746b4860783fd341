"""A repository written for Argo CD, as it is, on a real Kubernetes: deployed, changed, pruned, rolled back.

The order of writes is read from the API server's audit log.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.build import Programs
from tests.controlplane.cluster import ControlPlane
from tests.sim.cluster.embedded import push_server
from tidegate.adapters.health_scripts import from_folder
from tidegate.adapters.lua import Scripted
from tidegate.adapters.renderers import helm, kustomize
from tidegate.adapters.targets.kubernetes import Cluster, Settings, build
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.manifests import Manifest, Ref, ref
from tidegate.domain.options import split
from tidegate.domain.plan import Owner, SyncResult
from tidegate.domain.schedule import Hooks
from tidegate.sim.registry import Registry

ARGO = Path(__file__).parent / "argo"
FILES = {str(path.relative_to(ARGO)): path.read_bytes() for path in sorted(ARGO.rglob("*")) if path.is_file()}
SHOP, WIDGETS = Owner("shop", "production", "default"), Owner("widgets", "production", "default")
PATIENCE = 120.0


@dataclass
class Place:
    """One namespace of the real cluster, and what was written there."""

    plane: ControlPlane
    cluster: Cluster
    image: str

    def render(self, files: dict[str, bytes]) -> list[Manifest]:
        text = {
            path: data.replace(b"image: server", f"image: {self.image}".encode())
            for path, data in files.items()
        }
        return kustomize.build(kustomize.Settings()).render(text, "apps/shop/overlays/production")

    def sync(
        self, owner: Owner, manifests: list[Manifest], name: str
    ) -> tuple[SyncResult, Health, list[str]]:
        """Deploy as a release does; also the names that were written, in order, each where it came first."""
        custom = Scripted(from_folder(ARGO / "health"))
        kept, hooks = split(manifests)
        plan = self.cluster.look(owner, kept, hooks=Hooks(name, tuple(hooks)))
        start = self.plane.audit_log.stat().st_size
        result = self.cluster.apply(owner, plan, fence=lambda: None, deadline_seconds=PATIENCE, custom=custom)
        seen = self.cluster.wait(
            [ref(m) for m in kept], deadline_seconds=PATIENCE, interrupted=lambda: None, custom=custom
        )
        return result, seen, list(dict.fromkeys(self._written(start)))

    def _written(self, start: int) -> Iterator[str]:
        with self.plane.audit_log.open("rb") as stream:
            stream.seek(start)
            events = [json.loads(line) for line in stream]
        for event in events:
            verb, uri = event["verb"], event["requestURI"]
            if (
                event.get("userAgent") == "tidegate"
                and verb in ("create", "patch", "delete")
                and "dryRun" not in uri
            ):
                name = uri.partition("?")[0].rpartition("/")[2]
                if not name.startswith("tidegate-"):
                    yield f"-{name}" if verb == "delete" else name

    def get(self, kind: str, name: str, group: str = "") -> dict[str, Any] | None:
        at = Ref(group, kind, self.cluster.namespace, name)
        return self.cluster.read([at]).get(at)

    def names(self, api: str, kind: str) -> set[str]:
        return {live["metadata"]["name"] for live in self.cluster.list(api, kind)} - {"kube-root-ca.crt"}


@pytest.fixture(scope="module")
def place(kubernetes_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("argo")
    registry = Registry(home / "registry")
    registry.start()
    try:
        image = push_server(registry.address)
        with ControlPlane(home / "plane", kubernetes_programs) as plane:
            cluster = build(Settings(kubeconfig=plane.kubeconfig, namespace="argo", create_namespace=True))
            cluster.prepare()
            yield Place(plane, cluster, image)
    finally:
        registry.stop()


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    """The repository without some of the objects of `settings.yaml`."""
    path = "apps/shop/base/settings.yaml"
    documents = files[path].decode().split("---\n")
    left = [d for d in documents if not any(f"name: {name}" in d for name in names)]
    return {**files, path: "---\n".join(left).encode()}


def in_groups(written: list[str], sizes: tuple[int, ...]) -> list[set[str]]:
    """The names in groups of these sizes: objects of one kind go at once, in any order."""
    names = iter(written)
    groups = [set(itertools.islice(names, size)) for size in sizes]
    return [*groups, *({name} for name in names)]


def test_an_argo_cd_repository_is_deployed_changed_pruned_and_rolled_back(place: Place) -> None:
    one = place.render(FILES)
    result, seen, written = place.sync(SHOP, one, "one")
    assert (result.failure, result.problems, seen.status) == ("", (), HealthStatus.Healthy)
    assert in_groups(written, (1, 1, 1, 1, 2, 1, 2, 1, 2)) == [
        {"check"},
        {"migrate"},
        {"settings"},
        {"web"},
        {"archive", "frozen"},
        {"seed"},
        {"banner", "cellar"},
        {"smoke"},
        {"-check", "-smoke"},
    ]
    assert place.names("batch/v1", "Job") == {"migrate", "seed"}

    changed = without(FILES, "banner", "cellar", "archive")
    path = "apps/shop/base/settings.yaml"
    changed[path] = changed[path].replace(b"version: one", b"version: two")
    result, seen, written = place.sync(SHOP, place.render(changed), "two")
    assert (result.failure, result.problems, seen.status) == ("", (), HealthStatus.Healthy)
    assert place.get("ConfigMap", "frozen")["data"] == {"version": "two"}  # type: ignore[index]
    assert written[:3] == ["check", "-migrate", "migrate"]
    assert [name for name in written if name in ("-frozen", "frozen", "-banner", "-cellar", "smoke")] == [
        *("-frozen", "frozen"),
        *("-banner", "-cellar"),
        "smoke",
    ]
    assert place.names("v1", "ConfigMap") == {"settings", "frozen", "archive", "tidegate-shop-production"}

    result, seen, _ = place.sync(SHOP, one, "three")
    assert (result.failure, result.problems, seen.status) == ("", (), HealthStatus.Healthy)
    assert place.get("ConfigMap", "frozen")["data"] == {"version": "one"}  # type: ignore[index]
    assert place.names("v1", "ConfigMap") >= {"banner", "cellar", "settings", "frozen", "archive"}


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not on PATH")
def test_a_chart_with_hooks_and_definitions_is_deployed_and_judged_by_its_own_script(place: Place) -> None:
    good = helm.build(helm.Settings(release="w", crds=True)).render(FILES, "charts/widgets")
    result, seen, written = place.sync(WIDGETS, good, "one")
    assert (result.failure, result.problems, seen.status) == ("", (), HealthStatus.Healthy)
    assert written == ["widgets.argo.example", "w-before", "w"]

    large = helm.build(helm.Settings(release="w", set={"size": 5})).render(FILES, "charts/widgets")
    result, seen, _ = place.sync(WIDGETS, large, "two")
    assert "too large: 5" in (result.failure or seen.message)
    result, seen, _ = place.sync(WIDGETS, good, "three")
    assert (result.failure, seen.status) == ("", HealthStatus.Healthy)
