"""What an object may say and probably should not: the warnings that come with an answer that says yes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tidegate.sim.apiserver.resources import Resource

Object = dict[str, Any]
_POD_SPECS: Final = {
    "CronJob": "spec.jobTemplate.spec.template.spec",
    "DaemonSet": "spec.template.spec",
    "Deployment": "spec.template.spec",
    "Job": "spec.template.spec",
    "Pod": "spec",
    "ReplicaSet": "spec.template.spec",
    "StatefulSet": "spec.template.spec",
}
ORPHANED_PODS: Final = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


def of(resource: Resource, obj: Object) -> list[str]:
    """Kubernetes' words (`pkg/api/pod/warnings.go`), for the part of them that is told here."""
    path = _POD_SPECS.get(resource.kind) if resource.custom is None else None
    if path is None:
        return []
    found: Any = obj
    for name in path.split("."):
        found = found.get(name) or {}
    return list(_spread(found, path))


def _spread(spec: Object, path: str) -> Iterator[str]:
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        if constraint.get("labelSelector") is None:
            where = f"{path}.topologySpreadConstraints[{index}].labelSelector"
            yield f"{where}: a null labelSelector results in matching no pod"
