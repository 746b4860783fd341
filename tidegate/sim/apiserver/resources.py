"""Which kinds exist: one row per resource, the built-in ones here, custom ones added when their CRD is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
Key = tuple[str, str]
"""(group, plural): all versions of a resource share their objects."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource in one version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    model: str = ""
    """Name of the type in `types.json`; empty for custom resources."""
    custom: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    """For a custom resource: its entry of `spec.versions` in the CRD."""
    storage: str = ""
    """For a custom resource: the version in which its objects are stored."""

    @property
    def key(self) -> Key:
        return (self.group, self.plural)

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"


def _row(
    group: str,
    version: str,
    plural: str,
    kind: str,
    short: str = "",
    subresources: str = "",
    *,
    namespaced: bool = True,
    everywhere: bool = False,
    model: str = "",
) -> Resource:
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        namespaced=namespaced,
        short=tuple(short.split()),
        categories=("all",) if everywhere else (),
        subresources=tuple(subresources.split()),
        model=model or f"V{version.removeprefix('v')}{kind}",
    )


_CORE = ""
_RBAC = "rbac.authorization.k8s.io"
_NET = "networking.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

BUILT_IN: tuple[Resource, ...] = (
    _row(_CORE, "v1", "configmaps", "ConfigMap", "cm"),
    _row(_CORE, "v1", "endpoints", "Endpoints", "ep"),
    _row(_CORE, "v1", "events", "Event", "ev", model="CoreV1Event"),
    _row(_CORE, "v1", "limitranges", "LimitRange", "limits"),
    _row(_CORE, "v1", "namespaces", "Namespace", "ns", "finalize status", namespaced=False),
    _row(_CORE, "v1", "nodes", "Node", "no", "status", namespaced=False),
    _row(_CORE, "v1", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc", "status"),
    _row(_CORE, "v1", "persistentvolumes", "PersistentVolume", "pv", "status", namespaced=False),
    _row(_CORE, "v1", "pods", "Pod", "po", "eviction log proxy status", everywhere=True),
    _row(_CORE, "v1", "resourcequotas", "ResourceQuota", "quota", "status"),
    _row(_CORE, "v1", "secrets", "Secret"),
    _row(_CORE, "v1", "serviceaccounts", "ServiceAccount", "sa"),
    _row(_CORE, "v1", "services", "Service", "svc", "proxy status", everywhere=True),
    _row("apps", "v1", "controllerrevisions", "ControllerRevision"),
    _row("apps", "v1", "daemonsets", "DaemonSet", "ds", "status", everywhere=True),
    _row("apps", "v1", "deployments", "Deployment", "deploy", "scale status", everywhere=True),
    _row("apps", "v1", "replicasets", "ReplicaSet", "rs", "scale status", everywhere=True),
    _row("apps", "v1", "statefulsets", "StatefulSet", "sts", "scale status", everywhere=True),
    _row(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "hpa",
        "status",
        everywhere=True,
    ),
    _row("batch", "v1", "cronjobs", "CronJob", "cj", "status", everywhere=True),
    _row("batch", "v1", "jobs", "Job", "", "status", everywhere=True),
    _row("coordination.k8s.io", "v1", "leases", "Lease"),
    _row("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    _row(_NET, "v1", "ingressclasses", "IngressClass", namespaced=False),
    _row(_NET, "v1", "ingresses", "Ingress", "ing", "status"),
    _row(_NET, "v1", "networkpolicies", "NetworkPolicy", "netpol"),
    _row("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", "status"),
    _row(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _row(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    _row(_RBAC, "v1", "rolebindings", "RoleBinding"),
    _row(_RBAC, "v1", "roles", "Role"),
    _row("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "pc", namespaced=False),
    _row("storage.k8s.io", "v1", "storageclasses", "StorageClass", "sc", namespaced=False),
    _row(_ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", namespaced=False),
    _row(
        _ADMISSION,
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        namespaced=False,
    ),
    _row(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd crds",
        "status",
        namespaced=False,
    ),
)

REVIEWS: tuple[Resource, ...] = (
    Resource(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        namespaced=False,
        verbs=("create",),
        model="V1SelfSubjectAccessReview",
    ),
)
"""Answered, never stored."""

NAMESPACES: Key = ("", "namespaces")
PODS: Key = ("", "pods")
SERVICES: Key = ("", "services")
NODES: Key = ("", "nodes")
SLICES: Key = ("discovery.k8s.io", "endpointslices")
CRDS: Key = ("apiextensions.k8s.io", "customresourcedefinitions")


class Catalog:
    """Every resource served now, by group, version and plural. Custom ones come and go with their CRDs."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str, str], Resource] = {}
        for resource in (*BUILT_IN, *REVIEWS):
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._served[resource.group, resource.version, resource.plural] = resource

    def drop(self, group: str, plural: str) -> None:
        for key in [k for k in self._served if k[0] == group and k[2] == plural]:
            del self._served[key]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version, plural))

    def any_version(self, key: Key) -> Resource | None:
        return next((r for r in self._served.values() if r.key == key), None)

    def by_kind(self, group: str, kind: str) -> Resource | None:
        return next((r for r in tuple(self._served.values()) if r.group == group and r.kind == kind), None)

    def all(self) -> tuple[Resource, ...]:
        return tuple(self._served.values())

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """group → version → resources, core first, the rest by name."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for resource in sorted(self.all(), key=lambda r: (r.group, r.version, r.plural)):
            found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return found
