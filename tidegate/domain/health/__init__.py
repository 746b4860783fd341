"""Is it well? One answer per object, in Argo CD's words: `health(obj) -> Health(status, message)`.

Conformance: gitops-engine's own cases, `tests/domain/health/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tidegate.domain.health import platform, pods, workloads
from tidegate.domain.health.generic import generic
from tidegate.domain.health.status import (
    Health,
    HealthStatus,
    Manifest,
    Rule,
    healthy,
    lagging,
    option,
    progressing,
    unknown,
)

__all__ = ["Custom", "Health", "HealthStatus", "health", "worst"]

Custom = Callable[[Manifest], Health | None]
"""What the user's script for an object's kind says of it; None where there is none."""

_ORDER = {status: rank for rank, status in enumerate(HealthStatus)}
_ANY: frozenset[str] = frozenset()
"""Upstream looks at the kind only."""
_RULES: dict[tuple[str, str], tuple[Rule, frozenset[str]]] = {
    ("apps", "Deployment"): (workloads.deployment, frozenset({"v1"})),
    ("apps", "StatefulSet"): (workloads.stateful_set, frozenset({"v1"})),
    ("apps", "DaemonSet"): (workloads.daemon_set, frozenset({"v1"})),
    ("apps", "ReplicaSet"): (workloads.replica_set, frozenset({"v1"})),
    ("", "Pod"): (pods.pod, frozenset({"v1"})),
    ("batch", "Job"): (pods.job, frozenset({"v1"})),
    ("batch", "CronJob"): (pods.cron_job, _ANY),
    ("", "PersistentVolumeClaim"): (platform.persistent_volume_claim, frozenset({"v1"})),
    ("", "Service"): (platform.service, frozenset({"v1"})),
    ("", "Namespace"): (platform.namespace, frozenset({"v1"})),
    ("networking.k8s.io", "Ingress"): (platform.ingress, _ANY),
    ("extensions", "Ingress"): (platform.ingress, _ANY),
    ("autoscaling", "HorizontalPodAutoscaler"): (platform.autoscaler, frozenset({"v1", "v2"})),
    ("apiregistration.k8s.io", "APIService"): (platform.api_service, frozenset({"v1", "v1beta1"})),
    ("policy", "PodDisruptionBudget"): (platform.disruption_budget, _ANY),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (
        platform.custom_resource_definition,
        _ANY,
    ),
    ("argoproj.io", "Workflow"): (platform.workflow, _ANY),
}
_SAID = {"HorizontalPodAutoscaler": "HPA"}
_DECIDED = (HealthStatus.Healthy, HealthStatus.Suspended, HealthStatus.Degraded)


def health(obj: Manifest, custom: Custom | None = None, *, finalizer: str = "") -> Health:
    """Health of one live object: pending deletion, else the user's script, else our rule for its kind.

    Kinds without a rule are judged by their conditions, or are Healthy. Nothing is healthy, and a script decides
    nothing, by a status that says itself that it is about an older generation (argo-cd#4669). While `finalizer`, our
    own on a hook, holds an object that is being deleted, that is not said: the hook's end is what counts.
    """
    meta = obj.get("metadata") or {}
    if meta.get("deletionTimestamp") and not (finalizer and finalizer in (meta.get("finalizers") or [])):
        return progressing("Pending deletion")
    if option(obj, "ignore-healthcheck") == "true":
        return healthy("health is not looked at (ignore-healthcheck)")
    said = custom(obj) if custom else None
    found = _built_in(obj) if said is None else said
    decided = (HealthStatus.Healthy,) if said is None else _DECIDED
    return (lagging(obj) or found) if found.status in decided else found


def _built_in(obj: Manifest) -> Health:
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    kind = str(obj.get("kind", ""))
    if (group, kind) not in _RULES:
        return generic(obj)
    rule, versions = _RULES[group, kind]
    if versions and version not in versions:
        # Upstream errors here too: a known kind in an unknown version must not pass as healthy.
        return unknown(f"unsupported {_SAID.get(kind, kind)} GVK: {group}/{version}, Kind={kind}")
    return rule(obj)


def worst(healths: Iterable[Health]) -> Health:
    """The worst of them, the first of equals; Healthy when there are none."""
    return max(healths, key=lambda h: _ORDER[h.status], default=healthy())
