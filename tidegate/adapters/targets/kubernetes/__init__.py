"""Kubernetes as a target: server-side apply of raw JSON, one field manager, an inventory, a Lease."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tidegate.adapters.targets.kubernetes import applying, looking, services, waiting
from tidegate.adapters.targets.kubernetes.connection import connect
from tidegate.adapters.targets.kubernetes.lease import KubernetesLease
from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.adapters.targets.kubernetes.rest import Rest
from tidegate.domain.health import Custom, Health
from tidegate.domain.ignoring import Rule
from tidegate.domain.manifests import Manifest, Ref
from tidegate.domain.options import Conflicts
from tidegate.domain.plan import Owner, Plan, SyncResult
from tidegate.domain.schedule import Hooks
from tidegate.domain.scope import Scope
from tidegate.settings import settings as environment

__all__ = ["Cluster", "KubernetesLease", "Settings", "build"]


class Allow(BaseModel):
    """What a stage may touch; patterns with `*`. Kinds are written `Deployment.apps`, of the core group `ConfigMap`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespaces: tuple[str, ...] = ()
    """Namespaces beside the target's own."""
    kinds: tuple[str, ...] = ("*",)
    """Kinds inside namespaces."""
    cluster_kinds: tuple[str, ...] = ()
    """Kinds outside of namespaces: none unless named."""

    def scope(self) -> Scope:
        """The same for deciding."""
        return Scope(self.namespaces, self.kinds, self.cluster_kinds)


class Ignore(BaseModel):
    """Fields that are not ours to decide, like Argo CD's `ignoreDifferences`; they stay as the cluster has them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "*"
    """Kinds, with `*`: `Deployment.apps`, of the core group `ConfigMap`."""
    name: str = "*"
    """Names, with `*`."""
    pointers: tuple[Annotated[str, Field(pattern=r"^(/[^/]+)+$")], ...] = ()
    """JSON pointers, like `/spec/replicas`."""
    managers: tuple[str, ...] = ()
    """Field managers, with `*`: what they have set is theirs."""

    def rule(self) -> Rule:
        """The same for deciding."""
        return Rule(self.kind, self.name, self.pointers, self.managers)


class Settings(BaseModel):
    """`target: {kind: kubernetes, context: prod, namespace: shop}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context: str | None = None
    """Context of the kubeconfig; default: its current one, or the pod's service account inside a cluster."""
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Where objects without a namespace go, and inventory and Lease live."""
    kubeconfig: Path | None = None
    """Default: `$KUBECONFIG`, else `~/.kube/config`."""
    create_namespace: bool = False
    """Create the namespace when it is missing."""
    conflicts: Conflicts = Conflicts.Force
    """What happens to a field that another manager has set to something else; see `docs/sync.md`."""
    ignore: tuple[Ignore, ...] = ()
    """Fields that are not ours to decide."""
    max_prune: int = Field(default=50, ge=0, le=100)
    """Percent of its objects that one sync may prune, when there are ten or more; with 100 also all at once."""
    service_account: str | None = Field(default=None, pattern=r"^([a-z0-9.-]{1,253}/)?[a-z0-9.-]{1,253}$")
    """Every request is made as this ServiceAccount, `name` in the target's namespace or `namespace/name`."""
    allow: Allow | None = None
    """What the stage may touch; without it whatever the cluster grants."""


class Cluster:
    """A `Target`: one cluster as one stage sees it. Safe to use from many threads; connects on first use."""

    def __init__(self, settings: Settings) -> None:
        kubeconfig = settings.kubeconfig.expanduser() if settings.kubeconfig else None
        self._settings = settings
        account = _account(settings)
        self._objects = Objects(
            Rest(partial(connect, kubeconfig, settings.context, account)), settings.namespace
        )

    @property
    def namespace(self) -> str:
        """Where objects without a namespace go."""
        return self._settings.namespace

    def read(self, refs: Iterable[Ref]) -> dict[Ref, Manifest]:
        """Live objects by the refs asked for; absent ones are missing. Raises `Unreachable`, `Rejected`."""
        return self._objects.read(refs)

    def list(
        self,
        group_version: str,
        kind: str,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Manifest]:
        """Objects of a kind by labels; default namespace: the target's, `""`: all."""
        return self._objects.list(group_version, kind, namespace=namespace, labels=labels or {})

    def look(
        self,
        owner: Owner,
        desired: Sequence[Manifest],
        *,
        hooks: Hooks | None = None,
        allow_empty: bool = False,
    ) -> Plan:
        """What applying would do; dry-runs what is not certainly unchanged. Writes nothing."""
        return looking.look(
            self._objects,
            owner,
            desired,
            hooks=hooks,
            conflicts=self._settings.conflicts,
            ignore=[rule.rule() for rule in self._settings.ignore],
            scope=self._settings.allow.scope() if self._settings.allow else None,
            allow_empty=allow_empty or self._settings.max_prune == 100,
            max_prune=self._settings.max_prune,
            makes_namespace=self._settings.create_namespace,
        )

    def apply(
        self,
        owner: Owner,
        plan: Plan,
        *,
        fence: Callable[[], None],
        deadline_seconds: float = 600.0,
        interrupted: Callable[[], str | None] = lambda: None,
        custom: Custom | None = None,
    ) -> SyncResult:
        """Do what the plan says; `fence` is called before every write. Raises `Refused`, `Unreachable`.

        `deadline_seconds` is for each wave and each set of hooks; `interrupted` may call it off between two waves.
        """
        return applying.apply(
            self._objects,
            owner,
            plan,
            fence=fence,
            creates_namespace=self._settings.create_namespace,
            patience=applying.Patience(deadline_seconds, interrupted, custom),
        )

    def wait(
        self,
        refs: Iterable[Ref],
        *,
        deadline_seconds: float,
        interrupted: Callable[[], str | None],
        custom: Custom | None = None,
    ) -> Health:
        """The worst health once all are healthy, one is beyond hope, we are called off, or time is up."""
        return waiting.wait(
            self._objects, refs, deadline_seconds=deadline_seconds, interrupted=interrupted, custom=custom
        )

    def prepare(self) -> None:
        """Make the target's namespace, where the stage's Lease lives, if it is missing and may be made."""
        if self._settings.create_namespace:
            applying.ensure_namespace(self._objects, lambda: None)

    def lease(self, name: str, holder: str) -> KubernetesLease:
        """The Lease of a stage in the target's namespace; `holder` must be unique to this run."""
        return KubernetesLease(self._objects, name, holder, environment().lease_seconds)

    def get_service(
        self, namespace: str, service: str, port: int | str, path: str, timeout: float
    ) -> tuple[int, bytes]:
        """Status and body of an HTTP GET, through the API server's service proxy."""
        return services.get_service(self._objects, namespace, service, port, path, timeout)


def _account(settings: Settings) -> str | None:
    """The user that a ServiceAccount is to the API server, which adds its groups itself."""
    if settings.service_account is None:
        return None
    namespace, _, name = settings.service_account.rpartition("/")
    return f"system:serviceaccount:{namespace or settings.namespace}:{name}"


def build(settings: Settings) -> Cluster:
    """The target of a stage."""
    return Cluster(settings)
