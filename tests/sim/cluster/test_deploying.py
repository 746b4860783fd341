"""What a user does with kubectl, against the embedded cluster: real processes, real traffic."""

from __future__ import annotations

import collections
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sim.cluster.embedded import Shell, deployment, service, until
from tidegate.sim.cluster import Cluster

Get = Callable[[str], str]


@pytest.fixture
def name(kubectl: Shell) -> Iterator[str]:
    """A fresh name; what was made under it is deleted afterwards."""
    fresh = f"web-{uuid.uuid4().hex[:6]}"
    yield fresh
    kubectl(
        "delete", "deployment,service,job,statefulset,daemonset", fresh, "--ignore-not-found", "--wait=false"
    )


def test_a_deployment_and_its_service_come_up_and_go_as_kubectl_users_expect(
    kubectl: Shell, cluster: Cluster, image: str, name: str, web: Get
) -> None:
    kubectl.apply(deployment(name, image, 2), service(name, {"app": name}))
    assert "successfully rolled out" in kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    kubectl("wait", "--for=condition=Available", f"deployment/{name}", "--timeout=60s")
    pods = kubectl.get("pods", "-l", f"app={name}")["items"]
    assert len(pods) == 2
    assert len({p["status"]["podIP"] for p in pods}) == 2
    wide = kubectl("get", "pods", "-l", f"app={name}", "-o", "wide")
    assert pods[0]["status"]["podIP"] in wide and "Running" in wide
    address = until(lambda: cluster.address("default", name), "the Service has an address")
    published = kubectl.get("service", name)["metadata"]["annotations"]["tidegate.dev/local-address"]
    assert published == address
    assert web(f"http://{address}/").startswith(name)
    assert f"serving as {name}" in kubectl("logs", f"deployment/{name}")
    assert kubectl("logs", pods[0]["metadata"]["name"], "--tail=1").count("\n") == 1
    described = kubectl("describe", "pod", pods[0]["metadata"]["name"])
    assert "Successfully assigned" in described and "Started container app" in described
    assert "Scaled up replica set" in kubectl("describe", "deployment", name)
    kubectl("delete", "deployment", name, "--timeout=60s")
    until(lambda: not kubectl.get("pods", "-l", f"app={name}")["items"], "its pods are gone")


def test_traffic_never_fails_during_a_rolling_update_of_a_well_behaved_application(
    kubectl: Shell, cluster: Cluster, image: str, name: str, web: Get
) -> None:
    kubectl.apply(deployment(name, image, 3, env={"VERSION": "1"}), service(name, {"app": name}))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    address = until(lambda: cluster.address("default", name), "the Service has an address")
    seen: list[str] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def visit() -> None:
        while not done.is_set():
            try:
                seen.append(web(f"http://{address}/").split()[1])
            except BaseException as error:
                failures.append(error)

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        for version in ("2", "3"):
            kubectl.apply(deployment(name, image, 3, env={"VERSION": version}))
            kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
            until(lambda version=version: seen[-20:] == [version] * 20, f"version {version} serves alone")
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    assert not failures, failures[:3]
    assert set(seen) == {"1", "2", "3"}


def test_connections_are_spread_over_stable_and_canary_by_their_replica_counts(
    kubectl: Shell, cluster: Cluster, image: str, name: str, web: Get
) -> None:
    canary = f"{name}-canary"
    both = {"shared": name}
    kubectl.apply(
        deployment(name, image, 3, labels={**both, "track": "stable"}),
        deployment(canary, image, 1, labels={**both, "track": "canary"}),
        service(name, both),
    )
    try:
        for each in (name, canary):
            kubectl("rollout", "status", f"deployment/{each}", "--timeout=60s")
        address = until(lambda: cluster.address("default", name), "the Service has an address")
        until(lambda: web(f"http://{address}/").startswith(f"{canary} "), "the canary takes traffic")
        count = collections.Counter(web(f"http://{address}/").split()[0] for _ in range(400))
        # Binomial with p = 1/4: 100 expected, standard deviation 8.7; ±6 of those.
        assert 48 <= count[canary] <= 152, count
    finally:
        kubectl("delete", "deployment", canary, "--wait=false")
    until(lambda: len(kubectl.get("pods", "-l", f"shared={name}")["items"]) == 3, "only stable is left")
    assert kubectl.get("deployment", name)["status"]["readyReplicas"] == 3


def test_a_crashing_container_waits_in_a_crash_loop_with_its_own_words(
    kubectl: Shell, image: str, name: str
) -> None:
    kubectl.apply(deployment(name, image, env={"CRASH": "1"}, progressDeadlineSeconds=5))

    def looping() -> bool:
        states = container_states(kubectl, name)
        return any((s["state"].get("waiting") or {}).get("reason") == "CrashLoopBackOff" for s in states)

    until(looping, "CrashLoopBackOff")
    (status,) = container_states(kubectl, name)
    last = status["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")
    assert "cannot open the model" in last["message"]
    assert status["restartCount"] >= 1
    pod = kubectl.get("pods", "-l", f"app={name}")["items"][0]["metadata"]["name"]
    assert "cannot open the model" in kubectl("logs", pod, "--previous")
    assert "Back-off restarting failed container" in kubectl("describe", "pod", pod)
    refused = kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", ok=False)
    assert "exceeded its progress deadline" in refused
    conditions = {c["type"]: c for c in kubectl.get("deployment", name)["status"]["conditions"]}
    assert conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"
    assert conditions["Available"]["status"] == "False"


def test_an_image_that_is_not_there_is_named_in_the_waiting_state(
    kubectl: Shell, cluster: Cluster, name: str
) -> None:
    missing = f"{cluster.registry}/nothing/here:v9"
    kubectl.apply(deployment(name, missing))

    def reason() -> str:
        return "".join(
            (s["state"].get("waiting") or {}).get("reason", "") for s in container_states(kubectl, name)
        )

    until(lambda: reason() == "ImagePullBackOff", "ImagePullBackOff")
    (status,) = container_states(kubectl, name)
    assert missing in status["state"]["waiting"]["message"]
    assert "not found" in status["state"]["waiting"]["message"]


def test_a_pod_whose_probe_fails_gets_no_more_connections(
    kubectl: Shell, cluster: Cluster, image: str, name: str, web: Get
) -> None:
    kubectl.apply(deployment(name, image, 2), service(name, {"app": name}))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    address = until(lambda: cluster.address("default", name), "the Service has an address")
    until(lambda: len({web(f"http://{address}/") for _ in range(20)}) == 2, "both pods answer")
    sick = kubectl.get("pods", "-l", f"app={name}")["items"][0]
    web(f"http://{sick['status']['podIP']}:8080/sicken")
    until(lambda: len({web(f"http://{address}/") for _ in range(20)}) == 1, "only one pod answers")
    slices = kubectl.get("endpointslices", "-l", f"kubernetes.io/service-name={name}")["items"]
    ready = [a for s in slices for e in s["endpoints"] if e["conditions"]["ready"] for a in e["addresses"]]
    assert len(ready) == 1 and ready[0] != sick["status"]["podIP"]
    until(lambda: kubectl.get("deployment", name)["status"].get("readyReplicas") == 1, "the Deployment knows")


def test_a_container_that_fails_its_liveness_probe_is_restarted(
    kubectl: Shell, image: str, name: str
) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2}
    sick = {"livenessProbe": probe, "readinessProbe": None}
    kubectl.apply(deployment(name, image, env={"NEVER_READY": "1"}, container=sick))
    until(lambda: any(s["restartCount"] for s in container_states(kubectl, name)), "a restart")
    events = kubectl("events", "--for", f"pod/{pod_names(kubectl, name)[0]}")
    assert "Liveness probe failed" in events and "failed liveness probe, will be restarted" in events


def test_scaling_and_rolling_back_work_as_with_a_real_cluster(kubectl: Shell, image: str, name: str) -> None:
    kubectl.apply(deployment(name, image, 1, env={"VERSION": "1"}))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    kubectl("set", "env", f"deployment/{name}", "VERSION=2")
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    kubectl("rollout", "undo", f"deployment/{name}")
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    (pod,) = until(lambda: live_pods(kubectl, name), "one pod")
    assert {"name": "VERSION", "value": "1"} in pod["spec"]["containers"][0]["env"]
    history = kubectl("rollout", "history", f"deployment/{name}")
    assert "2" in history.split() and "3" in history.split()
    kubectl("scale", "deployment", name, "--replicas=3")
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    assert len(live_pods(kubectl, name)) == 3
    kubectl("scale", "deployment", name, "--replicas=0")
    until(lambda: not live_pods(kubectl, name), "no pod is left")


def test_recreate_ends_the_old_pods_before_it_starts_new_ones(kubectl: Shell, image: str, name: str) -> None:
    strategy = {"type": "Recreate"}
    kubectl.apply(deployment(name, image, 2, strategy=strategy))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    old = {p["metadata"]["uid"] for p in live_pods(kubectl, name)}
    overlap = threading.Event()
    kubectl.apply(deployment(name, image, 2, strategy=strategy, env={"VERSION": "2"}))

    def finished() -> bool:
        uids = {p["metadata"]["uid"] for p in kubectl.get("pods", "-l", f"app={name}")["items"]}
        if uids & old and uids - old:
            overlap.set()
        return len(uids) == 2 and not uids & old

    until(finished, "only new pods")
    assert not overlap.is_set()


def container_states(kubectl: Shell, name: str) -> list[Any]:
    pods = kubectl.get("pods", "-l", f"app={name}")["items"]
    return [s for p in pods for s in p.get("status", {}).get("containerStatuses", [])]


def pod_names(kubectl: Shell, name: str) -> list[str]:
    return [p["metadata"]["name"] for p in kubectl.get("pods", "-l", f"app={name}")["items"]]


def live_pods(kubectl: Shell, name: str) -> list[Any]:
    pods = kubectl.get("pods", "-l", f"app={name}")["items"]
    return [p for p in pods if not p["metadata"].get("deletionTimestamp")]
