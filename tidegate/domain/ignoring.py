"""Fields that are not ours to decide: left as they are in the cluster, in plans and when applying.

What Argo CD calls `ignoreDifferences` together with `RespectIgnoreDifferences`: a difference that is only hidden would
be overwritten by the next apply.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tidegate.domain.manifests import Manifest, Ref

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """Which fields of which objects; patterns with `*`."""

    kind: str = "*"
    """`Deployment.apps`, of the core group `ConfigMap`."""
    name: str = "*"
    pointers: tuple[str, ...] = ()
    """JSON pointers (RFC 6901), like `/spec/replicas`."""
    managers: tuple[str, ...] = ()
    """Field managers whose fields are theirs."""

    def concerns(self, name: Ref) -> bool:
        """Whether it is about this object."""
        kind = f"{name.kind}.{name.group}" if name.group else name.kind
        return fnmatchcase(kind, self.kind) and fnmatchcase(name.name, self.name)


def pointers(rules: Iterable[Rule], name: Ref) -> list[str]:
    """The pointers of all rules about an object."""
    return [pointer for rule in rules if rule.concerns(name) for pointer in rule.pointers]


def managers(rules: Iterable[Rule], name: Ref) -> list[str]:
    """Patterns of the managers of all rules about an object."""
    return [manager for rule in rules if rule.concerns(name) for manager in rule.managers]


def as_it_is(desired: Manifest, live: Manifest, found: Sequence[str]) -> Manifest:
    """The manifest with these fields as the cluster has them: what is not there is not sent.

    The live value is sent, not left out: leaving out a field that we once applied would remove it.
    """
    if not found:
        return desired
    made = copy.deepcopy(desired)
    for pointer in found:
        path = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        _put(made, path, _at(live, path))
    return made


def _at(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _ABSENT
    return value


def _put(holder: Any, path: Sequence[str], value: Any) -> None:
    """Set or take away the last part of a path; what is not there is made only if there is a value for it."""
    *parents, last = path
    for part in parents:
        if isinstance(holder, dict) and part not in holder and value is not _ABSENT:
            holder[part] = {}
        holder = _at(holder, [part])
    if isinstance(holder, dict):
        if value is _ABSENT:
            holder.pop(last, None)
        else:
            holder[last] = copy.deepcopy(value)
    elif isinstance(holder, list) and last.isdigit() and int(last) < len(holder) and value is not _ABSENT:
        holder[int(last)] = copy.deepcopy(value)
