"""What a real server adds to a newborn after its writer's fields are known: its own decisions, owned by nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Object = dict[str, Any]
IN_USE: Final = {
    "PersistentVolume": "kubernetes.io/pv-protection",
    "PersistentVolumeClaim": "kubernetes.io/pvc-protection",
}
"""Finalizers that hold storage as long as somebody uses it; a controller takes them away."""
_JOB_LABELS: Final = ("batch.kubernetes.io/controller-uid", "controller-uid")
_TOLERATED: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_EVERY_EFFECT: Final = ("", "NoExecute")


def admit(kind: str, obj: Object) -> None:
    """In place, at creation only."""
    if kind in IN_USE:
        _protect(obj, IN_USE[kind])
    elif kind in _ADDED:
        _ADDED[kind](obj)


def _protect(obj: Object, finalizer: str) -> None:
    held = obj["metadata"].setdefault("finalizers", [])
    if finalizer not in held:
        held.append(finalizer)


def _job(obj: Object) -> None:
    """The selector by the Job's own uid, and the labels that match it in the template."""
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    metadata = spec.setdefault("template", {}).setdefault("metadata", {})
    marks = metadata.setdefault("labels", {})
    for name in _JOB_LABELS:
        marks[name] = obj["metadata"]["uid"]
    marks["batch.kubernetes.io/job-name"] = marks["job-name"] = obj["metadata"]["name"]
    spec["selector"] = {"matchLabels": {_JOB_LABELS[0]: obj["metadata"]["uid"]}}
    if not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(marks)


def _namespace(obj: Object) -> None:
    finalizers = obj["spec"].setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def _pod(obj: Object) -> None:
    """DefaultTolerationSeconds and Priority."""
    spec = obj["spec"]
    tolerations = spec.setdefault("tolerations", [])
    for key in _TOLERATED:
        if not any(_tolerates(toleration, key) for toleration in tolerations):
            stays = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations.append(stays)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in _EVERY_EFFECT


_ADDED: Final[dict[str, Callable[[Object], None]]] = {"Job": _job, "Namespace": _namespace, "Pod": _pod}
