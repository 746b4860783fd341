"""Field ownership (FieldsV1, structured-merge-diff) read as a mask: the parts of an object a manager owns."""

from __future__ import annotations

import json
from typing import Any

from tidegate.domain.manifests import Manifest

FieldSet = dict[str, Any]
MANAGER = "tidegate"


def owned(obj: Manifest | None, manager: str = MANAGER) -> FieldSet | None:
    """The fields a manager applied (`operation: Apply`, main resource); None when it applied none."""
    for entry in ((obj or {}).get("metadata") or {}).get("managedFields") or []:
        if _is_apply(entry) and entry.get("manager") == manager:
            return entry.get("fieldsV1") or {}
    return None


def _is_apply(entry: dict[str, Any]) -> bool:
    return entry.get("operation") == "Apply" and not entry.get("subresource")


def others(obj: Manifest | None, manager: str = MANAGER) -> list[tuple[str, FieldSet]]:
    """(manager, fields) of everybody else who set something other than the status."""
    entries = ((obj or {}).get("metadata") or {}).get("managedFields") or []
    return [
        (e.get("manager") or "somebody", e.get("fieldsV1") or {})
        for e in entries
        if e.get("subresource") != "status" and not (_is_apply(e) and e.get("manager") == manager)
    ]


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
