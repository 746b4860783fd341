"""Which path serves a kind: the built-in kinds by table, all others by asking the group (and remembering)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from urllib.parse import quote

from tidegate.adapters.targets.kubernetes.rest import Rest
from tidegate.domain.manifests import Manifest, Ref
from tidegate.errors import NotFound


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind is asked for."""

    group: str
    version: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """`/apis/apps/v1/namespaces/shop/deployments/web`; without a name the collection."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace else ""
        return f"{root}{inside}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


def _table() -> dict[tuple[str, str], Kind]:
    rows = """
        | v1 | Namespace:namespaces! Node:nodes! PersistentVolume:persistentvolumes! ConfigMap:configmaps
             Secret:secrets Service:services ServiceAccount:serviceaccounts Pod:pods Endpoints:endpoints
             Event:events PersistentVolumeClaim:persistentvolumeclaims LimitRange:limitranges
             ResourceQuota:resourcequotas ReplicationController:replicationcontrollers
             PodTemplate:podtemplates
        apps | v1 | Deployment:deployments StatefulSet:statefulsets DaemonSet:daemonsets
             ReplicaSet:replicasets ControllerRevision:controllerrevisions
        batch | v1 | Job:jobs CronJob:cronjobs
        coordination.k8s.io | v1 | Lease:leases
        networking.k8s.io | v1 | Ingress:ingresses NetworkPolicy:networkpolicies IngressClass:ingressclasses!
        policy | v1 | PodDisruptionBudget:poddisruptionbudgets
        autoscaling | v2 | HorizontalPodAutoscaler:horizontalpodautoscalers
        rbac.authorization.k8s.io | v1 | Role:roles RoleBinding:rolebindings ClusterRole:clusterroles!
             ClusterRoleBinding:clusterrolebindings!
        discovery.k8s.io | v1 | EndpointSlice:endpointslices
        storage.k8s.io | v1 | StorageClass:storageclasses!
        scheduling.k8s.io | v1 | PriorityClass:priorityclasses!
        apiextensions.k8s.io | v1 | CustomResourceDefinition:customresourcedefinitions!
    """
    table: dict[tuple[str, str], Kind] = {}
    group = version = ""
    for line in rows.strip().splitlines():
        *head, names = line.split("|")
        if head:
            group, version = head[0].strip(), head[1].strip()
        for name in names.split():
            kind, _, plural = name.partition(":")
            table[group, kind] = Kind(group, version, plural.rstrip("!"), not plural.endswith("!"))
    return table


_BUILT_IN = _table()


class Kinds:
    """Kinds of one cluster; answers are kept, `forget` after its CRDs changed."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._served: dict[tuple[str, str], dict[str, Kind]] = {}
        self._announced: dict[tuple[str, str], Kind] = {}
        self._lock = threading.Lock()

    def of(self, name: Ref) -> Kind:
        """How to ask for a ref's kind; `NotFound` when the cluster does not serve it (yet)."""
        known = _BUILT_IN.get((name.group, name.kind))
        if known is not None:
            return Kind(known.group, name.version or known.version, known.plural, known.namespaced)
        version = name.version or self._preferred(name.group)
        found = self._serving(name.group, version).get(name.kind) or self._announced.get(
            (name.group, name.kind)
        )
        if found is None:
            raise NotFound(
                f"{name}: this cluster has no kind {name.kind} in {name.group}/{version}; "
                "is its CRD installed?"
            )
        return found

    def announce(self, crd: Manifest) -> None:
        """Remember what a CRD of the same set will serve, for objects that need it before it is there."""
        spec = crd.get("spec") or {}
        names = spec.get("names") or {}
        for version in spec.get("versions") or []:
            kind = Kind(
                spec.get("group", ""),
                version.get("name", ""),
                names.get("plural", ""),
                spec.get("scope") == "Namespaced",
            )
            self._announced[kind.group, names.get("kind", "")] = kind

    def is_served(self, name: Ref) -> bool:
        """True when the cluster itself serves the kind, not only a CRD of the set will."""
        if (name.group, name.kind) in _BUILT_IN:
            return True
        return name.kind in self._serving(name.group, name.version or self._preferred(name.group))

    def forget(self) -> None:
        """Ask again next time."""
        with self._lock:
            self._served.clear()

    def _preferred(self, group: str) -> str:
        found = self._rest.get(f"/apis/{group}", f"API group {group}") or {}
        return str((found.get("preferredVersion") or {}).get("version") or "")

    def _serving(self, group: str, version: str) -> dict[str, Kind]:
        with self._lock:
            if (group, version) in self._served:
                return self._served[group, version]
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        resources = (self._rest.get(path, f"API group {group}/{version}") or {}).get("resources") or []
        found = {
            r["kind"]: Kind(group, version, r["name"], bool(r.get("namespaced")))
            for r in resources
            if "/" not in r["name"]
        }
        if found:
            with self._lock:
                self._served[group, version] = found
        return found
