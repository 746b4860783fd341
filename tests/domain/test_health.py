"""How well an object is, in Argo CD's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.domain.health import Health, HealthStatus, health, worst

CASES = Path(__file__).parent / "health"


class _Strings(yaml.CSafeLoader):
    """Upstream's fixtures are read leniently (one repeats a key); times stay text as in Go."""


_Strings.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if "timestamp" not in tag]
    for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> Any:
    return next(yaml.load_all(path.read_text(), _Strings))


BUILT_IN = load(CASES / "builtin" / "expected.yaml")


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_case_of_argo_cd_gets_its_status(name: str) -> None:
    assert health(load(CASES / "builtin" / name)).status == BUILT_IN[name]


def test_a_suspended_job_says_so_in_its_own_words() -> None:
    assert health(load(CASES / "builtin" / "job-suspended.yaml")).message == "Job suspended"


def lua_cases() -> list[Any]:
    return [
        pytest.param(folder.parent / case["inputPath"], case["healthStatus"], id=Path(case["inputPath"]).stem)
        for folder in sorted(CASES.glob("lua/*/health_test.yaml"))
        for case in load(folder)["tests"]
    ]


@pytest.mark.parametrize(("path", "expected"), lua_cases())
def test_kinds_scripted_upstream_get_status_and_message(path: Path, expected: dict[str, str]) -> None:
    if "terminating-timestamp" in path.name:
        # There the script is run alone; in Argo CD itself, as here, a pending deletion is said first.
        expected = {"status": "Progressing", "message": "Pending deletion"}
    assert health(load(path)) == Health(HealthStatus(expected["status"]), expected.get("message", ""))


def deployment(**changes: Any) -> dict[str, Any]:
    status = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": 2} | changes.pop("metadata", {}),
        "spec": {"replicas": 3} | changes.pop("spec", {}),
        "status": status | changes,
    }


@pytest.mark.parametrize(
    ("obj", "status", "message"),
    [
        (deployment(), "Healthy", ""),
        (deployment(spec={"paused": True}), "Suspended", "Deployment is paused"),
        (
            deployment(observedGeneration=1),
            "Progressing",
            "Waiting for rollout to finish: observed deployment generation less than desired generation",
        ),
        (
            deployment(conditions=[{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]),
            "Degraded",
            'Deployment "web" exceeded its progress deadline',
        ),
        (
            deployment(updatedReplicas=1),
            "Progressing",
            "Waiting for rollout to finish: 1 out of 3 new replicas have been updated...",
        ),
        (
            deployment(replicas=4),
            "Progressing",
            "Waiting for rollout to finish: 1 old replicas are pending termination...",
        ),
        (
            deployment(availableReplicas=2),
            "Progressing",
            "Waiting for rollout to finish: 2 of 3 updated replicas are available...",
        ),
        (
            deployment(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            "Progressing",
            "Pending deletion",
        ),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, "Healthy", ""),
    ],
)
def test_a_deployment_says_what_it_waits_for(obj: dict[str, Any], status: str, message: str) -> None:
    assert health(obj) == Health(HealthStatus(status), message)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, "Healthy"),
        ({}, "Healthy"),
        ({"conditions": None}, "Healthy"),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, "Healthy"),
        ({"conditions": [{"type": "Ready", "status": "False", "message": "no database"}]}, "Progressing"),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, "Progressing"),
        ({"conditions": [{"type": "Stalled", "status": "True"}]}, "Degraded"),
        ({"conditions": [{"type": "Reconciling", "status": "True"}]}, "Progressing"),
        ({"observedGeneration": 1}, "Progressing"),
        ({"observedGeneration": 2}, "Healthy"),
    ],
)
def test_a_custom_resource_is_judged_by_its_conditions(status: Any, expected: str) -> None:
    obj = {"apiVersion": "db.example/v1", "kind": "Database", "metadata": {"generation": 2}, "status": status}
    assert health(obj).status == expected


def test_a_known_kind_in_an_unknown_version_is_not_silently_healthy() -> None:
    old = {"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "web"}}
    assert health(old) == Health(
        HealthStatus.Unknown, "unsupported Deployment GVK: apps/v1beta1, Kind=Deployment"
    )


def test_a_terminating_namespace_is_not_healthy() -> None:
    obj = {"apiVersion": "v1", "kind": "Namespace", "status": {"phase": "Terminating"}}
    assert health(obj).status is HealthStatus.Progressing


def test_the_worst_of_many_is_the_first_of_the_worst_kind() -> None:
    all_of = [Health(status, str(index)) for index, status in enumerate([*HealthStatus, *HealthStatus])]
    assert worst(all_of) == Health(HealthStatus.Unknown, str(len(HealthStatus) - 1))
    assert worst([]).status is HealthStatus.Healthy


def test_conditions_written_by_hostile_controllers_do_not_raise() -> None:
    for kind in ("Job", "Pod", "Deployment", "CronJob", "Service"):
        for group in ("batch/v1", "v1", "apps/v1"):
            obj = {
                "apiVersion": group,
                "kind": kind,
                "status": {"conditions": [{}], "phase": None},
                "spec": None,
            }
            assert json.dumps(health(obj).message) is not None
