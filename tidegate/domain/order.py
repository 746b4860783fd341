"""The order of applying: what others need first, then wave by wave in Argo CD's kind order, custom resources last.

Namespaces, CRDs and ClusterRoles go before everything (Flux's apply stages, `ssa/manager_apply.go`), then the kinds
that end in "Class"; inside a wave the order is that of gitops-engine's `sync_tasks.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import groupby
from typing import TypeVar

from tidegate.domain.manifests import Ref

_KINDS = (
    "Namespace",
    "CustomResourceDefinition",  # in Argo CD's list after the volumes; here nothing can come between
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

_DEFINITIONS = {("", "Namespace"), ("apiextensions.k8s.io", "CustomResourceDefinition")} | {
    ("rbac.authorization.k8s.io", "ClusterRole")
}

T = TypeVar("T")
Key = tuple[int, int, int, str, str, str, str]


class Stage(IntEnum):
    """What must be there before anything of the next one is applied."""

    Definitions = 0
    Classes = 1
    Rest = 2


def stage(ref: Ref) -> Stage:
    """The barrier an object stands before."""
    if (ref.group, ref.kind) in _DEFINITIONS:
        return Stage.Definitions
    return Stage.Classes if ref.kind.endswith("Class") else Stage.Rest


def key(ref: Ref, wave: int = 0) -> Key:
    """The total order of applying: stage, wave (of the rest), kind rank, then kind, group, namespace, name."""
    at = stage(ref)
    rank = _RANK.get(ref.kind, len(_KINDS))
    return (at, wave if at is Stage.Rest else 0, rank, ref.kind, ref.group, ref.namespace, ref.name)


def ordered(refs: Iterable[Ref]) -> list[Ref]:
    """Refs in the order of applying; delete in reverse."""
    return sorted(refs, key=key)


def by_kind(items: Iterable[tuple[Ref, T]]) -> list[Sequence[T]]:
    """Items grouped by kind, in order: one group may go at once, the next waits for it."""
    in_order = sorted(items, key=lambda item: key(item[0]))
    return [[item for _, item in group] for _, group in groupby(in_order, key=lambda item: key(item[0])[:5])]
