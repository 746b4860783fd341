"""A custom resource is well when the fleet's script says so, and the wait ends by that."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tidegate.adapters.lua import Scripted
from tidegate.adapters.targets.kubernetes import waiting
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.health.scripts import Script, Scripts
from tidegate.domain.manifests import Manifest, Ref

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: databases.db.example}
spec:
  group: db.example
  scope: Namespaced
  names: {plural: databases, singular: database, kind: Database}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
TEXT = """
local phase = obj.status ~= nil and obj.status.phase or "New"
local is = {New = "Progressing", Up = "Healthy", Broken = "Degraded", Off = "Suspended"}
return {status = is[phase], message = "phase is " .. phase}
"""
DATABASE = Ref("db.example", "Database", "shop", "orders", version="v1")
SCRIPTED = Scripted(Scripts({"db.example/Database": Script("health/db.example/Database/health.lua", TEXT)}))


def database(world: Any, size: int = 1) -> Manifest:
    (made,) = world.put(
        "{apiVersion: db.example/v1, kind: Database, metadata: {name: orders, namespace: shop}, "
        f"spec: {{size: {size}}}}}"
    )
    return made  # type: ignore[no-any-return]


@pytest.fixture
def orders(world: Any) -> Manifest:
    world.put(CRD)
    assert world.cluster.wait(
        [Ref("apiextensions.k8s.io", "CustomResourceDefinition", "", "databases.db.example")],
        deadline_seconds=10,
        interrupted=lambda: None,
    ) == Health(HealthStatus.Healthy, "CRD is healthy")
    world.cluster._objects.kinds.forget()
    return database(world)


def wait(world: Any, seconds: float = 10.0, custom: Any = SCRIPTED) -> Health:
    found: Health = world.cluster.wait(
        [DATABASE], deadline_seconds=seconds, interrupted=lambda: None, custom=custom
    )
    return found


def test_without_a_script_a_silent_custom_resource_is_healthy(world: Any, orders: Manifest) -> None:
    assert wait(world, custom=None).status is HealthStatus.Healthy


def test_the_script_is_waited_for(world: Any, orders: Manifest) -> None:
    assert wait(world, 0.3) == Health(
        HealthStatus.Progressing, "not healthy after 0.3 s: Database shop/orders: phase is New"
    )
    timer = threading.Timer(0.3, world.set_status, (orders, {"phase": "Up"}))
    timer.start()
    assert wait(world) == Health(HealthStatus.Healthy, "phase is Up")
    timer.join()


def test_a_suspended_resource_is_not_waited_for(world: Any, orders: Manifest) -> None:
    world.set_status(orders, {"phase": "Off"})
    assert wait(world).status is HealthStatus.Suspended


def test_degraded_ends_the_wait_once_it_is_about_the_newest_generation(world: Any, orders: Manifest) -> None:
    world.set_status(orders, {"phase": "Broken", "observedGeneration": 1})
    assert wait(world, 60) == Health(HealthStatus.Degraded, "Database shop/orders: phase is Broken")
    database(world, size=2)
    assert wait(world, 0.3).message == (
        "not healthy after 0.3 s: Database shop/orders: Database generation is 2, but latest observed generation is 1"
    )


def test_degraded_without_a_generation_must_last(world: Any, orders: Manifest) -> None:
    """It may be about the version before; the clock of this test runs 20 times as fast."""
    world.set_status(orders, {"phase": "Broken"})
    found = waiting.wait(
        world.cluster._objects,
        [DATABASE],
        deadline_seconds=600,
        interrupted=lambda: None,
        custom=SCRIPTED,
        clock=lambda: time.monotonic() * 20,
    )
    assert found == Health(HealthStatus.Degraded, "Database shop/orders: phase is Broken")


def test_healthy_about_an_older_generation_is_not_believed(world: Any, orders: Manifest) -> None:
    world.set_status(orders, {"phase": "Up", "observedGeneration": 1})
    assert wait(world).status is HealthStatus.Healthy
    database(world, size=2)
    assert wait(world, 0.3).status is HealthStatus.Progressing
    world.set_status(orders, {"phase": "Up", "observedGeneration": 2})
    assert wait(world).status is HealthStatus.Healthy


def test_a_script_that_fails_is_named(world: Any, orders: Manifest) -> None:
    script = Script("health/db.example/_/health.lua", "return obj.status.phase.x.y")
    broken = Scripted(Scripts({"db.example/_": script}))
    assert wait(world, 0.3, broken) == Health(
        HealthStatus.Unknown,
        "not healthy after 0.3 s: Database shop/orders: health/db.example/_/health.lua:1: "
        "attempt to index field 'status' (a nil value)",
    )


def test_pending_deletion_is_said_before_the_script_is_asked(world: Any, orders: Manifest) -> None:
    objects = world.cluster._objects
    world.put(
        "{apiVersion: db.example/v1, kind: Database, "
        "metadata: {name: orders, namespace: shop, finalizers: [db.example/backup]}, spec: {size: 1}}"
    )
    world.set_status(orders, {"phase": "Up"})
    objects.delete(DATABASE, uid=orders["metadata"]["uid"])
    assert wait(world, 0.3).message.endswith("Pending deletion")
