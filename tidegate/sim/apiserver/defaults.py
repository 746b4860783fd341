"""What the real server fills in: defaults per kind, applied to a tree we own (in place)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from tidegate.sim.apiserver.defaults_pod import pod_defaults, template_defaults

Object = dict[str, Any]


def _spec(obj: Object) -> Object:
    found: Object = obj.setdefault("spec", {})
    return found


def _fill(target: Object, **values: Any) -> Object:
    for name, value in values.items():
        target.setdefault(name, value)
    return target


def _deployment(obj: Object) -> None:
    spec = _fill(_spec(obj), replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = _fill(spec.setdefault("strategy", {}), type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), maxSurge="25%", maxUnavailable="25%")
    template_defaults(spec)


def _replica_set(obj: Object) -> None:
    template_defaults(_fill(_spec(obj), replicas=1))


def _stateful_set(obj: Object) -> None:
    spec = _fill(
        _spec(obj), replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady", serviceName=""
    )
    _fill(
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {}), whenDeleted="Retain", whenScaled="Retain"
    )
    strategy = _fill(spec.setdefault("updateStrategy", {}), type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), partition=0)
    for claim in spec.get("volumeClaimTemplates") or ():
        _fill(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        _fill(claim.setdefault("spec", {}), volumeMode="Filesystem")
        _fill(claim.setdefault("status", {}), phase="Pending")
    template_defaults(spec)


def _daemon_set(obj: Object) -> None:
    spec = _fill(_spec(obj), revisionHistoryLimit=10)
    strategy = _fill(spec.setdefault("updateStrategy", {}), type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), maxSurge=0, maxUnavailable=1)
    template_defaults(spec)


def job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _fill(
        spec,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
    )
    template_defaults(spec)


def _job(obj: Object) -> None:
    job_spec(_spec(obj))


def _cron_job(obj: Object) -> None:
    spec = _fill(
        _spec(obj),
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    template = spec.get("jobTemplate")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        _fill(template, metadata={})
        template_defaults(template["spec"])


def _service(obj: Object) -> None:
    spec = _fill(_spec(obj), type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "ClientIP":
        _fill(spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}), timeoutSeconds=10800)
    if spec["type"] != "ExternalName":
        _fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _fill(spec, allocateLoadBalancerNodePorts=True)
    for port in spec.get("ports") or ():
        _fill(port, protocol="TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    _fill(obj.setdefault("status", {}), loadBalancer={})


def _namespace(obj: Object) -> None:
    obj.setdefault("spec", {})
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    _fill(obj.setdefault("status", {}), phase="Active")


def _secret(obj: Object) -> None:
    _fill(obj, type="Opaque")
    for name, text in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[name] = base64.b64encode(str(text).encode()).decode()


def _claim(obj: Object) -> None:
    _fill(_spec(obj), volumeMode="Filesystem")
    _fill(obj.setdefault("status", {}), phase="Pending")


def _volume(obj: Object) -> None:
    _fill(_spec(obj), volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")
    _fill(obj.setdefault("status", {}), phase="Pending")


def _storage_class(obj: Object) -> None:
    _fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _priority_class(obj: Object) -> None:
    _fill(obj, preemptionPolicy="PreemptLowerPriority")


def _ingress(obj: Object) -> None:
    _fill(obj.setdefault("status", {}), loadBalancer={})


def _network_policy(obj: Object) -> None:
    spec = _spec(obj)
    _fill(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for rule in (spec.get("ingress") or []) + (spec.get("egress") or []):
        for port in rule.get("ports") or ():
            _fill(port, protocol="TCP")


def _autoscaler(obj: Object) -> None:
    spec = _fill(_spec(obj), minReplicas=1)
    target = {"type": "Utilization", "averageUtilization": 80}
    _fill(spec, metrics=[{"type": "Resource", "resource": {"name": "cpu", "target": target}}])


_RBAC: Final = "rbac.authorization.k8s.io"


def _binding(obj: Object) -> None:
    if isinstance(obj.get("roleRef"), dict):
        _fill(obj["roleRef"], apiGroup=_RBAC)
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, apiGroup=_RBAC)


def _slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        _fill(port, name="", protocol="TCP")


def _endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            _fill(port, protocol="TCP")


def _webhooks(obj: Object) -> None:
    for hook in obj.get("webhooks") or ():
        _fill(
            hook,
            failurePolicy="Fail",
            matchPolicy="Equivalent",
            timeoutSeconds=10,
            namespaceSelector={},
            objectSelector={},
        )
        if obj.get("kind") == "MutatingWebhookConfiguration":
            _fill(hook, reinvocationPolicy="Never")
        for rule in hook.get("rules") or ():
            _fill(rule, scope="*")


def _role(obj: Object) -> None:
    obj.setdefault("rules", None)


def _definition(obj: Object) -> None:
    spec = _spec(obj)
    names = spec.setdefault("names", {})
    kind = str(names.get("kind", ""))
    _fill(names, singular=kind.lower(), listKind=f"{kind}List")
    _fill(spec, conversion={"strategy": "None"})


_DEFAULTS: Final[dict[str, Callable[[Object], None]]] = {
    "ClusterRole": _role,
    "ClusterRoleBinding": _binding,
    "CronJob": _cron_job,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "EndpointSlice": _slice,
    "Endpoints": _endpoints,
    "HorizontalPodAutoscaler": _autoscaler,
    "Ingress": _ingress,
    "Job": _job,
    "MutatingWebhookConfiguration": _webhooks,
    "Namespace": _namespace,
    "NetworkPolicy": _network_policy,
    "PersistentVolume": _volume,
    "PersistentVolumeClaim": _claim,
    "Pod": pod_defaults,
    "PriorityClass": _priority_class,
    "ReplicaSet": _replica_set,
    "Role": _role,
    "RoleBinding": _binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _stateful_set,
    "StorageClass": _storage_class,
    "ValidatingWebhookConfiguration": _webhooks,
}


def apply_defaults(kind: str, obj: Object) -> None:
    """Fill in what the real server fills in. `obj` is changed and must not be shared."""
    fill = _DEFAULTS.get(kind)
    if fill is not None:
        fill(obj)
