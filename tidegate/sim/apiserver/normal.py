"""The form in which the real server would hand an object back: nulls and empties gone, quantities canonical.

There every object passes through Go structs; fields marked `omitempty` disappear when they are empty.
"""

from __future__ import annotations

from typing import Any, Final

from tidegate.sim.apiserver.quantity import canonical
from tidegate.sim.apiserver.schema import Form, Shape

# lists that Go writes even when they are empty or nil
_KEPT: Final = frozenset({"rules", "endpoints"})
# numbers and booleans without a pointer: zero means absent
_ZERO_IS_ABSENT: Final = frozenset(
    [
        "minReadySeconds",
        "paused",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostPort",
        "initialDelaySeconds",
        "stdin",
        "stdinOnce",
        "tty",
        "publishNotReadyAddresses",
        "nodePort",
        "observedGeneration",
    ]
)
_EMPTY_IS_ABSENT: Final = frozenset(
    [
        "nodeName",
        "hostname",
        "subdomain",
        "workingDir",
        "clusterName",
        "priorityClassName",
        "serviceAccountName",
        "serviceAccount",
        "generateName",
        "selfLink",
    ]
)


# times that Go writes as null when they are not set, by the type that has them
_TIMES: Final[dict[str, tuple[str, ...]]] = {
    "DaemonSetCondition": ("lastTransitionTime",),
    "DeploymentCondition": ("lastTransitionTime", "lastUpdateTime"),
    "HorizontalPodAutoscalerCondition": ("lastTransitionTime",),
    "JobCondition": ("lastProbeTime", "lastTransitionTime"),
    "NamespaceCondition": ("lastTransitionTime",),
    "NodeCondition": ("lastHeartbeatTime", "lastTransitionTime"),
    "PersistentVolumeClaimCondition": ("lastProbeTime", "lastTransitionTime"),
    "PodCondition": ("lastProbeTime", "lastTransitionTime"),
    "ReplicaSetCondition": ("lastTransitionTime",),
    "StatefulSetCondition": ("lastTransitionTime",),
}
_ALL_TIMES: Final = frozenset(name for names in _TIMES.values() for name in names)


def normalise(shape: Shape, value: dict[str, Any]) -> dict[str, Any]:
    """Change `value` in place and hand it back. Only for built-in types."""
    for name in _TIMES.get(shape.name, ()):
        value.setdefault(name, None)
    for name in list(value):
        child, sub = value[name], shape.field(name)
        if sub is None or sub.form is Form.ANY:
            if child is None:
                del value[name]
            continue
        if _absent(sub, name, child):
            del value[name]
            continue
        value[name] = _value(sub, child)
    return value


def _absent(shape: Shape, name: str, value: Any) -> bool:
    if value is None:
        return name not in _KEPT and name not in _ALL_TIMES
    if shape.form in (Form.LIST, Form.MAP) and not value:
        return name not in _KEPT
    if value == "" and name in _EMPTY_IS_ABSENT:
        return True
    return (value is False or (value == 0 and value is not True)) and name in _ZERO_IS_ABSENT


def _value(shape: Shape, value: Any) -> Any:
    if shape.quantity and isinstance(value, str | int | float):
        return canonical(value) or str(value)
    if shape.form in (Form.STRUCT, Form.MAP) and isinstance(value, dict):
        return _map(shape, value) if shape.form is Form.MAP else normalise(shape, value)
    if shape.form is Form.LIST and isinstance(value, list) and shape.element is not None:
        element = shape.element
        return [_value(element, v) for v in value] if element.form is not Form.SCALAR else value
    return value


def _map(shape: Shape, value: dict[str, Any]) -> dict[str, Any]:
    element = shape.element
    if element is None or (element.form is Form.SCALAR and not element.quantity):
        for name in [n for n, v in value.items() if v is None]:
            value[name] = ""
        return value
    for name, child in value.items():
        value[name] = _value(element, child)
    return value
