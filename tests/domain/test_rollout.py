"""A canary by replicas: how many, which workloads, and whose pods stand in its way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.domain.rollout import LOST_AFTER, TRACK, changed_deployments, leaving, leftovers, replicas

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def deployment(name: str, image: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def pod(app: str, *, track: str = "canary", due: timedelta | None = None) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "name": f"{app}-x",
        "labels": {"app": app, TRACK: track, "pod-template-hash": "7"},
    }
    if due is not None:
        meta["deletionTimestamp"] = (NOW + due).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": meta}


@pytest.mark.parametrize(
    ("weight", "stable", "expected"),
    [(20, 4, 1), (50, 4, 4), (20, 1, 1), (50, 1, 1), (10, 27, 3), (99, 2, 198), (1, 3, 1)],
)
def test_replicas_come_nearest_to_the_weight_and_are_at_least_one(
    weight: int, stable: int, expected: int
) -> None:
    assert replicas(weight, stable) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(pod("web"), 1, id="a pod of an earlier canary"),
        pytest.param(pod("web", due=timedelta(seconds=10)), 1, id="one that is ending"),
        pytest.param(pod("web", due=-2 * LOST_AFTER), 0, id="one that should be long gone"),
        pytest.param(pod("web", track="stable"), 0, id="a stable one"),
        pytest.param(pod("other"), 0, id="somebody else's canary"),
        pytest.param(pod("same"), 0, id="a workload that does not change"),
        pytest.param({"metadata": {"name": "bare"}}, 0, id="a pod without labels"),
    ],
)
def test_pods_that_would_be_taken_for_the_next_canary_are_counted(
    found: dict[str, Any], expected: int
) -> None:
    before = [deployment("web", "a"), deployment("same", "a")]
    after = [deployment("web", "b"), deployment("same", "a")]
    assert [r.name for r in changed_deployments(before, after)] == ["web"]
    assert leftovers([found], before, after, NOW) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(pod("web", due=timedelta(seconds=10)), 1, id="one that is ending"),
        pytest.param(pod("web"), 0, id="one that stays"),
        pytest.param(pod("web", due=-2 * LOST_AFTER), 0, id="one that should be long gone"),
        pytest.param(pod("other", due=timedelta(seconds=10)), 0, id="somebody else's"),
    ],
)
def test_pods_of_an_earlier_version_are_counted_while_they_end(found: dict[str, Any], expected: int) -> None:
    config = {"kind": "ConfigMap", "metadata": {"name": "web"}}
    assert leaving([found], [deployment("web", "b"), {**config, "spec": {}}], NOW) == expected
