"""The order of applying: Argo CD's kind order (gitops-engine `sync_tasks.go`), custom resources last.

One difference: CRDs come right after namespaces, because everything of their kinds needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TypeVar

from tidegate.domain.manifests import Ref

_KINDS = (
    "Namespace",
    "CustomResourceDefinition",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
)
_RANK = {kind: rank for rank, kind in enumerate(_KINDS)}

T = TypeVar("T")


def key(ref: Ref) -> tuple[int, str, str, str, str]:
    """The total order of applying: kind rank, then kind, group, namespace, name."""
    return (_RANK.get(ref.kind, len(_KINDS)), ref.kind, ref.group, ref.namespace, ref.name)


def ordered(refs: Iterable[Ref]) -> list[Ref]:
    """Refs in the order of applying; delete in reverse."""
    return sorted(refs, key=key)


def steps(items: Iterable[tuple[Ref, T]]) -> list[Sequence[T]]:
    """Items grouped by kind, in order: one group may go at once, the next waits for it."""
    in_order = sorted(items, key=lambda item: key(item[0]))
    return [[item for _, item in group] for _, group in groupby(in_order, key=lambda item: key(item[0])[:3])]
