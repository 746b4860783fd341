"""Waiting listens instead of asking again and again, and survives what happens to a watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.adapters.kubernetes.test_wait import (
    CRASH,
    DEPLOYMENT,
    deployment,
    pod,
    replica_set,
    status,
    wait,
)
from tidegate.adapters.targets.kubernetes.watching import Collection, Watch
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.manifests import Manifest, Ref
from tidegate.errors import Rejected, Unreachable
from tidegate.sim.apiserver import ApiServer, Fault

WATCH = r"watch=1"
READY = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it never held"
        time.sleep(0.01)
    return found


class Waiting:
    """A wait in a thread of its own."""

    def __init__(self, world: Any, *refs: Ref, seconds: float = 30.0) -> None:
        self.answer: Health | BaseException | None = None

        def run() -> None:
            try:
                self.answer = wait(world, *refs, seconds=seconds)
            except BaseException as error:
                self.answer = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def end(self) -> Any:
        self._thread.join(40)
        assert not self._thread.is_alive()
        return self.answer


class Heard:
    """What a watch told: (name, object)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Manifest | None]] = []

    def __call__(self, name: str, obj: Manifest | None) -> None:
        self.all.append((name, obj))

    def value(self, name: str) -> str | None:
        """`data.v` of the last word about an object; None when it is gone."""
        found = [obj for heard, obj in self.all if heard == name]
        return found[-1]["data"]["v"] if found and found[-1] else None

    def is_gone(self, name: str) -> bool:
        found = [obj for heard, obj in self.all if heard == name]
        return bool(found) and found[-1] is None


def config_map(world: Any, name: str, value: str) -> None:
    world.put(
        f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: shop}}, data: {{v: '{value}'}}}}"
    )


def watch(world: Any, heard: Heard, name: str = "") -> Watch:
    objects = world.cluster._objects
    kind = objects.kinds.of(Ref("", "ConfigMap", "", "", version="v1"))
    return Watch(objects.rest, Collection(kind, "ConfigMap", "shop", name), heard).start()


def delete(world: Any, name: str) -> None:
    found = world.get("ConfigMap", name)
    world.cluster._objects.delete(Ref("", "ConfigMap", "shop", name), uid=found["metadata"]["uid"])


def test_a_watch_tells_what_is_there_and_every_change(world: Any) -> None:
    config_map(world, "a", "1")
    heard = Heard()
    watching = watch(world, heard)
    until(lambda: heard.value("a") == "1")
    config_map(world, "a", "2")
    config_map(world, "b", "1")
    until(lambda: heard.value("a") == "2" and heard.value("b") == "1")
    delete(world, "a")
    until(lambda: heard.is_gone("a"))
    assert all(obj is None or (obj["apiVersion"], obj["kind"]) == ("v1", "ConfigMap") for _, obj in heard.all)
    watching.stop()
    watching.join()


def test_a_watch_of_one_object_hears_of_no_other(world: Any) -> None:
    heard = Heard()
    watching = watch(world, heard, name="a")
    config_map(world, "b", "1")
    config_map(world, "a", "1")
    until(lambda: heard.value("a") == "1")
    assert {name for name, _ in heard.all} == {"a"}
    watching.stop()
    watching.join()


def test_a_broken_stream_is_taken_up_where_it_ended(world: Any, server: ApiServer) -> None:
    server.faults.add(Fault(path=WATCH, drop="stream", delay=0.1, count=2))
    config_map(world, "a", "1")
    heard = Heard()
    watching = watch(world, heard)
    until(lambda: len([1 for method, path in world.requests.seen if path.endswith("/configmaps")]) >= 4)
    config_map(world, "a", "2")
    until(lambda: heard.value("a") == "2")
    assert [name for name, _ in heard.all].count("a") == 2  # nothing was listed, nothing told twice
    watching.stop()
    watching.join()


def test_an_expired_version_begins_with_a_list_again(world: Any, server: ApiServer) -> None:
    config_map(world, "a", "1")
    config_map(world, "b", "1")
    server.faults.add(Fault(path=WATCH, drop="stream", delay=0.1, count=1))
    server.faults.add(Fault(path=WATCH, status=410, count=1))
    heard = Heard()
    watching = watch(world, heard)
    until(lambda: heard.value("b") == "1")
    delete(world, "a")
    config_map(world, "b", "2")
    until(lambda: heard.is_gone("a") and heard.value("b") == "2")
    watching.stop()
    watching.join()


def test_a_watch_that_is_not_allowed_says_so_and_ends(world: Any, server: ApiServer) -> None:
    server.faults.add(Fault(path=WATCH, status=403, count=None))
    watching = watch(world, Heard())
    until(lambda: watching.refused)
    assert isinstance(watching.error, Rejected)
    watching.join()


def test_a_server_that_is_away_is_asked_again(world: Any, server: ApiServer) -> None:
    server.faults.add(Fault(path="configmaps", status=503, retry_after=90, count=3))
    config_map_heard = Heard()
    watching = watch(world, config_map_heard)
    until(lambda: isinstance(watching.error, Unreachable))
    until(lambda: watching.error is None)
    watching.stop()
    watching.join()


# --- waiting ------------------------------------------------------------------------------------------------


def test_waiting_asks_once_and_then_listens(world: Any) -> None:
    web = deployment(world)
    world.requests.clear()
    assert wait(world, DEPLOYMENT, seconds=1.7).status is HealthStatus.Progressing
    gets = [path for _, path in world.requests.seen if path.endswith("deployments/web")]
    assert len(gets) == 2  # at the beginning, and once more when the time is up
    status(world, web, **READY)
    assert wait(world, DEPLOYMENT).status is HealthStatus.Healthy


def test_what_may_not_be_watched_is_looked_at_instead(world: Any, server: ApiServer) -> None:
    web = deployment(world)
    server.faults.add(Fault(path=WATCH, status=403, count=None))
    waiting = Waiting(world, DEPLOYMENT)
    until(lambda: len([p for _, p in world.requests.seen if p.endswith("deployments/web")]) > 3)
    status(world, web, **READY)
    assert waiting.end().status is HealthStatus.Healthy


def test_a_broken_watch_is_no_news(world: Any, server: ApiServer) -> None:
    web = deployment(world)
    server.faults.add(Fault(path=WATCH, drop="stream", delay=0.1, count=4))
    waiting = Waiting(world, DEPLOYMENT)
    until(lambda: len([p for _, p in world.requests.seen if p.endswith("/deployments")]) > 2)
    status(world, web, **READY)
    assert waiting.end().status is HealthStatus.Healthy


def test_a_crash_is_heard_of_although_the_deployment_does_not_change(world: Any) -> None:
    web = deployment(world)
    owner = replica_set(world, web, "web-1", "new")
    status(world, web, replicas=1, updatedReplicas=1)
    waiting = Waiting(world, DEPLOYMENT)
    until(lambda: [p for _, p in world.requests.seen if p.endswith("/pods")])
    pod(world, owner, "web-1-x", **CRASH)
    assert waiting.end() == Health(
        HealthStatus.Degraded,
        "Deployment shop/web: web-1-x: CrashLoopBackOff, exit 1: ModuleNotFoundError: No module named 'x'",
    )


def test_an_object_that_comes_later_is_heard_of(world: Any) -> None:
    waiting = Waiting(world, Ref("", "ConfigMap", "shop", "late"))
    until(lambda: [p for _, p in world.requests.seen if p.endswith("/configmaps")])
    config_map(world, "late", "1")
    assert waiting.end().status is HealthStatus.Healthy


def test_many_objects_of_a_kind_share_one_watch(world: Any) -> None:
    names = [f"c{n}" for n in range(5)]
    world.requests.clear()
    found = wait(world, *(Ref("", "ConfigMap", "shop", n) for n in names), seconds=1.0)
    assert found.status is HealthStatus.Missing
    lists = [p for _, p in world.requests.seen if p.endswith("/configmaps")]
    assert len(lists) == 2  # a LIST and a WATCH


def test_secrets_are_asked_for_by_name_only(world: Any) -> None:
    world.requests.clear()
    names = [Ref("", "Secret", "shop", n) for n in ("a", "b")]
    assert wait(world, *names, seconds=0.7).status is HealthStatus.Missing
    assert {p.rpartition("/")[2] for _, p in world.requests.seen} == {"a", "b"}


# --- words --------------------------------------------------------------------------------------------------


def test_the_container_is_named_where_there_are_several(world: Any) -> None:
    web = deployment(world)
    owner = replica_set(world, web, "web-1", "new")
    made = pod(world, owner, "web-1-x", spec="{name: web, image: x}, {name: proxy, image: z}")
    bad = {"name": "proxy", "image": "z", "imageID": "", "ready": False, **CRASH}
    world.set_status(made, {"phase": "Running", "containerStatuses": [bad]})
    status(world, web, replicas=1, updatedReplicas=1)
    assert wait(world, DEPLOYMENT).message.startswith(
        "Deployment shop/web: web-1-x (container proxy): CrashLoopBackOff, exit 1: ModuleNotFoundError"
    )


def test_a_failed_job_tells_how_its_pod_ended(world: Any) -> None:
    (job,) = world.put("""
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: shop}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: x}]}}}
""")
    ended = {"terminated": {"exitCode": 3, "message": "connecting\nno such table: users\n"}}
    pod(world, job, "migrate-x", labels="job-name: migrate", state=ended)
    world.set_status(job, {"conditions": [{"type": "Failed", "status": "True", "message": "Job has failed"}]})
    assert wait(world, Ref("batch", "Job", "shop", "migrate")) == Health(
        HealthStatus.Degraded,
        "Job shop/migrate: Job has failed; migrate-x: exit 3: no such table: users",
    )


def test_a_pod_without_a_node_says_why_when_the_time_is_up(world: Any) -> None:
    web = deployment(world)
    owner = replica_set(world, web, "web-1", "new")
    made = pod(world, owner, "web-1-x")
    why = "0/3 nodes are available: 3 Insufficient cpu."
    reason = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
    world.set_status(made, {"phase": "Pending", "conditions": [reason], "containerStatuses": []})
    status(world, web, replicas=1, updatedReplicas=1)
    found = wait(world, DEPLOYMENT, seconds=0.4)
    assert found.message == (
        "not healthy after 0.4 s: Deployment shop/web: Waiting for rollout to finish: 0 of 1 updated replicas "
        f"are available...; web-1-x: Unschedulable: {why}"
    )


def test_a_warning_event_is_the_last_word_of_a_silent_pod(world: Any) -> None:
    web = deployment(world)
    made = pod(world, replica_set(world, web, "web-1", "new"), "web-1-x", state={"running": {}})
    status(world, web, replicas=1, updatedReplicas=1)
    for second, message in (("01", "no secret yet"), ("02", "secret\n  'door' not found")):
        world.put(
            f"""
apiVersion: v1
kind: Event
metadata: {{name: e{second}, namespace: shop}}
type: Warning
reason: FailedMount
message: {message!r}
lastTimestamp: "2026-01-01T00:00:{second}Z"
involvedObject: {{kind: Pod, name: web-1-x, namespace: shop, uid: {made["metadata"]["uid"]}}}
""".replace("\\n", " ")
        )
    found = wait(world, DEPLOYMENT, seconds=0.4)
    assert found.message.endswith("; web-1-x: FailedMount: secret 'door' not found")


def test_who_may_not_see_pods_is_told_what_the_deployment_says(world: Any, server: ApiServer) -> None:
    web = deployment(world)
    status(world, web, replicas=1, updatedReplicas=1)
    server.faults.add(Fault(path="/(pods|replicasets|events)", status=403, count=None))
    found = wait(world, DEPLOYMENT, seconds=0.4)
    assert found.message.endswith("0 of 1 updated replicas are available...")
