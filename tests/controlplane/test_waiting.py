"""Waiting for health on the real control plane: over TLS, by its watches, in the words of real pods."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from tests.adapters.kubernetes.test_health_scripts import CRD, DATABASE, SCRIPTED
from tests.controlplane.build import Programs
from tests.controlplane.cluster import ControlPlane
from tests.sim.cluster.embedded import deployment, push_server
from tidegate.adapters.targets.kubernetes import Cluster, Settings, build
from tidegate.adapters.targets.kubernetes.rest import Request
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.manifests import Manifest, read
from tidegate.domain.plan import Owner
from tidegate.sim.registry import Registry

OWNER = Owner("shop", "production", "default")


def deploy(cluster: Cluster, manifests: list[Manifest], seconds: float = 120) -> Health:
    plan = cluster.look(OWNER, manifests)
    done = cluster.apply(OWNER, plan, fence=lambda: None)
    assert done.problems == ()
    refs = [c.ref for c in plan.changes if c.desired is not None]
    return cluster.wait(refs, deadline_seconds=seconds, interrupted=lambda: None, custom=SCRIPTED)


def set_phase(cluster: Cluster, phase: str) -> None:
    path = cluster._objects.path(DATABASE) + "/status"
    body = {"status": {"phase": phase, "observedGeneration": 1}}
    kind = "application/merge-patch+json"
    cluster._objects.rest.send(Request("PATCH", path, "orders", {}, body, kind))


def test_pods_and_scripts_decide_the_wait(kubernetes_programs: Programs, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.start()
    try:
        image = push_server(registry.address)
        with ControlPlane(tmp_path / "plane", kubernetes_programs) as plane:
            cluster = build(Settings(kubeconfig=plane.kubeconfig, namespace="shop", create_namespace=True))
            _a_good_and_a_bad_version(cluster, image)
            _a_custom_resource(cluster)
    finally:
        registry.stop()


def _a_good_and_a_bad_version(cluster: Cluster, image: str) -> None:
    assert deploy(cluster, [deployment("web", image, namespace="shop")]).status is HealthStatus.Healthy
    bad = deploy(cluster, [deployment("web", image, namespace="shop", env={"CRASH": "1"})])
    assert bad.status is HealthStatus.Degraded
    assert bad.message.startswith("Deployment shop/web: web-")
    assert bad.message.endswith(", exit 3: cannot open the model")


def _a_custom_resource(cluster: Cluster) -> None:
    text = json.dumps(
        {
            "apiVersion": "db.example/v1",
            "kind": "Database",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"size": 1},
        }
    )
    manifests = read(CRD.encode(), "crd.yaml") + read(text.encode(), "orders.yaml")
    assert deploy(cluster, manifests, 1).message.endswith("Database shop/orders: phase is New")
    timer = threading.Timer(0.5, set_phase, (cluster, "Up"))
    timer.start()
    assert cluster.wait(
        [DATABASE], deadline_seconds=120, interrupted=lambda: None, custom=SCRIPTED
    ) == Health(HealthStatus.Healthy, "phase is Up")
    timer.join()
    set_phase(cluster, "Broken")
    assert cluster.wait(
        [DATABASE], deadline_seconds=120, interrupted=lambda: None, custom=SCRIPTED
    ) == Health(HealthStatus.Degraded, "Database shop/orders: phase is Broken")
