"""What controllers ask of pods: are they active, ready, available, whose are they; and how a template becomes one."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tidegate.errors import Conflict, NotFound, OutsideError, Unknown
from tidegate.sim.client import PODS, Client, Object, Resource, seconds
from tidegate.sim.events import NORMAL, WARNING, Recorder
from tidegate.sim.informer import Informer, controller_of

HASH_LABEL = "pod-template-hash"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""The alphabet of names Kubernetes generates (util/rand SafeEncodeString): no vowels, no bad words."""


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """A LabelSelector against labels; the empty selector matches all, a missing one nothing."""
    if selector is None:
        return False
    have = labels or {}
    if any(have.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(e, have) for e in selector.get("matchExpressions") or [])


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


def condition(obj: Mapping[str, Any], kind: str) -> Object | None:
    for found in (obj.get("status") or {}).get("conditions") or []:
        if found.get("type") == kind:
            result: Object = found
            return result
    return None


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_active(pod: Mapping[str, Any]) -> bool:
    return phase(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)


def is_ready(pod: Mapping[str, Any]) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.get("status") == "True"


def ready_since(pod: Mapping[str, Any]) -> float:
    """Unix seconds of the last change to Ready; 0 when not ready."""
    found = condition(pod, "Ready")
    return seconds(found.get("lastTransitionTime")) if found and found.get("status") == "True" else 0.0


def available_in(pod: Mapping[str, Any], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod counts as available (0: now); None when it is not ready."""
    if not is_ready(pod):
        return None
    if not min_ready_seconds:
        return 0.0
    return max(ready_since(pod) + min_ready_seconds - now, 0.0)


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """Ten safe characters that stand for the template's content (and the number of hash collisions so far)."""
    text = json.dumps([without_hash(template), collisions], sort_keys=True)
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:10])


def without_hash(template: Mapping[str, Any]) -> Object:
    """The template as the user wrote it: without the label the Deployment controller adds."""
    plain = copy.deepcopy(dict(template))
    metadata = plain.get("metadata") or {}
    labels = dict(metadata.get("labels") or {})
    labels.pop(HASH_LABEL, None)
    plain["metadata"] = {
        k: v for k, v in {**metadata, "labels": labels}.items() if v and k != "creationTimestamp"
    }
    return plain


def owner_reference(owner: Object, resource: Resource) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod_from(owner: Object, resource: Resource, template: Mapping[str, Any], **metadata: Any) -> Object:
    """A pod as `owner` creates it; `metadata` adds name or labels."""
    source = template.get("metadata") or {}
    labels = {**(source.get("labels") or {}), **metadata.pop("labels", {})}
    meta: Object = {
        "namespace": owner["metadata"]["namespace"],
        "labels": labels,
        "annotations": dict(source.get("annotations") or {}),
        "ownerReferences": [owner_reference(owner, resource)],
        **({"finalizers": list(source["finalizers"])} if source.get("finalizers") else {}),
        **metadata,
    }
    if "name" not in meta:
        meta["generateName"] = f"{owner['metadata']['name']}-"
    return {"metadata": {k: v for k, v in meta.items() if v}, "spec": copy.deepcopy(template["spec"])}


class PodControl:
    """Creates and deletes pods for one kind of owner, with the events real controllers write."""

    def __init__(self, client: Client, pods: Informer, recorder: Recorder, resource: Resource) -> None:
        self._client = client
        self._pods = pods
        self._recorder = recorder
        self._resource = resource

    def create(self, owner: Object, pod: Object) -> Object:
        try:
            created = self._pods.remember(self._client.create(PODS, pod))
        except Unknown:
            self._look_again(pod["metadata"]["namespace"])
            raise
        except OutsideError as error:
            if not isinstance(error, Conflict):
                self._recorder.event(owner, WARNING, "FailedCreate", f"Error creating: {error}")
            raise
        name = created["metadata"]["name"]
        self._recorder.event(owner, NORMAL, "SuccessfulCreate", f"Created pod: {name}")
        return created

    def _look_again(self, namespace: str) -> None:
        """After a lost answer the pod may exist: the next round must know it, not make another."""
        for found in self._client.list(PODS, namespace)[0]:
            self._pods.remember(found)

    def delete(self, owner: Object, pod: Object) -> None:
        meta = pod["metadata"]
        try:
            answer = self._client.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"])
        except NotFound:
            self._pods.forget(pod)
            return
        if answer.get("kind") == "Pod" and is_deleting(answer):
            self._pods.remember(answer)
        else:
            self._pods.forget(pod)
        self._recorder.event(owner, NORMAL, "SuccessfulDelete", f"Deleted pod: {meta['name']}")


def adopt(
    client: Client, informer: Informer, owner: Object, resource: Resource, selector: Mapping[str, Any] | None
) -> list[Object]:
    """The objects `owner` controls, orphans that match its selector taken in (never somebody else's)."""
    meta = owner["metadata"]
    mine = informer.controlled_by(meta["uid"])
    if is_deleting(owner) or not selector:
        return mine
    for orphan in informer.all(meta["namespace"]):
        if (
            controller_of(orphan)
            or is_deleting(orphan)
            or not matches(selector, orphan["metadata"].get("labels"))
        ):
            continue
        if orphan["kind"] == "Pod" and not is_active(orphan):
            continue
        mine.append(_take_in(client, informer, orphan, owner_reference(owner, resource)))
    return mine


def _take_in(client: Client, informer: Informer, orphan: Object, reference: Object) -> Object:
    meta = orphan["metadata"]
    owners = [*(meta.get("ownerReferences") or []), reference]
    body = {"metadata": {"uid": meta["uid"], "ownerReferences": owners}}
    return informer.remember(client.patch(informer.resource, meta["namespace"], meta["name"], body))


def deletion_rank(pod: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key: the pod to delete first comes first (kubernetes/pkg/controller ActivePods).

    Unscheduled before scheduled, pending before running, not ready before ready, lower deletion cost, ready for
    a shorter time, more restarts, younger.
    """
    status = pod.get("status") or {}
    annotations = pod["metadata"].get("annotations") or {}
    cost = annotations.get("controller.kubernetes.io/pod-deletion-cost", "0")
    restarts = sum(c.get("restartCount", 0) for c in status.get("containerStatuses") or [])
    return (
        bool((pod.get("spec") or {}).get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
        is_ready(pod),
        int(cost) if cost.lstrip("+-").isdigit() else 0,
        -ready_since(pod),
        -restarts,
        -seconds(pod["metadata"].get("creationTimestamp")),
    )


def count_by(
    pods: Iterable[Mapping[str, Any]], min_ready_seconds: int, now: float
) -> tuple[int, int, float | None]:
    """(ready, available, seconds until the next one becomes available)."""
    waits = [available_in(pod, min_ready_seconds, now) for pod in pods]
    ready = [wait for wait in waits if wait is not None]
    later = [wait for wait in ready if wait > 0]
    return len(ready), len(ready) - len(later), min(later) if later else None


def set_condition(conditions: list[Object], new: Object) -> list[Object]:
    """`conditions` with `new` in place of its type; as they were when neither status nor reason changed."""
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None and (old.get("status"), old.get("reason")) == (new["status"], new.get("reason")):
        return conditions
    return replace_condition(conditions, new)


def replace_condition(conditions: list[Object], new: Object) -> list[Object]:
    """`conditions` with `new` in place of its type; the transition time moves only with the status."""
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None and old.get("status") == new["status"] and old.get("lastTransitionTime"):
        new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
    return [*(c for c in conditions if c["type"] != new["type"]), new]
