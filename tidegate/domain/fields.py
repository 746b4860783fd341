"""Field ownership (FieldsV1, structured-merge-diff) read as a mask: the parts of an object a manager owns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from tidegate.domain.manifests import Manifest

FieldSet = dict[str, Any]
MANAGER = "tidegate"
_RESTARTS = "kubectl-rollout"


def owned(obj: Manifest | None, manager: str = MANAGER) -> FieldSet | None:
    """The fields a manager applied (`operation: Apply`, main resource); None when it applied none."""
    for entry in ((obj or {}).get("metadata") or {}).get("managedFields") or []:
        if _is_apply(entry) and entry.get("manager") == manager:
            return entry.get("fieldsV1") or {}
    return None


def _is_apply(entry: dict[str, Any]) -> bool:
    return entry.get("operation") == "Apply" and not entry.get("subresource")


def by_hand(obj: Manifest | None) -> list[dict[str, Any]]:
    """The entries of people's hands: kubectl's, what was there before the first apply, and our own plain updates.

    Server-side apply never removes what another manager owns, so what kubectl once added would stay for good (Argo
    CD #25474). Flux folds the same managers into its own (`ssa/manager_apply.go`); `kubectl rollout restart` stays
    what it is.
    """
    entries = ((obj or {}).get("metadata") or {}).get("managedFields") or []
    return [e for e in entries if not e.get("subresource") and _is_by_hand(e)]


def _is_by_hand(entry: dict[str, Any]) -> bool:
    manager = entry.get("manager") or ""
    if manager == MANAGER:
        return entry.get("operation") == "Update"
    return manager == "before-first-apply" or (manager.startswith("kubectl") and manager != _RESTARTS)


def ours_to_say(obj: Manifest | None) -> FieldSet | None:
    """What we own, and what people's hands do; None when there is neither."""
    ours = owned(obj)
    hands = [e.get("fieldsV1") or {} for e in by_hand(obj)]
    return reduce(joined, hands, ours or {}) if hands else ours


def folded(obj: Manifest) -> list[dict[str, Any]]:
    """`managedFields` in which what people's hands set is ours, so that the next apply decides about it."""
    hands = by_hand(obj)
    entries = obj["metadata"]["managedFields"]
    ours = next((e for e in entries if _is_apply(e) and e.get("manager") == MANAGER), None)
    parts = [e.get("fieldsV1") or {} for e in (*([ours] if ours else []), *hands)]
    made = {
        **(ours or {**hands[0], "manager": MANAGER, "operation": "Apply"}),
        "fieldsV1": reduce(joined, parts),
    }
    return [e for e in entries if e is not ours and e not in hands] + [made]


def joined(one: FieldSet, other: FieldSet) -> FieldSet:
    """The fields of both as one set; unlike `union`, a whole and its parts are both kept."""
    return {key: joined(one.get(key, {}), other.get(key, {})) for key in {**one, **other}}


def minus(one: FieldSet, other: FieldSet) -> FieldSet | None:
    """What of the first set is not in the second; None when nothing is left. Who has a part has its container, too."""
    left: FieldSet = {}
    for key, part in one.items():
        if key not in other:
            left[key] = part
        elif part and (rest := minus({k: v for k, v in part.items() if k != "."}, other[key])):
            left[key] = rest
    return left or None


def without(value: Any, fields: FieldSet) -> Any:
    """The value with the parts removed that the field set names; a container whose parts are named keeps the others."""
    if isinstance(value, dict):
        return {
            k: v
            for k, v in ((k, _pruned(v, fields.get(f"f:{k}"))) for k, v in value.items())
            if v is not _GONE
        }
    if isinstance(value, list):
        kept = [_pruned(item, _of_item(item, fields)) for item in value]
        return [item for item in kept if item is not _GONE]
    return value


_GONE = object()


def _pruned(value: Any, fields: FieldSet | None) -> Any:
    if fields is None:
        return value
    if not fields or "." in fields:
        return _GONE
    left = without(value, fields)
    return _GONE if left in ({}, []) and value else left


def _of_item(item: Any, fields: FieldSet) -> FieldSet | None:
    sub: FieldSet
    for key, sub in fields.items():
        if key.startswith("v:") and item == json.loads(key[2:]):
            return {}
        if key.startswith("k:") and isinstance(item, dict):
            wanted = json.loads(key[2:])
            if all(item.get(k) == v for k, v in wanted.items()):
                return sub
    return None


def left_to_us(live: Manifest, predicted: Manifest) -> Manifest:
    """What an apply makes of it once people's hands are folded: their additions go, unless somebody else has them."""
    nothing: FieldSet = {}
    extra: FieldSet | None = reduce(joined, (e.get("fieldsV1") or {} for e in by_hand(live)), nothing)
    kept = [e.get("fieldsV1") or {} for e in live["metadata"]["managedFields"] if not _is_ours_or_hands(e)]
    for fields in (owned(predicted) or {}, *kept):
        extra = minus(extra, fields) if extra else None
    return without(predicted, extra) if extra else predicted


def _is_ours_or_hands(entry: dict[str, Any]) -> bool:
    return (_is_apply(entry) and entry.get("manager") == MANAGER) or _is_by_hand(entry)


@dataclass(frozen=True, slots=True)
class Clash:
    """Fields that another manager has set to something else than an apply would."""

    manager: str
    at: str
    """When it set them last, as the server writes times; empty when it does not say."""
    fields: FieldSet


def clashes(live: Manifest | None, predicted: Manifest | None) -> list[Clash]:
    """Whose values a forced apply would overwrite; `predicted` is its dry-run's answer."""
    ours = owned(predicted)
    found = []
    for entry in ((live or {}).get("metadata") or {}).get("managedFields") or [] if ours else []:
        if entry.get("subresource") == "status" or (_is_apply(entry) and entry.get("manager") == MANAGER):
            continue
        common = both(entry.get("fieldsV1") or {}, ours or {})
        differs = differing(common, live, predicted) if common is not None else None
        if differs is not None:
            found.append(Clash(entry.get("manager") or "somebody", entry.get("time") or "", differs))
    return found


def undone(live: Manifest | None, coming: Manifest | None) -> list[Clash]:
    """What people's hands have set that is no longer there in the coming state."""
    entries = [(e, e.get("fieldsV1") or {}) for e in by_hand(live)]
    found = [(e, differing(theirs, live, coming)) for e, theirs in entries]
    return [
        Clash(e.get("manager") or "somebody", e.get("time") or "", differs)
        for e, differs in found
        if differs is not None
    ]


def differing(fields: FieldSet, one: Any, other: Any) -> FieldSet | None:
    """The part of a field set in which two values differ; None when they are the same there."""
    parts = {key: sub for key, sub in fields.items() if key != "."}
    if not parts:
        return None if one == other else {}
    found = {key: differing(sub, _at(one, key), _at(other, key)) for key, sub in parts.items()}
    left = {key: part for key, part in found.items() if part is not None}
    return left or None


def _at(value: Any, key: str) -> Any:
    if key.startswith("f:"):
        return value.get(key[2:]) if isinstance(value, dict) else None
    items = value if isinstance(value, list) else []
    return next((item for item in items if _of_item(item, {key: {}}) is not None), None)


def leaves(fields: FieldSet, value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of what a field set names, like (`spec.template.spec.containers[web].image`, "a")."""
    parts = {key: sub for key, sub in fields.items() if key != "."}
    if not parts:
        yield path, value
    for key, sub in parts.items():
        if key.startswith("f:"):
            step = f"{path}.{key[2:]}" if path else key[2:]
        else:
            wanted = json.loads(key[2:])
            named = "/".join(map(str, wanted.values())) if isinstance(wanted, dict) else wanted
            step = f"{path}[{named}]"
        yield from leaves(sub, _at(value, key), step)


def both(one: FieldSet, other: FieldSet) -> FieldSet | None:
    """Fields of both, None when there are none; a part of a whole value is the part."""
    if not one or not other:
        return one or other
    parts = {key: both(one[key], other[key]) for key in one if key in other and key != "."}
    common = {key: part for key, part in parts.items() if part is not None}
    return common or None


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Fields of either; a whole value beats its parts."""
    if not one or not other:
        return {}
    return {
        key: union(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
        for key in {**one, **other}
    }


def project(value: Any, fields: FieldSet) -> Any:
    """Only the parts of a value that the field set names; None where nothing of it is left."""
    parts = {key: sub for key, sub in fields.items() if key != "."}
    if not parts:
        return value if not fields else _emptied(value)
    if isinstance(value, dict):
        kept = {key[2:]: project(value[key[2:]], sub) for key, sub in parts.items() if key[2:] in value}
        return {key: part for key, part in kept.items() if part is not None}
    if isinstance(value, list):
        items = (_item(item, parts) for item in value)
        return [item for item in items if item is not None]
    return value


def _emptied(value: Any) -> Any:
    return {} if isinstance(value, dict) else [] if isinstance(value, list) else value


def _item(item: Any, parts: FieldSet) -> Any:
    for key, sub in parts.items():
        wanted = json.loads(key[2:])
        if key.startswith("v:") and item == wanted:
            return item
        if (
            key.startswith("k:")
            and isinstance(item, dict)
            and all(item.get(k) == v for k, v in wanted.items())
        ):
            return {**wanted, **(project(item, sub) or {})}
    return None
