"""What does it cost to see that 1,000 objects are as they should be?

`look` at 1,000 applied objects (950 ConfigMaps, 50 Deployments of no pods), nothing changed: inventory, live state,
comparison. It must send no writing request, dry-runs included; the API server's log is counted. The floor is the two
LISTs by bare urllib3 and `json.loads`. Goal: at most 3 times the floor's CPU, and no write.
"""

from __future__ import annotations

import json
from typing import Any

import urllib3

from benchmarks.measuring import Goal, Of, Row, in_turn, milliseconds
from benchmarks.world import World
from tidegate.adapters.targets.kubernetes import Settings, build
from tidegate.domain.plan import Owner

OBJECTS, DEPLOYMENTS, ROUNDS = 1000, 50, 7
GOALS = {"cpu": Goal(3.0), "writes": Goal(0, Of.Median)}
READS = {"GET", "HEAD"}


def run(world: World) -> list[Row]:
    """CPU, then writing requests."""
    cluster = build(
        Settings(namespace="planned", kubeconfig=world.cluster["kubeconfig"], create_namespace=True)
    )
    owner, desired = Owner("planned", "live", "default"), _desired()
    cluster.prepare()
    result = cluster.apply(owner, cluster.look(owner, desired), fence=lambda: None)
    assert len(result.applied) == OBJECTS and not result.problems, result.problems
    http, api = urllib3.PoolManager(), world.cluster["url"]

    def lists() -> None:
        for path in ("/api/v1/namespaces/planned/configmaps", "/apis/apps/v1/namespaces/planned/deployments"):
            items = json.loads(http.request("GET", f"{api}{path}").data)["items"]
            assert len(items) >= DEPLOYMENTS

    def plan() -> None:
        assert not cluster.look(owner, desired).writes

    seen = len(world.requests())
    mine, floor = in_turn(plan, lists, rounds=ROUNDS)
    asked = [r for r in world.requests(seen) if r["userAgent"] == "tidegate"]
    writes = sum(r["method"] not in READS for r in asked)
    said = "LIST both kinds by urllib3, json.loads"
    wall = {"wall_ms": milliseconds(mine), "floor_wall_ms": milliseconds(floor)}
    what = f"plan {OBJECTS:,} unchanged objects"
    cpu = (milliseconds(mine, "cpu"), GOALS["cpu"], milliseconds(floor, "cpu"))
    return [
        Row(f"{what}, CPU", "ms", *cpu, said, data=wall),
        Row(f"{what}, writing requests", "", [writes], GOALS["writes"], data={"requests": len(asked)}),
    ]


def _desired() -> list[dict[str, Any]]:
    found = [
        _object("v1", "ConfigMap", f"settings-{n}", {"data": {f"k{i}": f"{n}" for i in range(8)}})
        for n in range(950)
    ]
    for n in range(DEPLOYMENTS):
        labels = {"app": f"web-{n}"}
        container = {"name": "web", "image": "registry.example/web:1", "ports": [{"containerPort": 8080}]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        found.append(_object("apps/v1", "Deployment", f"web-{n}", {"spec": spec}))
    return found


def _object(api_version: str, kind: str, name: str, rest: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **rest}
