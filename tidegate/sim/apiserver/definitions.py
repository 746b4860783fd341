"""Custom resources: serving what a CustomResourceDefinition describes, and checking objects against its schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tidegate.sim.apiserver.failures import Cause, field_duplicate
from tidegate.sim.apiserver.resources import Catalog, Resource
from tidegate.sim.apiserver.store import clone

Object = dict[str, Any]
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer of every definition: its objects go before it does."""


def serve(catalog: Catalog, definition: Mapping[str, Any]) -> None:
    """Make the definition's versions available."""
    spec = definition["spec"]
    names = spec["names"]
    catalog.drop(spec["group"], names["plural"])
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        catalog.add(
            Resource(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                kind=names["kind"],
                namespaced=spec["scope"] == "Namespaced",
                short=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=tuple(sorted(version.get("subresources") or {})),
                custom=version,
                storage=next((v["name"] for v in spec["versions"] if v.get("storage")), ""),
            )
        )


def withdraw(catalog: Catalog, definition: Mapping[str, Any]) -> None:
    catalog.drop(definition["spec"]["group"], definition["spec"]["names"]["plural"])


def established(definition: Object, now: str) -> Object:
    """The definition with the status the real server's controllers give it once it is served."""
    names = clone(definition["spec"]["names"])
    storage = [v["name"] for v in definition["spec"]["versions"] if v.get("storage")]
    before = (definition.get("status") or {}).get("conditions") or []
    since = {c["type"]: c["lastTransitionTime"] for c in before if c.get("status") == "True"}
    conditions: list[Object] = [
        {"type": "NamesAccepted", "reason": "NoConflicts", "message": "no conflicts found"},
        {
            "type": "Established",
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
        },
    ]
    if definition["metadata"].get("deletionTimestamp"):
        message = "CustomResource deletion is in progress"
        conditions.append({"type": "Terminating", "reason": "InstanceDeletionInProgress", "message": message})
    status = {
        "conditions": [
            {"type": c["type"], "status": "True", "lastTransitionTime": since.get(c["type"], now), **c}
            for c in conditions
        ],
        "acceptedNames": names,
        "storedVersions": list(
            dict.fromkeys([*((definition.get("status") or {}).get("storedVersions") or ()), *storage])
        ),
    }
    return {**definition, "status": status}


def fill_defaults(schema: Mapping[str, Any], value: Any) -> Any:
    """The schema's `default`s where fields are missing; `value` is changed in place."""
    if isinstance(value, dict):
        for name, sub in (schema.get("properties") or {}).items():
            if value.get(name) is None and "default" in sub:
                value[name] = clone(sub["default"])
            if name in value:
                fill_defaults(sub, value[name])
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            for name in value.keys() - (schema.get("properties") or {}).keys():
                fill_defaults(more, value[name])
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for item in value:
            fill_defaults(schema["items"], item)
    return value


_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def causes(schema: Mapping[str, Any], value: Any, path: str = "") -> Iterator[Cause]:
    """What the value breaks of its schema: the JSON-schema keywords CRDs use, without CEL."""
    if value is None:
        if not schema.get("nullable") and path:
            yield _wrong(
                path, "null", f'{path} in body must be of type {schema.get("type", "object")}: "null"'
            )
        return
    if schema.get("x-kubernetes-int-or-string"):
        return
    wanted = schema.get("type")
    if wanted and not _is(value, wanted):
        name = _name(value)
        yield Cause(
            "FieldValueTypeInvalid",
            f'Invalid value: "{name}": {path} in body must be of type {wanted}: "{name}"',
            path,
        )
        return
    if "enum" in schema and value not in schema["enum"]:
        listed = ", ".join(json.dumps(v) for v in schema["enum"])
        text = f"Unsupported value: {json.dumps(value)}: supported values: {listed}"
        yield Cause("FieldValueNotSupported", text, path)
    match value:
        case dict():
            yield from _object_causes(schema, value, path)
        case list():
            yield from _list_causes(schema, value, path)
        case str():
            yield from _string_causes(schema, value, path)
        case int() | float():
            yield from _number_causes(schema, value, path)


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(wanted, object))


def _name(value: Any) -> str:
    names = (
        (bool, "boolean"),
        (dict, "object"),
        (list, "array"),
        (str, "string"),
        (int, "integer"),
        (float, "number"),
    )
    return next(name for kind, name in names if isinstance(value, kind))


def _wrong(path: str, shown: str, text: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {text}", path)


def _object_causes(schema: Mapping[str, Any], value: Object, path: str) -> Iterator[Cause]:
    for name in schema.get("required") or ():
        if name not in value:
            yield Cause("FieldValueRequired", "Required value", f"{path}.{name}".lstrip("."))
    properties = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    for name, child in value.items():
        sub = properties.get(name, more)
        if isinstance(sub, Mapping):
            yield from causes(sub, child, f"{path}.{name}".lstrip("."))


def _list_causes(schema: Mapping[str, Any], value: list[Any], path: str) -> Iterator[Cause]:
    if len(value) < schema.get("minItems", 0):
        yield _wrong(path, str(len(value)), f"{path} in body should have at least {schema['minItems']} items")
    if len(value) > schema.get("maxItems", len(value)):
        yield Cause(
            "FieldValueTooMany", f"Too many: {len(value)}: must have at most {schema['maxItems']} items", path
        )
    items = schema.get("items")
    if isinstance(items, Mapping):
        for index, child in enumerate(value):
            yield from causes(items, child, f"{path}[{index}]")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    seen: list[Any] = []
    for index, child in enumerate(value):
        unique = schema.get("x-kubernetes-list-type") == "set"
        key = (
            child if unique else {k: child.get(k) for k in keys} if keys and isinstance(child, dict) else None
        )
        if key is not None and key in seen:
            yield field_duplicate(f"{path}[{index}]", key)
        seen.append(key)


def _string_causes(schema: Mapping[str, Any], value: str, path: str) -> Iterator[Cause]:
    shown = json.dumps(value, ensure_ascii=False)
    if len(value) < schema.get("minLength", 0):
        yield _wrong(path, shown, f"{path} in body should be at least {schema['minLength']} chars long")
    if len(value) > schema.get("maxLength", len(value)):
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {schema['maxLength']} bytes", path)
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield _wrong(path, shown, f"{path} in body should match '{schema['pattern']}'")


def _number_causes(schema: Mapping[str, Any], value: float, path: str) -> Iterator[Cause]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        yield _wrong(path, str(value), f"{path} in body should be greater than or equal to {low}")
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        yield _wrong(path, str(value), f"{path} in body should be less than or equal to {high}")
