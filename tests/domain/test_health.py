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


def live(kind: str, spec: Any = None, status: Any = None, **meta: Any) -> dict[str, Any]:
    api_version, _, name = kind.rpartition("/")
    obj = {"apiVersion": api_version, "kind": name, "metadata": {"name": "x"} | meta}
    return obj | {"spec": spec or {}, "status": status or {}}


def conditions(*found: str, **more: Any) -> dict[str, Any]:
    """`Type=Status/Reason: message`, any part after the type left out."""
    made = []
    for text in found:
        head, _, message = text.partition(": ")
        head, _, reason = head.partition("/")
        name, _, status = head.partition("=")
        made.append({"type": name, "status": status, "reason": reason, "message": message})
    return {"conditions": made, **more}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"name": "c", "state": {"waiting": {"reason": reason, "message": message}}}


def terminated(code: int, **more: Any) -> dict[str, Any]:
    return {"name": "c", "state": {"terminated": {"exitCode": code, **more}}}


OBSERVED = {"observedGeneration": 2}
ROLLING = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}
ALWAYS, NEVER = {"restartPolicy": "Always"}, {"restartPolicy": "Never"}
LONG = {"annotations": {"argocd.argoproj.io/ignore-restart-policy": "true"}}
WAS = {"name": "c", "lastState": {"terminated": {"exitCode": 1}}}
NEW_SET = "Waiting for statefulset spec update to be observed..."
NEW_DAEMON = "Waiting for rollout to finish: observed daemon set generation less than desired generation"
NEW_REPLICAS = "Waiting for rollout to finish: observed replica set generation less than desired generation"
DAEMON = 'Waiting for daemon set "x" rollout to finish: '
SET, DS, RS = "apps/v1/StatefulSet", "apps/v1/DaemonSet", "apps/v1/ReplicaSet"
POD, JOB, PVC, SVC = "v1/Pod", "batch/v1/Job", "v1/PersistentVolumeClaim", "v1/Service"
HPA, API = "autoscaling/v2/HorizontalPodAutoscaler", "apiregistration.k8s.io/v1/APIService"
SCALES = "AbleToScale=True/ReadyForNewScale: ready"
INGRESS, FLOW = "networking.k8s.io/v1/Ingress", "argoproj.io/v1alpha1/Workflow"
ADDRESS = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}
REVISIONS = {"currentRevision": "a", "updateRevision": "b", "updatedReplicas": 1, "currentReplicas": 2}


@pytest.mark.parametrize(
    ("obj", "status", "message"),
    [
        (live(SET), "Progressing", NEW_SET),
        (live(SET, generation=3, status=OBSERVED), "Progressing", NEW_SET),
        (
            live(SET, {"replicas": 3}, OBSERVED | {"readyReplicas": 1}),
            "Progressing",
            "Waiting for 2 pods to be ready...",
        ),
        (
            live(SET, {"replicas": 3} | ROLLING, OBSERVED | {"readyReplicas": 3, "updatedReplicas": 1}),
            "Progressing",
            "Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated...",
        ),
        (
            live(SET, {"replicas": 3} | ROLLING, OBSERVED | {"readyReplicas": 3, "updatedReplicas": 2}),
            "Healthy",
            "partitioned roll out complete: 2 new pods have been updated...",
        ),
        (
            live(SET, ON_DELETE, OBSERVED | {"readyReplicas": 3}),
            "Healthy",
            "statefulset has 3 ready pods",
        ),
        (
            live(SET, status=OBSERVED | REVISIONS),
            "Progressing",
            "waiting for statefulset rolling update to complete 1 pods at revision b...",
        ),
        (
            live(SET, status=OBSERVED | REVISIONS | {"updateRevision": "a"}),
            "Healthy",
            "statefulset rolling update complete 2 pods at revision a...",
        ),
        (live(DS, generation=3, status=OBSERVED), "Progressing", NEW_DAEMON),
        (
            live(DS, ON_DELETE, {"updatedNumberScheduled": 1, "desiredNumberScheduled": 3}),
            "Healthy",
            "daemon set 1 out of 3 new pods have been updated",
        ),
        (
            live(DS, status={"updatedNumberScheduled": 1, "desiredNumberScheduled": 3}),
            "Progressing",
            f"{DAEMON}1 out of 3 new pods have been updated...",
        ),
        (
            live(DS, status={"updatedNumberScheduled": 3, "desiredNumberScheduled": 3, "numberAvailable": 2}),
            "Progressing",
            f"{DAEMON}2 of 3 updated pods are available...",
        ),
        (live(DS), "Healthy", ""),
        (live(RS, generation=3, status=OBSERVED), "Progressing", NEW_REPLICAS),
        (
            live(RS, status=conditions("ReplicaFailure=True/Quota: exceeded quota")),
            "Degraded",
            "exceeded quota",
        ),
        (
            live(RS, {"replicas": 2}, conditions("ReplicaFailure=False", availableReplicas=1)),
            "Progressing",
            "Waiting for rollout to finish: 1 out of 2 new replicas are available...",
        ),
        (live(RS), "Healthy", ""),
        (
            live(
                POD,
                ALWAYS,
                {"containerStatuses": [waiting("ErrImagePull", "a"), waiting("CrashLoopBackOff", "b")]},
            ),
            "Degraded",
            "a, b",
        ),
        (
            live(POD, NEVER, {"phase": "Pending", "containerStatuses": [waiting("ErrImagePull", "a")]}),
            "Progressing",
            "",
        ),
        (live(POD, NEVER, {"containerStatuses": [waiting("RunError", "a")]}, **LONG), "Degraded", "a"),
        (live(POD, ALWAYS, {"containerStatuses": [waiting("ContainerCreating")]}), "Unknown", ""),
        (live(POD, status={"phase": "Succeeded", "message": "done"}), "Healthy", "done"),
        (live(POD, status={"phase": "Failed", "message": "Evicted"}), "Degraded", "Evicted"),
        (
            live(POD, status={"phase": "Failed", "containerStatuses": [terminated(0), terminated(2)]}),
            "Degraded",
            'container "c" failed with exit code 2',
        ),
        (
            live(
                POD, status={"phase": "Failed", "initContainerStatuses": [terminated(1, reason="OOMKilled")]}
            ),
            "Degraded",
            "OOMKilled",
        ),
        (
            live(POD, status={"phase": "Failed", "containerStatuses": [terminated(1, message="no disk")]}),
            "Degraded",
            "no disk",
        ),
        (live(POD, status={"phase": "Failed"}), "Degraded", ""),
        (live(POD, ALWAYS, conditions("Ready=True", phase="Running")), "Healthy", ""),
        (live(POD, ALWAYS, {"phase": "Running", "containerStatuses": [WAS]}), "Degraded", ""),
        (live(POD, ALWAYS, {"phase": "Running"}), "Progressing", ""),
        (live(POD, NEVER, conditions("Ready=True", phase="Running")), "Progressing", ""),
        (live(POD, NEVER, conditions("Ready=True", phase="Running"), **LONG), "Healthy", ""),
        (live(POD, status={"phase": "Running"}), "Unknown", ""),
        (live(JOB), "Progressing", ""),
        (live(JOB, status=conditions("FailureTarget=True: soon")), "Progressing", ""),
        (live(JOB, status=conditions("Complete=True: done")), "Healthy", "done"),
        (live(JOB, status=conditions("Complete=True: a", "Failed=True: b")), "Degraded", "b"),
        (live(JOB, status=conditions("Suspended=True: Job suspended")), "Suspended", "Job suspended"),
        (live(JOB, status=conditions("Suspended=False: Job resumed")), "Healthy", "Job resumed"),
        (live(PVC, status={"phase": "Lost"}), "Degraded", ""),
        (live(PVC, status={"phase": "Pending"}), "Progressing", ""),
        (live(PVC, status={"phase": "Bound"}), "Healthy", ""),
        (live(PVC), "Unknown", ""),
        (live(SVC), "Healthy", ""),
        (live(SVC, {"type": "LoadBalancer"}), "Progressing", ""),
        (live(SVC, {"type": "LoadBalancer"}, ADDRESS), "Healthy", ""),
        (live(INGRESS), "Progressing", ""),
        (live("extensions/v1beta1/Ingress", status=ADDRESS), "Healthy", ""),
        (live(HPA), "Progressing", "Waiting to Autoscale"),
        (live(HPA, status=conditions(SCALES)), "Healthy", "ready"),
        (
            live(HPA, status=conditions(SCALES, "ScalingActive=False/FailedGetPodsMetric: no metrics")),
            "Degraded",
            "no metrics",
        ),
        (
            live(HPA, status=conditions("ScalingActive=True/ValidMetricFound")),
            "Progressing",
            "Waiting to Autoscale",
        ),
        (live("autoscaling/v1/HorizontalPodAutoscaler"), "Progressing", "Waiting to Autoscale"),
        (
            live(
                "autoscaling/v1/HorizontalPodAutoscaler",
                annotations={
                    "autoscaling.alpha.kubernetes.io/conditions": json.dumps(conditions(SCALES)["conditions"])
                },
            ),
            "Healthy",
            "ready",
        ),
        (
            live("autoscaling/v2beta2/HorizontalPodAutoscaler"),
            "Unknown",
            "unsupported HPA GVK: autoscaling/v2beta2, Kind=HorizontalPodAutoscaler",
        ),
        (live(API), "Progressing", "Waiting to be processed"),
        (live(API, status=conditions("Available=True/Passed: all good")), "Healthy", "Passed: all good"),
        (live(API, status=conditions("Available=False/Gone: away")), "Progressing", "Gone: away"),
        (live(FLOW), "Progressing", ""),
        (live(FLOW, status={"phase": "Error", "message": "oops"}), "Degraded", "oops"),
        (live(FLOW, status={"phase": "Succeeded"}), "Healthy", ""),
        (live(FLOW, status={"phase": "Odd"}), "Unknown", ""),
        (live("v2/Pod"), "Unknown", "unsupported Pod GVK: /v2, Kind=Pod"),
        (live("batch/v1beta1/CronJob", {"suspend": True}), "Healthy", "CronJob is Suspended"),
    ],
)
def test_built_in_rules_speak_gitops_engines_words(obj: dict[str, Any], status: str, message: str) -> None:
    assert health(obj) == Health(HealthStatus(status), message)


def test_a_known_kind_in_an_unknown_version_is_not_silently_healthy() -> None:
    old = {"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "web"}}
    assert health(old) == Health(
        HealthStatus.Unknown, "unsupported Deployment GVK: apps/v1beta1, Kind=Deployment"
    )


@pytest.mark.parametrize(
    ("observed", "expected"),
    [(1, "Progressing"), ("1", "Progressing"), (2, "Healthy"), ("2", "Healthy"), ("7f6c9d", "Healthy")],
)
def test_nothing_is_healthy_by_the_status_of_an_older_generation(observed: Any, expected: str) -> None:
    for obj in (
        live("policy/v1/PodDisruptionBudget", status=conditions("DisruptionAllowed=True/SufficientPods")),
        live(HPA, status=conditions(SCALES)),
        live("db.example/v1/Database", status=conditions("Ready=True")),
    ):
        obj["metadata"]["generation"] = 2
        obj["status"]["observedGeneration"] = observed
        assert health(obj).status == expected


def test_a_hooks_end_counts_while_our_finalizer_holds_it() -> None:
    hook = live(JOB, status=conditions("Complete=True"), deletionTimestamp="2026-01-01T00:00:00Z")
    hook["metadata"]["finalizers"] = ["tidegate.dev/hook", "other.example/x"]
    assert health(hook) == Health(HealthStatus.Progressing, "Pending deletion")
    assert health(hook, finalizer="tidegate.dev/hook").status is HealthStatus.Healthy
    assert health(hook, finalizer="else.example/hook").status is HealthStatus.Progressing


@pytest.mark.parametrize("prefix", ["argocd.argoproj.io", "tidegate.dev"])
def test_an_object_may_opt_out(prefix: str) -> None:
    obj = live(PVC, status={"phase": "Lost"}, annotations={f"{prefix}/ignore-healthcheck": "true"})
    assert health(obj).status is HealthStatus.Healthy


def test_the_users_rule_comes_before_ours_and_after_pending_deletion() -> None:
    def custom(obj: dict[str, Any]) -> Health | None:
        return Health(HealthStatus.Suspended, "by hand") if obj["kind"] == "Pod" else None

    failed = live(POD, status={"phase": "Failed"})
    assert health(failed, custom) == Health(HealthStatus.Suspended, "by hand")
    assert health(live(PVC), custom).status is HealthStatus.Unknown
    failed["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert health(failed, custom).message == "Pending deletion"


@pytest.mark.parametrize("status", ["up", 3, [], {"conditions": "none"}, {"conditions": [None, "x"]}])
def test_a_custom_resource_may_have_any_status(status: Any) -> None:
    assert health({"apiVersion": "db.example/v1", "kind": "Database", "status": status}).status == "Healthy"


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
