"""What a stage may touch in a cluster it shares: namespaces and kinds, decided before the cluster is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tidegate.domain.manifests import Ref


@dataclass(frozen=True, slots=True)
class Scope:
    """Patterns with `*` and `?`. Kinds are written `Deployment.apps`, of the core group `ConfigMap`."""

    namespaces: tuple[str, ...] = ()
    """Beside the target's own."""
    kinds: tuple[str, ...] = ("*",)
    """Kinds inside namespaces."""
    cluster_kinds: tuple[str, ...] = ()
    """Kinds outside of namespaces: none, unless they are named."""

    def forbids(self, name: Ref, home: str) -> str:
        """Why an object may not be touched, and what helps; empty when it may. `home`: the target's namespace."""
        kind = f"{name.kind}.{name.group}" if name.group else name.kind
        if not name.namespace:
            return (
                ""
                if _fits(kind, self.cluster_kinds)
                else f"{kind} is outside of namespaces; {_ADD}cluster_kinds"
            )
        if name.namespace != home and not _fits(name.namespace, self.namespaces):
            return f"namespace {name.namespace} is not this stage's; {_ADD}namespaces"
        return "" if _fits(kind, self.kinds) else f"{kind} is not among its kinds; {_ADD}kinds"


_ADD = "add it to the target's allow."


def _fits(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
