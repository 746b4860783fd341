"""Which pods belong to what a workload wants now: an old version's crash must not fail the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.domain.health.status import unobserved
from tidegate.domain.manifests import Manifest, pod_template

_HASHES = {"pod-template-hash", "controller-revision-hash", "pod-template-generation"}


def current_pods(objects: Objects, workload: Manifest) -> list[Manifest]:
    """Pods of the workload's current template; none while its controller has not seen that."""
    found = _OF.get(workload.get("kind", ""))
    if found is None or (workload["kind"] not in ("Pod", "Job") and unobserved(workload)):
        return []
    return found(objects, workload)


def _of_deployment(objects: Objects, deployment: Manifest) -> list[Manifest]:
    """Through the ReplicaSet whose template is the Deployment's (kubectl `FindNewReplicaSet`)."""
    sets = _selected(objects, deployment, "apps/v1", "ReplicaSet")
    wanted = _bare(pod_template(deployment))
    new = [s for s in sets if _owned_by(s, deployment) and _bare(pod_template(s)) == wanted]
    pods = _selected(objects, deployment, "v1", "Pod") if new else []
    return [pod for pod in pods if any(_owned_by(pod, s) for s in new)]


def _of_replica_set(objects: Objects, owner: Manifest) -> list[Manifest]:
    return [pod for pod in _selected(objects, owner, "v1", "Pod") if _owned_by(pod, owner)]


def _of_stateful_set(objects: Objects, owner: Manifest) -> list[Manifest]:
    revision = (owner.get("status") or {}).get("updateRevision")
    pods = _of_replica_set(objects, owner)
    if not revision:
        return [pod for pod in pods if _runs_template(pod, owner)]
    return [pod for pod in pods if _labels(pod).get("controller-revision-hash") == revision]


def _of_daemon_set(objects: Objects, owner: Manifest) -> list[Manifest]:
    return [pod for pod in _of_replica_set(objects, owner) if _runs_template(pod, owner)]


def _of_job(objects: Objects, job: Manifest) -> list[Manifest]:
    name, namespace = job["metadata"]["name"], job["metadata"].get("namespace", "")
    pods = objects.list("v1", "Pod", namespace=namespace, labels={"job-name": name})
    return [pod for pod in pods if _owned_by(pod, job)]


_OF: Mapping[str, Callable[[Objects, Manifest], list[Manifest]]] = {
    "Deployment": _of_deployment,
    "ReplicaSet": _of_replica_set,
    "StatefulSet": _of_stateful_set,
    "DaemonSet": _of_daemon_set,
    "Job": _of_job,
    "Pod": lambda objects, pod: [pod],
}


def has_pods(obj: Manifest | None) -> bool:
    """Whether pods are to be expected of it."""
    return (obj or {}).get("kind") in _OF


def _selected(objects: Objects, workload: Manifest, group_version: str, kind: str) -> list[Manifest]:
    selector = (workload.get("spec") or {}).get("selector") or {}
    namespace = workload["metadata"].get("namespace", "")
    return objects.list(group_version, kind, namespace=namespace, labels=selector_text(selector))


def selector_text(selector: Mapping[str, Any]) -> str:
    """A label selector in the form of a query."""
    operators = {"In": "{} in ({})", "NotIn": "{} notin ({})", "Exists": "{}", "DoesNotExist": "!{}"}
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for e in selector.get("matchExpressions") or []:
        parts.append(operators[e["operator"]].format(e["key"], ",".join(e.get("values") or [])))
    return ",".join(parts)


def _owned_by(obj: Manifest, owner: Manifest) -> bool:
    uid = owner["metadata"].get("uid")
    return any(o.get("uid") == uid for o in obj["metadata"].get("ownerReferences") or [])


def _labels(obj: Manifest) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _bare(template: Manifest | None) -> Manifest:
    """A pod template without the labels its controller adds."""
    meta = (template or {}).get("metadata") or {}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k not in _HASHES}
    return {
        "labels": labels,
        "annotations": meta.get("annotations") or {},
        "spec": (template or {}).get("spec"),
    }


def _runs_template(pod: Manifest, owner: Manifest) -> bool:
    wanted = ((pod_template(owner) or {}).get("spec") or {}).get("containers") or []
    running = {c["name"]: c.get("image") for c in pod["spec"].get("containers") or []}
    return all(running.get(c["name"]) == c.get("image") for c in wanted)
