"""Between decoding and storing: what the endpoint may write, what the server itself decides."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tidegate.sim.apiserver import allocation, definitions
from tidegate.sim.apiserver.admission import admit
from tidegate.sim.apiserver.decoding import drop_unknown
from tidegate.sim.apiserver.defaults import apply_defaults
from tidegate.sim.apiserver.normal import normalise
from tidegate.sim.apiserver.resources import Resource
from tidegate.sim.apiserver.schema import Shape
from tidegate.sim.apiserver.store import Store

Object = dict[str, Any]
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_STATUS_SURVIVES_CREATION: Final = frozenset({"Node"})
# kinds whose metadata.generation counts changes of the spec
_GENERATIONS: Final = frozenset(
    [
        "CronJob",
        "CustomResourceDefinition",
        "DaemonSet",
        "Deployment",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "ReplicaSet",
        "StatefulSet",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "PriorityClass",
        "EndpointSlice",
    ]
)
_SERVER_SIDE: Final = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "resourceVersion",
)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str) -> str:
    return prefix[:58] + "".join(secrets.choice(_ALPHABET) for _ in range(5))


def prepare_creation(resource: Resource, obj: Object) -> None:
    """System metadata and the status of a newborn. In place."""
    metadata = obj["metadata"]
    for name in _SERVER_SIDE:
        metadata.pop(name, None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    if _counts_generations(resource):
        metadata["generation"] = 1
    if resource.has_status and resource.kind not in _STATUS_SURVIVES_CREATION:
        obj.pop("status", None)


def _counts_generations(resource: Resource) -> bool:
    return resource.custom is not None or resource.kind in _GENERATIONS


def complete(resource: Resource, shape: Shape, obj: Object) -> None:
    """Defaults and normal form: what decoding a body fills in, and its writer owns. In place."""
    if resource.custom is not None:
        _complete_custom(resource, shape, obj)
        return
    normalise(shape, obj)
    apply_defaults(resource.kind, obj)
    if resource.kind == "DaemonSet":
        notes = obj["metadata"].setdefault("annotations", {})
        notes.setdefault("deprecated.daemonset.template.generation", "1")
    normalise(shape, obj)


def settle(resource: Resource, shape: Shape, store: Store, obj: Object, *, creating: bool) -> None:
    """What the server decides by itself, admission included: allocations, selectors, finalizers. Nobody owns it."""
    if resource.custom is not None:
        return
    if resource.kind == "Service":
        allocation.allocate(store, obj)
    if creating:
        admit(resource.kind, obj)
    normalise(shape, obj)
    if resource.kind in _STATUS:
        obj.setdefault("status", dict.fromkeys(_STATUS[resource.kind], 0))


_STATUS: Final[dict[str, tuple[str, ...]]] = {
    "CronJob": (),
    "DaemonSet": ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"),
    "Deployment": (),
    "Job": (),
    "PodDisruptionBudget": ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"),
    "ReplicaSet": ("replicas",),
    "StatefulSet": ("availableReplicas", "replicas"),
}
"""Numbers of a newborn's status that Go does not leave out when they are 0."""


def _complete_custom(resource: Resource, shape: Shape, obj: Object) -> None:
    schema = open_api(resource)
    drop_unknown(shape, obj)
    definitions.fill_defaults(schema, obj)
    normalise(shape.fields["metadata"], obj["metadata"])


def open_api(resource: Resource) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ((resource.custom or {}).get("schema") or {}).get("openAPIV3Schema") or {}
    return found


def merge_written(resource: Resource, old: Object, new: Object, subresource: str) -> Object:
    """What an update through this endpoint makes of the object: parts it does not write come from `old`."""
    metadata = dict(new["metadata"])
    for name in (*_SERVER_SIDE, "name", "namespace", "generateName"):
        metadata.pop(name, None)
        if name in old["metadata"]:
            metadata[name] = old["metadata"][name]
    if subresource == "status":
        return _status_only(resource, old, new, metadata)
    found = {**new, "metadata": metadata}
    if resource.has_status:
        found.pop("status", None)
        if "status" in old:
            found["status"] = old["status"]
    if resource.kind == "Namespace":
        # its finalizers are written through `finalize`, and nothing else is
        whose = new if subresource == "finalize" else old
        found = {**(old if subresource == "finalize" else found), "spec": whose.get("spec") or {}}
    if resource.kind == "Service" and found.get("spec", {}).get("type") != "ExternalName":
        _keep_allocations(old, found)
    if resource.kind == "Job":
        _keep_job_selector(old, found)
    return found


def _status_only(resource: Resource, old: Object, new: Object, metadata: Object) -> Object:
    if resource.custom is None:
        for name in ("labels", "ownerReferences"):
            metadata.pop(name, None)
            if name in old["metadata"]:
                metadata[name] = old["metadata"][name]
    else:
        metadata = {**old["metadata"], "managedFields": new["metadata"].get("managedFields", [])}
    found = {**old, "metadata": metadata}
    found.pop("status", None)
    if "status" in new:
        found["status"] = new["status"]
    return found


def _keep_allocations(old: Object, new: Object) -> None:
    before, after = old.get("spec") or {}, dict(new["spec"])
    if before.get("clusterIP") and not after.get("clusterIP"):
        after["clusterIP"] = before["clusterIP"]
    if after.get("type") in ("NodePort", "LoadBalancer"):
        ports = {
            (p.get("port"), p.get("protocol", "TCP")): p.get("nodePort") for p in before.get("ports") or ()
        }
        after["ports"] = [
            {**({"nodePort": n} if (n := ports.get((p.get("port"), p.get("protocol", "TCP")))) else {}), **p}
            for p in after.get("ports") or ()
        ]
    new["spec"] = after


def _keep_job_selector(old: Object, new: Object) -> None:
    """A manifest of a Job does not name the selector and labels the server made up; leaving them out keeps them."""
    before, after = old.get("spec") or {}, dict(new.get("spec") or {})
    after.setdefault("selector", before.get("selector"))
    mine = ((before.get("template") or {}).get("metadata") or {}).get("labels") or {}
    template = dict(after.get("template") or {})
    metadata = dict(template.get("metadata") or {})
    made = {k: v for k, v in mine.items() if k.endswith(("controller-uid", "job-name"))}
    metadata["labels"] = {**made, **(metadata.get("labels") or {})}
    after["template"] = {**template, "metadata": metadata}
    new["spec"] = after


def bump_generation(resource: Resource, old: Object, new: Object) -> None:
    """+1 when the desired state changed. In place."""
    if not _counts_generations(resource):
        return
    apart = {"metadata", "status"} if resource.has_status or resource.custom is None else {"metadata"}
    before = {k: v for k, v in old.items() if k not in apart}
    after = {k: v for k, v in new.items() if k not in apart}
    generation = old["metadata"].get("generation", 1)
    new["metadata"]["generation"] = generation + (before != after)
