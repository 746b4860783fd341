"""Where applications run: what every target must be able to do. One module or package per kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from tidegate.domain.health import Custom, Health
from tidegate.domain.manifests import Manifest, Ref
from tidegate.domain.plan import Owner, Plan, SyncResult
from tidegate.domain.schedule import Hooks


class Lease(Protocol):
    """Mutual exclusion that outlives nobody by more than its time to live."""

    def acquire(self) -> bool:
        """True when it is ours now; False when somebody else holds it."""
        ...

    def check(self) -> None:
        """Prove it is still ours, renewing when needed; `Conflict` when it is lost."""
        ...

    def release(self) -> None:
        """Give it back; harmless when it was lost."""
        ...

    def state(self) -> tuple[str, bool] | None:
        """(holder, expired) as the cluster has it; None when there is none."""
        ...

    def abandoned(self) -> bool:
        """Whether nobody holds it any more; watches a holder for a sign of life, at most its time to live."""
        ...


class Target(Protocol):
    """Look, act and wait; deciding happens elsewhere."""

    @property
    def namespace(self) -> str:
        """Where objects without a namespace go."""
        ...

    def read(self, refs: Iterable[Ref]) -> dict[Ref, Manifest]:
        """Live objects; absent ones are missing from the answer."""
        ...

    def look(
        self,
        owner: Owner,
        desired: Sequence[Manifest],
        *,
        hooks: Hooks | None = None,
        allow_empty: bool = False,
    ) -> Plan:
        """What applying would do; writes nothing. Without `hooks` those that are there are left alone."""
        ...

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
        """Do it; `fence` is called before every write and may stop it by raising, `interrupted` between waves."""
        ...

    def wait(
        self,
        refs: Iterable[Ref],
        *,
        deadline_seconds: float,
        interrupted: Callable[[], str | None],
        custom: Custom | None = None,
    ) -> Health:
        """The worst health once all are healthy, one is beyond hope, or time is up; the user's rules come first."""
        ...

    def prepare(self) -> None:
        """Make ready what a lease and an apply need, as far as the spec allows; nothing when it is there."""
        ...

    def list(
        self,
        group_version: str,
        kind: str,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Manifest]:
        """Objects of a kind by labels."""
        ...

    def lease(self, name: str, holder: str) -> Lease:
        """The stage's fence."""
        ...

    def get_service(
        self, namespace: str, service: str, port: int | str, path: str, timeout: float
    ) -> tuple[int, bytes]:
        """Status and body of an HTTP GET to a service from inside the target."""
        ...
