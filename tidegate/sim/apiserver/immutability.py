"""What an update must leave alone. The texts are those clients recognise an immutable field by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from tidegate.sim.apiserver.failures import Cause, field_forbidden, field_invalid

Object = dict[str, Any]
IMMUTABLE: Final = "field is immutable"
_STS_FREE: Final = frozenset(
    [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ]
)
_STS_TEXT: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_POD_TEXT: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_CLAIM_TEXT: Final = (
    "spec is immutable after creation except resources.requests and "
    "volumeAttributesClassName for bound claims"
)


def _spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def _selector(old: Object, new: Object) -> Iterator[Cause]:
    if _spec(old).get("selector") != _spec(new).get("selector"):
        yield field_invalid("spec.selector", _spec(new).get("selector"), IMMUTABLE)


def _stateful_set(old: Object, new: Object) -> Iterator[Cause]:
    before, after = _spec(old), _spec(new)
    if any(before.get(k) != after.get(k) for k in (before.keys() | after.keys()) - _STS_FREE):
        yield field_forbidden("spec", _STS_TEXT)


def _job(old: Object, new: Object) -> Iterator[Cause]:
    for name in (
        "completions",
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
    ):
        if _spec(old).get(name) != _spec(new).get(name):
            yield field_invalid(f"spec.{name}", _spec(new).get(name), IMMUTABLE)


def _claim(old: Object, new: Object) -> Iterator[Cause]:
    def fixed(obj: Object) -> Object:
        bound = bool(_spec(old).get("volumeName"))
        free = {"volumeName"} if not bound else set()
        found = {
            k: v for k, v in _spec(obj).items() if k not in {*free, "resources", "volumeAttributesClassName"}
        }
        return found if bound else {**found, "resources": _spec(obj).get("resources")}

    if fixed(old) != fixed(new):
        yield field_forbidden("spec", _CLAIM_TEXT)


def _service(old: Object, new: Object) -> Iterator[Cause]:
    before, after = _spec(old), _spec(new)
    if "ExternalName" in (before.get("type"), after.get("type")):
        return
    if before.get("clusterIP") and after.get("clusterIP") != before["clusterIP"]:
        yield field_invalid("spec.clusterIPs[0]", [after.get("clusterIP")], "may not change once set")


def _binding(old: Object, new: Object) -> Iterator[Cause]:
    if old.get("roleRef") != new.get("roleRef"):
        yield field_invalid("roleRef", new.get("roleRef"), "cannot change roleRef")


def _frozen(old: Object, new: Object) -> Iterator[Cause]:
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield field_forbidden("immutable", "field is immutable when `immutable` is set")
    for name in ("data", "binaryData"):
        if old.get(name) != new.get(name):
            yield field_forbidden(name, "field is immutable when `immutable` is set")


def _secret(old: Object, new: Object) -> Iterator[Cause]:
    yield from _frozen(old, new)
    if old.get("type") != new.get("type"):
        yield field_invalid("type", new.get("type"), IMMUTABLE)


def _pod(old: Object, new: Object) -> Iterator[Cause]:
    if not _spec(old).get("nodeName") and _spec(new).get("nodeName"):
        # what a Binding does on a real cluster; our scheduler writes it as an update
        old = {**old, "spec": {**_spec(old), "nodeName": _spec(new)["nodeName"]}}
    if _fixed_pod(old) != _fixed_pod(new):
        yield field_forbidden("spec", _POD_TEXT)


def _fixed_pod(obj: Object) -> Object:
    spec = _spec(obj)
    free = {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"}
    found = {k: v for k, v in spec.items() if k not in free}
    for kind in ("containers", "initContainers"):
        if kind in found:
            found[kind] = [
                {k: v for k, v in c.items() if k not in ("image", "resources")} for c in found[kind]
            ]
    return found


def _storage_class(old: Object, new: Object) -> Iterator[Cause]:
    for name in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"):
        if old.get(name) != new.get(name):
            yield field_forbidden(name, f"updates to {name} are forbidden.")


def _definition(old: Object, new: Object) -> Iterator[Cause]:
    for path in (("group",), ("scope",), ("names", "plural"), ("names", "kind")):
        before: Any = _spec(old)
        after: Any = _spec(new)
        for part in path:
            before, after = (before or {}).get(part), (after or {}).get(part)
        if before != after:
            yield field_invalid("spec." + ".".join(path), after, IMMUTABLE)


_CHECKS: Final[dict[str, Callable[[Object, Object], Iterator[Cause]]]] = {
    "ClusterRoleBinding": _binding,
    "ConfigMap": _frozen,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _selector,
    "Deployment": _selector,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "Pod": _pod,
    "ReplicaSet": _selector,
    "RoleBinding": _binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _stateful_set,
    "StorageClass": _storage_class,
}


def causes(kind: str, old: Object, new: Object) -> list[Cause]:
    """Every immutable field the update would change."""
    check = _CHECKS.get(kind)
    return list(check(old, new)) if check is not None else []
