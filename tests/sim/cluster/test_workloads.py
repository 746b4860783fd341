"""StatefulSets, DaemonSets, Jobs and what pods can ask for, on the embedded cluster."""

from __future__ import annotations

import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sim.cluster.embedded import Shell, deployment, service, until
from tidegate.sim.client import DEPLOYMENTS, ENDPOINT_SLICES, PODS, REPLICA_SETS, SERVICES, Client
from tidegate.sim.cluster import Cluster

Get = Callable[[str], str]


@pytest.fixture
def name(kubectl: Shell) -> Iterator[str]:
    fresh = f"work-{uuid.uuid4().hex[:6]}"
    yield fresh
    kinds = "deployment,service,job,statefulset,daemonset,configmap,secret"
    kubectl("delete", kinds, fresh, "--ignore-not-found", "--wait=false")


def workload(kind: str, name: str, image: str, **spec: Any) -> dict[str, Any]:
    made = deployment(name, image, **{k: spec.pop(k) for k in ("env", "container", "pod") if k in spec})
    template, selector = made["spec"]["template"], made["spec"]["selector"]
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": made["metadata"],
        "spec": {"selector": selector, "template": template, **spec},
    }


def job(name: str, image: str, script: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": image, "command": ["sh", "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template, **spec}}


def owned(kubectl: Shell, name: str) -> list[Any]:
    return [
        p
        for p in kubectl.get("pods")["items"]
        if any(o["name"] == name for o in p["metadata"].get("ownerReferences", []))
    ]


def test_a_stateful_set_starts_in_order_and_is_updated_from_the_top(
    kubectl: Shell, image: str, name: str
) -> None:
    claims = [
        {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }
    ]
    more = {"serviceName": name, "replicas": 2, "volumeClaimTemplates": claims}
    mount = {"container": {"volumeMounts": [{"name": "data", "mountPath": "/app/data"}]}}
    kubectl.apply(workload("StatefulSet", name, image, **more, **mount))
    kubectl("rollout", "status", f"statefulset/{name}", "--timeout=60s")
    found = {p["metadata"]["name"]: p for p in owned(kubectl, name)}
    assert found.keys() == {f"{name}-0", f"{name}-1"}
    first, second = (found[f"{name}-{n}"] for n in (0, 1))
    ready = next(c for c in first["status"]["conditions"] if c["type"] == "Ready")["lastTransitionTime"]
    assert ready <= second["metadata"]["creationTimestamp"]
    assert kubectl.get("pvc", f"data-{name}-0")["status"]["phase"] == "Bound"

    kubectl.apply(workload("StatefulSet", name, image, env={"VERSION": "2"}, **more, **mount))
    kubectl("rollout", "status", f"statefulset/{name}", "--timeout=60s")
    status = kubectl.get("statefulset", name)["status"]
    assert status["updatedReplicas"] == status["readyReplicas"] == 2
    after = {p["metadata"]["name"]: p for p in owned(kubectl, name)}
    assert (
        after[f"{name}-1"]["metadata"]["creationTimestamp"]
        <= after[f"{name}-0"]["metadata"]["creationTimestamp"]
    )

    kubectl("delete", "pvc", f"data-{name}-0", f"data-{name}-1", "--wait=false")
    held = kubectl.get("pvc", f"data-{name}-0")["metadata"]
    assert held["deletionTimestamp"]
    assert held["finalizers"] == ["kubernetes.io/pvc-protection"], "its pod runs"
    kubectl("delete", "statefulset", name)
    kubectl("wait", "--for=delete", f"pvc/data-{name}-0", f"pvc/data-{name}-1", "--timeout=60s")


def test_a_partition_holds_the_lower_ordinals_back(kubectl: Shell, image: str, name: str) -> None:
    strategy = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}
    more = {"serviceName": name, "replicas": 2, **strategy}
    kubectl.apply(workload("StatefulSet", name, image, **more))
    kubectl("rollout", "status", f"statefulset/{name}", "--timeout=60s")
    kubectl.apply(workload("StatefulSet", name, image, env={"VERSION": "2"}, **more))

    def versions() -> dict[str, str]:
        found = {}
        for pod in owned(kubectl, name):
            env = {e["name"]: e["value"] for e in pod["spec"]["containers"][0]["env"]}
            found[pod["metadata"]["name"]] = env.get("VERSION", "1")
        return found

    until(lambda: versions() == {f"{name}-0": "1", f"{name}-1": "2"}, "only the highest is updated")
    kubectl("delete", "pod", f"{name}-0", "--timeout=60s")
    until(lambda: versions() == {f"{name}-0": "1", f"{name}-1": "2"}, "the lower comes back as it was")


def test_a_daemon_set_runs_once_on_the_node_and_is_replaced(kubectl: Shell, image: str, name: str) -> None:
    kubectl.apply(workload("DaemonSet", name, image))
    kubectl("rollout", "status", f"daemonset/{name}", "--timeout=60s")
    (before,) = owned(kubectl, name)
    kubectl.apply(workload("DaemonSet", name, image, env={"VERSION": "2"}))
    kubectl("rollout", "status", f"daemonset/{name}", "--timeout=60s")
    (after,) = [p for p in owned(kubectl, name) if not p["metadata"].get("deletionTimestamp")]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_a_job_completes_and_its_pods_tell_the_story(kubectl: Shell, image: str, name: str) -> None:
    kubectl.apply(job(name, image, "echo one of many", completions=3, parallelism=2))
    kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=60s")
    status = kubectl.get("job", name)["status"]
    assert status["succeeded"] == 3 and "completionTime" in status
    assert {p["status"]["phase"] for p in owned(kubectl, name)} == {"Succeeded"}
    assert "one of many" in kubectl("logs", f"job/{name}")


def test_a_job_past_its_backoff_limit_fails_and_one_with_a_ttl_vanishes(
    kubectl: Shell, image: str, name: str
) -> None:
    kubectl.apply(job(name, image, "echo no luck >&2; exit 4", backoffLimit=0, ttlSecondsAfterFinished=2))
    kubectl("wait", "--for=condition=Failed", f"job/{name}", "--timeout=60s")
    seen = kubectl("get", "job", name, "--ignore-not-found", "-o", "jsonpath={.status.conditions[*].reason}")
    assert not seen or "BackoffLimitExceeded" in seen
    until(lambda: not kubectl("get", "job", name, "--ignore-not-found").strip(), "the Job is gone")
    until(lambda: not owned(kubectl, name), "its pods too")


def test_configuration_reaches_the_process_as_environment_and_files(
    kubectl: Shell, cluster: Cluster, image: str, name: str, web: Get
) -> None:
    data = {"apiVersion": "v1", "metadata": {"name": name, "namespace": "default"}}
    container = {
        "envFrom": [{"configMapRef": {"name": name}}],
        "env": [
            {"name": "NAME", "value": name},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": name, "key": "word"}}},
        ],
        "volumeMounts": [{"name": "config", "mountPath": "/app/config"}],
    }
    pod = {"volumes": [{"name": "config", "configMap": {"name": name}}]}
    kubectl.apply(deployment(name, image, container=container, pod=pod), service(name, {"app": name}))

    def events() -> str:
        return kubectl("get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.message}{'\\n'}{end}")

    until(lambda: f'configmap "{name}" not found' in events(), "the pod says what it waits for")
    kubectl.apply({**data, "kind": "ConfigMap", "data": {"MODE": "fast"}})
    kubectl.apply({**data, "kind": "Secret", "stringData": {"word": "open sesame"}})
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    address = until(lambda: cluster.address("default", name), "the Service has an address")
    env = dict(line.split("=", 1) for line in web(f"http://{address}/env").splitlines() if "=" in line)
    assert (env["MODE"], env["WORD"]) == ("fast", "open sesame")
    assert env["HOST"] == env["POD_IP"] and env["PORT"] == "8080"
    assert env["HOSTNAME"] in pod_names(kubectl, name)
    assert env[f"{name.upper().replace('-', '_')}_SERVICE_HOST"] == "127.0.0.1"
    assert not {"SSH_AUTH_SOCK", "KUBECONFIG", "PYTEST_CURRENT_TEST"} & env.keys()
    assert web(f"http://{address}/file/config/MODE") == "fast"


def test_init_containers_run_before_the_others_and_share_volumes(
    kubectl: Shell, cluster: Cluster, image: str, name: str, web: Get
) -> None:
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/app/work"}]}
    prepare = {"name": "prepare", "image": image, "command": ["sh", "-c", "echo done > work/it"], **mount}
    pod = {"initContainers": [prepare], "volumes": [{"name": "work", "emptyDir": {}}]}
    kubectl.apply(deployment(name, image, container=mount, pod=pod), service(name, {"app": name}))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    address = until(lambda: cluster.address("default", name), "the Service has an address")
    assert web(f"http://{address}/file/work/it") == "done\n"


def test_a_stopping_pod_finishes_its_work_within_its_grace_period(
    kubectl: Shell, image: str, name: str
) -> None:
    hook = {
        "lifecycle": {
            "preStop": {"exec": {"command": ["sh", "-c", "echo leaving > /proc/self/fd/1; sleep 1"]}}
        }
    }
    kubectl.apply(deployment(name, image, container=hook))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    (pod,) = owned_by_app(kubectl, name)
    follow = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(kubectl.kubeconfig), "logs", "-f", pod["metadata"]["name"]],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follow.stdout is not None
    assert "serving as" in follow.stdout.readline()
    kubectl("delete", "deployment", name, "--wait=false")
    rest, _ = follow.communicate(timeout=60)
    assert rest.rstrip().endswith("bye")
    until(lambda: not owned_by_app(kubectl, name), "the pod is gone")


def owned_by_app(kubectl: Shell, name: str) -> list[Any]:
    found: list[Any] = kubectl.get("pods", "-l", f"app={name}")["items"]
    return found


def pod_names(kubectl: Shell, name: str) -> set[str]:
    return {p["metadata"]["name"] for p in owned_by_app(kubectl, name)}


def test_deployments_with_overlapping_selectors_leave_each_others_pods_alone(
    kubectl: Shell, image: str, name: str
) -> None:
    narrow = deployment(f"{name}-canary", image, 1, labels={"app": name, "track": "canary"})
    kubectl.apply(deployment(name, image, 2), narrow)
    try:
        for each in (name, f"{name}-canary"):
            kubectl("rollout", "status", f"deployment/{each}", "--timeout=60s")
        before = {p["metadata"]["uid"] for p in owned_by_app(kubectl, name)}
        assert len(before) == 3
        kubectl("scale", "deployment", name, "--replicas=3")
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
        assert before < {p["metadata"]["uid"] for p in owned_by_app(kubectl, name)}
    finally:
        kubectl("delete", "deployment", f"{name}-canary", "--wait=false")
    until(lambda: len(owned_by_app(kubectl, name)) == 3, "the canary alone is gone")


def test_a_settled_deployment_causes_no_more_writes(
    client: Client, kubectl: Shell, image: str, name: str
) -> None:
    kubectl.apply(deployment(name, image, 2), service(name, {"app": name}))
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    pause = threading.Event()

    def still() -> bool:
        before = versions(client, name)
        pause.wait(3.0)
        return versions(client, name) == before

    until(still, "nothing of the Deployment changes for three seconds")


def versions(client: Client, name: str) -> set[tuple[str, str]]:
    everything = [
        o for r in (DEPLOYMENTS, REPLICA_SETS, PODS, SERVICES, ENDPOINT_SLICES) for o in client.list(r)[0]
    ]
    meta = [o["metadata"] for o in everything]
    return {(m["name"], m["resourceVersion"]) for m in meta if m["name"].startswith(name)}


def test_deleting_a_namespace_ends_everything_in_it(
    kubectl: Shell, cluster: Cluster, image: str, name: str
) -> None:
    kubectl("create", "namespace", name)
    made = deployment("web", image, 2, namespace=name)
    kubectl.apply(made)
    kubectl("rollout", "status", "deployment/web", "-n", name, "--timeout=60s")
    addresses = [p["status"]["podIP"] for p in kubectl.get("pods", "-n", name)["items"]]
    kubectl("delete", "namespace", name, "--timeout=90s")
    assert not kubectl("get", "namespace", name, "--ignore-not-found").strip()
    for address in addresses:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address, 8080), timeout=5).close()


def test_a_bare_pod_runs_and_a_forced_deletion_ends_its_process_too(
    kubectl: Shell, image: str, name: str
) -> None:
    spec = deployment(name, image)["spec"]["template"]["spec"]
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    )
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    address = kubectl.get("pod", name)["status"]["podIP"]
    kubectl("delete", "pod", name, "--force", "--grace-period=0")

    def refused() -> bool:
        try:
            socket.create_connection((address, 8080), timeout=5).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # the socket died between our knock and its answer
            return False
        return False

    until(refused, "nobody listens there any more")


def test_a_volume_that_is_deleted_goes(kubectl: Shell, name: str) -> None:
    spec = {
        "capacity": {"storage": "1Mi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nowhere"},
    }
    kubectl.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
    assert kubectl.get("pv", name)["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    kubectl("delete", "pv", name, "--timeout=60s")
