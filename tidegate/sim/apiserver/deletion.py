"""DELETE: now, later, or when everybody who must agree has agreed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tidegate.sim.apiserver import failures, strategy
from tidegate.sim.apiserver.registry import Registry
from tidegate.sim.apiserver.resources import NAMESPACES, PODS, Resource
from tidegate.sim.apiserver.store import Name, Stored, clone

Object = dict[str, Any]
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_ANSWERS_OBJECT: Final = frozenset(
    ["Pod", "Service", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "ResourceQuota"]
)


_ORPHANS: Final = frozenset(["Job"])
"""Kinds whose dependents stay unless the request says otherwise."""


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What DELETE may carry, from query and body."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    @classmethod
    def read(cls, query: dict[str, str], body: Any) -> DeleteOptions:
        given = body if isinstance(body, dict) else {}
        grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        propagation = given.get("propagationPolicy") or query.get("propagationPolicy") or ""
        orphan = given.get("orphanDependents", query.get("orphanDependents"))
        if orphan in (True, "true"):
            propagation = "Orphan"
        if propagation not in ("", "Background", "Foreground", "Orphan"):
            causes = [
                failures.field_unsupported(
                    "propagationPolicy", propagation, ("Foreground", "Background", "Orphan", "nil")
                )
            ]
            raise failures.invalid("meta.k8s.io", "DeleteOptions", "", causes)
        preconditions = given.get("preconditions") or {}
        dry = given.get("dryRun") or query.get("dryRun")
        return cls(
            grace=None if grace is None else _seconds(grace),
            propagation=propagation,
            uid=preconditions.get("uid") or "",
            resource_version=preconditions.get("resourceVersion") or "",
            dry_run=bool(dry),
        )


def _seconds(value: Any) -> int:
    if str(value).isdigit():
        return int(value)
    causes = [failures.field_invalid("gracePeriodSeconds", value, "must be greater than or equal to 0")]
    raise failures.invalid("meta.k8s.io", "DeleteOptions", "", causes)


def delete(registry: Registry, resource: Resource, name: Name, options: DeleteOptions) -> tuple[int, Any]:
    """Delete one object. Answers (code, object or Status). Raises 404, 409."""
    with registry.store.lock:
        stored = registry.find(resource, *name)
        _check(resource, stored, options)
        if resource.key == NAMESPACES:
            return 200, _mark_namespace(registry, resource, name, stored, options)
        if resource.kind in _ORPHANS and not options.propagation:
            options = replace(options, propagation="Orphan")
        grace = _grace(resource, stored.object, options)
        marks = _finalizers(stored.object, options)
        if not marks and not grace:
            gone = stored if options.dry_run else registry.remove(resource, name)
            return 200, _answer(resource, gone)
        new = _marked(resource, stored.object, grace, marks)
        if options.dry_run:
            return 200, new
        if new != stored.object:
            stored = registry.store.put(resource.key, name, new)
        return 200, stored


def _check(resource: Resource, stored: Stored, options: DeleteOptions) -> None:
    metadata = stored.object["metadata"]
    for label, wanted, found, perhaps in (
        ("UID", options.uid, metadata["uid"], "deleted and then recreated"),
        ("ResourceVersion", options.resource_version, str(stored.rv), "modified"),
    ):
        if wanted and wanted != found:
            why = (
                f"the {label} in the precondition ({wanted}) does not match the {label} in record ({found}). "
                f"The object might have been {perhaps}"
            )
            raise failures.conflict(resource.group, resource.kind, metadata["name"], why)


def _grace(resource: Resource, obj: Object, options: DeleteOptions) -> int:
    """Seconds somebody else has to confirm the end of the object: only pods that run somewhere."""
    if resource.key != PODS:
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    default = spec.get("terminationGracePeriodSeconds", 30)
    asked = default if options.grace is None else options.grace
    before = obj["metadata"].get("deletionGracePeriodSeconds")
    return int(asked if before is None else min(asked, before))


def _finalizers(obj: Object, options: DeleteOptions) -> list[str]:
    found = [f for f in obj["metadata"].get("finalizers") or () if f not in (FOREGROUND, ORPHAN)]
    kept = [f for f in obj["metadata"].get("finalizers") or () if f in (FOREGROUND, ORPHAN)]
    match options.propagation:
        case "Foreground":
            kept = [FOREGROUND]
        case "Orphan":
            kept = [ORPHAN]
        case "Background":
            kept = []
    return found + kept


def _marked(resource: Resource, obj: Object, grace: int, finalizers: list[str]) -> Object:
    new: Object = clone(obj)
    metadata = new["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("deletionGracePeriodSeconds", 0) != grace:
        until = datetime.now(UTC) + timedelta(seconds=grace)
        if not metadata.get("deletionTimestamp") or resource.key == PODS:
            metadata["deletionTimestamp"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
    metadata["finalizers"] = finalizers
    if not finalizers:
        del metadata["finalizers"]
    return new


def _mark_namespace(
    registry: Registry, resource: Resource, name: Name, stored: Stored, options: DeleteOptions
) -> Any:
    if name[1] in ("default", "kube-system", "kube-public"):
        raise failures.forbidden("", "namespaces", name[1], "this namespace may not be deleted")
    if stored.object["metadata"].get("deletionTimestamp"):
        return stored
    new = clone(stored.object)
    new["metadata"]["deletionTimestamp"] = strategy.now()
    new["metadata"].setdefault("deletionGracePeriodSeconds", 0)
    new.setdefault("status", {})["phase"] = "Terminating"
    return new if options.dry_run else registry.store.put(resource.key, name, new)


def _answer(resource: Resource, gone: Stored) -> Any:
    if resource.kind in _ANSWERS_OBJECT:
        return gone
    metadata = gone.object["metadata"]
    details = {
        "name": metadata["name"],
        "group": resource.group,
        "kind": resource.plural,
        "uid": metadata["uid"],
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {k: v for k, v in details.items() if v},
    }
