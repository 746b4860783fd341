"""The API server fails in every way it can; what comes out in the end is right all the same."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3

from tests.sim.cluster.embedded import Shell, deployment, service, until
from tidegate.sim.cluster import Cluster

Get = Callable[[str], str]
Faults = Callable[[list[dict[str, Any]]], None]
OURS = "tidegate-sim"


@pytest.fixture
def name(kubectl: Shell) -> Iterator[str]:
    fresh = f"storm-{uuid.uuid4().hex[:6]}"
    yield fresh
    kubectl("delete", "deployment,service", fresh, "--ignore-not-found", "--wait=false")


@pytest.fixture
def faults(cluster: Cluster) -> Iterator[Faults]:
    """Puts fault rules in force, for requests of the cluster's own parts only."""
    with urllib3.PoolManager() as pool:

        def put(rules: list[dict[str, Any]]) -> None:
            body = json.dumps([{"user_agent": OURS, **rule} for rule in rules])
            answer = pool.request("PUT", f"{cluster.url}/_tidegate/faults", body=body)
            assert answer.status < 300, answer.data

        yield put
        put([])


def live(kubectl: Shell, name: str) -> list[Any]:
    return [
        p
        for p in kubectl.get("pods", "-l", f"app={name}")["items"]
        if not p["metadata"].get("deletionTimestamp") and p["status"].get("phase") == "Running"
    ]


def test_a_lost_answer_to_a_creation_makes_no_second_pod(
    kubectl: Shell, image: str, name: str, faults: Faults
) -> None:
    faults([{"method": "POST", "path": "/pods$", "drop": "after", "count": 3}])
    kubectl.apply(deployment(name, image, 3))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    created = kubectl(
        "get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.involvedObject.name}{'\\n'}{end}"
    )
    assert len(live(kubectl, name)) == 3
    assert f"SuccessfulDelete {name}" not in created


def test_errors_delays_and_broken_watches_end_in_the_state_that_was_asked_for(
    kubectl: Shell, cluster: Cluster, image: str, name: str, faults: Faults, web: Get
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    kinds: list[dict[str, Any]] = [
        {"status": 500},
        {"status": 429, "retry_after": 1},
        {"status": 503},
        {"status": 409, "method": "PUT|PATCH"},
        {"drop": "before"},
        {"drop": "after", "method": "PUT|PATCH|POST|DELETE"},
        {"delay": 0.3},
        {"path": "watch=true", "status": 410},
        {"path": "watch=true", "drop": "stream", "delay": 0.2},
    ]
    kubectl.apply(service(name, {"app": name}))
    for version in range(3):
        faults([{**dice.choice(kinds), "count": 1} for _ in range(30)])
        wanted = dice.randint(1, 4)
        kubectl.apply(deployment(name, image, wanted, env={"VERSION": str(version)}))
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
    faults([])
    until(lambda: len(live(kubectl, name)) == wanted, f"{wanted} pods, no more and no less")
    address = until(lambda: cluster.address("default", name), "the Service has an address")
    until(
        lambda: {web(f"http://{address}/").split()[1] for _ in range(20)} == {"2"},
        "the last version alone serves",
    )
    pids = {web(f"http://{address}/").split()[2] for _ in range(60)}
    assert len(pids) == wanted
