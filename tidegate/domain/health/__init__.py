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
    annotation,
    healthy,
    lags,
    progressing,
    status_of,
    unknown,
)

__all__ = ["Custom", "Health", "HealthStatus", "health", "worst"]

Custom = Callable[[Manifest], Health | None]
"""What the user's script for an object's kind says of it; None where there is none."""

_IGNORE = "argocd.argoproj.io/ignore-healthcheck"
_ORDER = {status: rank for rank, status in enumerate(HealthStatus)}
_RULES: dict[tuple[str, str], tuple[Rule, frozenset[str]]] = {
    ("apps", "Deployment"): (workloads.deployment, frozenset({"v1"})),
    ("apps", "StatefulSet"): (workloads.stateful_set, frozenset({"v1"})),
    ("apps", "DaemonSet"): (workloads.daemon_set, frozenset({"v1"})),
    ("apps", "ReplicaSet"): (workloads.replica_set, frozenset({"v1"})),
    ("", "Pod"): (pods.pod, frozenset({"v1"})),
    ("batch", "Job"): (pods.job, frozenset({"v1"})),
    ("batch", "CronJob"): (pods.cron_job, frozenset({"v1"})),
    ("", "PersistentVolumeClaim"): (platform.persistent_volume_claim, frozenset({"v1"})),
    ("", "Service"): (platform.service, frozenset({"v1"})),
    ("", "Namespace"): (platform.namespace, frozenset({"v1"})),
    ("networking.k8s.io", "Ingress"): (platform.ingress, frozenset({"v1", "v1beta1"})),
    ("extensions", "Ingress"): (platform.ingress, frozenset({"v1beta1"})),
    ("autoscaling", "HorizontalPodAutoscaler"): (platform.autoscaler, frozenset({"v1", "v2"})),
    ("apiregistration.k8s.io", "APIService"): (platform.api_service, frozenset({"v1", "v1beta1"})),
    ("policy", "PodDisruptionBudget"): (platform.disruption_budget, frozenset({"v1", "v1beta1"})),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (
        platform.custom_resource_definition,
        frozenset({"v1", "v1beta1"}),
    ),
}
_DECIDED = (HealthStatus.Healthy, HealthStatus.Suspended, HealthStatus.Degraded)
_WORKFLOW = ("argoproj.io", "Workflow")


def health(obj: Manifest, custom: Custom | None = None, *, finalizer: str = "") -> Health:
    """Health of one live object: pending deletion, else the user's script, else our rule for its kind.

    Kinds without a rule are judged by their conditions, or are Healthy. While only `finalizer`, our own on a hook,
    holds an object that is being deleted, that is not said: the hook's end is what counts.
    """
    meta = obj.get("metadata") or {}
    if meta.get("deletionTimestamp") and not (finalizer and finalizer in (meta.get("finalizers") or [])):
        return progressing("Pending deletion")
    if annotation(obj, _IGNORE) == "true":
        return healthy("health is not looked at (ignore-healthcheck)")
    said = custom(obj) if custom else None
    return _built_in(obj) if said is None else _observed(obj, said)


def _built_in(obj: Manifest) -> Health:
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    kind = str(obj.get("kind", ""))
    if (group, kind) == _WORKFLOW:
        return platform.workflow(obj)
    if (group, kind) not in _RULES:
        return generic(obj)
    rule, versions = _RULES[group, kind]
    if version not in versions:
        # Upstream errors here too: a known kind in an unknown version must not pass as healthy.
        return unknown(f"unsupported {kind} GVK: {group}/{version}, Kind={kind}")
    return rule(obj)


def _observed(obj: Manifest, said: Health) -> Health:
    """A script's answer, unless the object says that its status is about an older generation (argo-cd#4669)."""
    if said.status not in _DECIDED or not lags(obj):
        return said
    generation, seen = obj["metadata"]["generation"], status_of(obj)["observedGeneration"]
    return progressing(
        f"{obj.get('kind')} generation is {generation}, but latest observed generation is {seen}"
    )


def worst(healths: Iterable[Health]) -> Health:
    """The worst of them, the first of equals; Healthy when there are none."""
    return max(healths, key=lambda h: _ORDER[h.status], default=healthy())
