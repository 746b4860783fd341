"""Waiting ends when all is well, when something is beyond hope, when we are called off, and when time is up."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.adapters.targets.kubernetes.pods import selector_text
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.manifests import Manifest, Ref
from tidegate.errors import Unreachable
from tidegate.sim.apiserver import ApiServer, Fault

DEPLOYMENT = Ref("apps", "Deployment", "shop", "web")
TEMPLATE = """
    metadata: {{labels: {{app: web{extra}}}}}
    spec: {{containers: [{{name: web, image: "shop@sha256:{digest}"}}]}}
"""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web}}}}
  template: {template}
"""


def deployment(world: Any, digest: str = "new") -> Manifest:
    (made,) = world.put(WEB.format(template=TEMPLATE.format(extra="", digest=digest)), manager="tidegate")
    return made  # type: ignore[no-any-return]


def owned(owner: Manifest) -> str:
    meta = owner["metadata"]
    return (
        f"[{{apiVersion: {owner['apiVersion']}, kind: {owner['kind']}, name: {meta['name']}, uid: {meta['uid']}, "
        "controller: true}]"
    )


def replica_set(world: Any, owner: Manifest, name: str, digest: str) -> Manifest:
    text = f"""
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: {name}, namespace: shop, labels: {{app: web}}, ownerReferences: {owned(owner)}}}
spec:
  selector: {{matchLabels: {{app: web, pod-template-hash: "{name}"}}}}
  template: {TEMPLATE.format(extra=f', pod-template-hash: "{name}"', digest=digest)}
"""
    (made,) = world.put(text, manager="controller")
    return made  # type: ignore[no-any-return]


def pod(
    world: Any,
    owner: Manifest,
    name: str,
    labels: str = "app: web",
    spec: str = "{name: web, image: x}",
    **container: Any,
) -> Manifest:
    text = f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{{labels}}}, ownerReferences: {owned(owner)}}}
spec: {{containers: [{spec}]}}
"""
    (made,) = world.put(text, manager="controller")
    status = {"name": "web", "image": "x", "imageID": "", "ready": False, "restartCount": 0} | container
    world.set_status(made, {"phase": "Running", "containerStatuses": [status]})
    return made  # type: ignore[no-any-return]


def status(world: Any, obj: Manifest, **changes: Any) -> None:
    generation = world.get(obj["kind"], obj["metadata"]["name"], "apps")["metadata"]["generation"]
    world.set_status(obj, {"observedGeneration": generation} | changes)


def wait(
    world: Any, *refs: Ref, seconds: float = 5.0, interrupted: Callable[[], str | None] = lambda: None
) -> Any:
    return world.cluster.wait(refs, deadline_seconds=seconds, interrupted=interrupted)


CRASH = {
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}},
    "lastState": {
        "terminated": {"exitCode": 1, "message": "Traceback\nModuleNotFoundError: No module named 'x'\n"}
    },
    "restartCount": 1,
}


def test_waiting_ends_when_the_last_object_is_well(world: Any) -> None:
    web = deployment(world)

    def finish() -> None:
        status(world, web, replicas=1, updatedReplicas=1, availableReplicas=1, readyReplicas=1)

    timer = threading.Timer(0.5, finish)
    timer.start()
    start = time.monotonic()
    assert wait(world, DEPLOYMENT).status is HealthStatus.Healthy
    assert 0.4 < time.monotonic() - start < 2.5
    timer.join()


def test_nothing_to_wait_for_is_healthy_at_once(world: Any) -> None:
    assert wait(world).status is HealthStatus.Healthy


def test_a_status_about_the_old_generation_is_not_believed(world: Any) -> None:
    web = deployment(world, "old")
    status(world, web, replicas=1, updatedReplicas=1, availableReplicas=1)
    deployment(world, "new")
    found = wait(world, DEPLOYMENT, seconds=0.5)
    assert found.status is HealthStatus.Progressing
    assert found.message.startswith(
        "not healthy after 0.5 s: Deployment shop/web: Waiting for rollout to finish"
    )


def test_a_crash_loop_ends_the_wait_with_the_pods_own_words(world: Any) -> None:
    web = deployment(world)
    pod(world, replica_set(world, web, "web-7c9", "new"), "web-7c9-x", **CRASH)
    status(world, web, replicas=1, updatedReplicas=1)
    assert wait(world, DEPLOYMENT) == Health(
        HealthStatus.Degraded,
        "Deployment shop/web: web-7c9-x: CrashLoopBackOff, exit 1: ModuleNotFoundError: No module named 'x'",
    )


def test_the_old_versions_crash_does_not_fail_the_new_one(world: Any) -> None:
    web = deployment(world)
    pod(world, replica_set(world, web, "web-old", "old"), "web-old-x", **CRASH)
    replica_set(world, web, "web-new", "new")
    status(world, web, replicas=2, updatedReplicas=1)
    assert wait(world, DEPLOYMENT, seconds=0.5).status is HealthStatus.Progressing


def test_one_restart_is_no_crash_loop_but_two_are(world: Any) -> None:
    web = deployment(world)
    owner = replica_set(world, web, "web-1", "new")
    ended = {"lastState": {"terminated": {"exitCode": 3, "message": "boom"}}, "state": {"running": {}}}
    made = pod(world, owner, "web-1-x", restartCount=1, **ended)
    status(world, web, replicas=1, updatedReplicas=1)
    assert wait(world, DEPLOYMENT, seconds=0.4).status is HealthStatus.Progressing
    again = {"name": "web", "image": "x", "imageID": "", "ready": False, "restartCount": 2, **ended}
    world.set_status(made, {"phase": "Running", "containerStatuses": [again]})
    assert wait(world, DEPLOYMENT).message == "Deployment shop/web: web-1-x: restarted 2 times, exit 3: boom"


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull"]
)
def test_a_container_that_cannot_start_ends_the_wait(world: Any, reason: str) -> None:
    web = deployment(world)
    waiting = {"waiting": {"reason": reason, "message": 'Back-off pulling image "x"'}}
    pod(world, replica_set(world, web, "web-1", "new"), "web-1-x", state=waiting)
    status(world, web, replicas=1, updatedReplicas=1)
    found = wait(world, DEPLOYMENT)
    assert found.message == f'Deployment shop/web: web-1-x: {reason}: Back-off pulling image "x"'


def test_the_first_failed_pull_may_still_get_better(world: Any) -> None:
    web = deployment(world)
    pod(
        world,
        replica_set(world, web, "web-1", "new"),
        "web-1-x",
        state={"waiting": {"reason": "ErrImagePull"}},
    )
    status(world, web, replicas=1, updatedReplicas=1)
    assert wait(world, DEPLOYMENT, seconds=0.4).status is HealthStatus.Progressing


def test_an_out_of_memory_kill_is_called_so(world: Any) -> None:
    web = deployment(world)
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    pod(world, replica_set(world, web, "web-1", "new"), "web-1-x", state=waiting, lastState=killed)
    status(world, web, replicas=1, updatedReplicas=1)
    assert wait(world, DEPLOYMENT).message == "Deployment shop/web: web-1-x: CrashLoopBackOff, OOMKilled"


def test_a_missed_progress_deadline_ends_the_wait(world: Any) -> None:
    web = deployment(world)
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    status(world, web, replicas=1, updatedReplicas=1, conditions=[late])
    found = wait(world, DEPLOYMENT)
    assert found == Health(
        HealthStatus.Degraded, 'Deployment shop/web: Deployment "web" exceeded its progress deadline'
    )


def test_a_failed_job_ends_the_wait_with_its_pods_words(world: Any) -> None:
    text = """
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: shop}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: x}]}}}
"""
    (job,) = world.put(text)
    world.set_status(job, {"conditions": [{"type": "Failed", "status": "True", "message": "Job has failed"}]})
    found = wait(world, Ref("batch", "Job", "shop", "migrate"))
    assert found == Health(HealthStatus.Degraded, "Job shop/migrate: Job has failed")


def test_a_stateful_sets_old_pod_is_not_its_news(world: Any) -> None:
    text = f"""
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: shop}}
spec:
  serviceName: db
  replicas: 1
  selector: {{matchLabels: {{app: web}}}}
  template: {TEMPLATE.format(extra="", digest="new")}
"""
    (db,) = world.put(text)
    status(world, db, updateRevision="db-2", currentRevision="db-1", replicas=1)
    old = "app: web, controller-revision-hash: db-1"
    made = pod(world, db, "db-0", labels=old, **CRASH)
    at = Ref("apps", "StatefulSet", "shop", "db")
    assert wait(world, at, seconds=0.4).status is HealthStatus.Progressing
    world.cluster._objects.delete(Ref("", "Pod", "shop", "db-0"), uid=made["metadata"]["uid"])
    end = time.monotonic() + 5
    while (live := world.get("Pod", "db-0")) and time.monotonic() < end:
        from tidegate.adapters.targets.kubernetes.rest import Request
        from tidegate.errors import NotFound

        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": live["metadata"]["uid"]}}
        with contextlib.suppress(NotFound):  # the garbage collector may be faster
            world.cluster._objects.rest.send(
                Request("DELETE", "/api/v1/namespaces/shop/pods/db-0", "p", {}, body)
            )
    pod(world, db, "db-0", labels=old.replace("db-1", "db-2"), **CRASH)
    assert "db-0: CrashLoopBackOff, exit 1" in wait(world, at).message


def test_a_missing_object_is_waited_for_and_named(world: Any) -> None:
    found = wait(world, Ref("", "ConfigMap", "shop", "a"), seconds=0.3)
    assert found == Health(HealthStatus.Missing, "not healthy after 0.3 s: ConfigMap shop/a: is not there")


def test_being_called_off_ends_the_wait_with_the_reason(world: Any) -> None:
    deployment(world)
    looks: list[int] = []

    def newer() -> str | None:
        looks.append(1)
        return "a newer release arrived" if len(looks) == 3 else None

    found = wait(world, DEPLOYMENT, interrupted=newer)
    assert found == Health(HealthStatus.Progressing, "stopped waiting: a newer release arrived")


def test_a_short_outage_of_the_api_server_is_waited_out(world: Any, server: ApiServer) -> None:
    web = deployment(world)
    status(world, web, replicas=1, updatedReplicas=1, availableReplicas=1)
    server.faults.add(Fault(method="GET", status=503, retry_after=90, count=3))
    assert wait(world, DEPLOYMENT).status is HealthStatus.Healthy


def test_a_suspended_object_is_not_waited_for(world: Any) -> None:
    web = deployment(world)
    world.put(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {paused: true}}"
    )
    status(world, web)
    assert wait(world, DEPLOYMENT).status is HealthStatus.Suspended


def test_selectors_become_query_text() -> None:
    selector = {
        "matchLabels": {"a": "b"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["d", "e"]},
            {"key": "f", "operator": "DoesNotExist"},
        ],
    }
    assert selector_text(selector) == "a=b,c in (d,e),!f"


def test_one_look_is_a_wait_without_time(world: Any, server: ApiServer) -> None:
    web = deployment(world)
    assert wait(world, DEPLOYMENT, seconds=0).message.startswith("Deployment shop/web: Waiting for rollout")
    status(world, web, replicas=1, updatedReplicas=1, availableReplicas=1)
    assert wait(world, DEPLOYMENT, seconds=0).status is HealthStatus.Healthy
    server.faults.add(Fault(method="GET", status=503, retry_after=90, count=None))
    with pytest.raises(Unreachable):
        wait(world, DEPLOYMENT, seconds=0)


def test_what_cannot_change_its_mind_is_looked_at_once(world: Any) -> None:
    world.put("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}}")
    deployment(world)
    world.requests.clear()
    wait(world, Ref("", "ConfigMap", "shop", "a"), DEPLOYMENT, seconds=0.5)
    paths = [path for _, path in world.requests.seen]
    assert len([p for p in paths if p.endswith("configmaps/a")]) == 1
    assert len([p for p in paths if p.endswith("deployments/web")]) > 1
