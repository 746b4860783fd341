"""JSON patch, merge patch and strategic merge patch: pure functions from object and patch to a new object."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tidegate.sim.apiserver.failures import ApiError, bad_request, internal
from tidegate.sim.apiserver.schema import ANY, Form, Shape

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
BUILT_IN_PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
CUSTOM_PATCHES = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)


def json_patch(value: dict[str, Any], operations: Any) -> dict[str, Any]:
    """RFC 6902. A failed `test` or a missing path is 422, as the real server answers."""
    import jsonpatch
    import jsonpointer

    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    try:
        patched = jsonpatch.JsonPatch([_set(value, o) for o in operations]).apply(value)
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        TypeError,
        KeyError,
    ) as error:
        message = "the server rejected our request due to an error in our request"
        raise ApiError(422, "Invalid", message, details={}) from error
    if not isinstance(patched, dict):
        raise bad_request("the JSON patch does not leave an object")
    return patched


def _set(value: dict[str, Any], operation: Any) -> Any:
    """To Kubernetes' library, replacing a key that is not there is adding it (in lists it is an error)."""
    import jsonpointer

    if not isinstance(operation, dict) or operation.get("op") != "replace":
        return operation
    try:
        parent, name = jsonpointer.JsonPointer(operation.get("path", "")).to_last(value)
    except jsonpointer.JsonPointerException:
        return operation
    return {**operation, "op": "add"} if isinstance(parent, dict) and name not in parent else operation


def merge_patch(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            found.pop(name, None)
        else:
            found[name] = merge_patch(found.get(name), change)
    return found


_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"
_DIRECTIVE = "$patch"


def strategic_patch(shape: Shape, value: Any, patch: Any) -> Any:
    """Kubernetes' strategic merge patch, directives included."""
    if not isinstance(patch, dict):
        return patch
    if patch.get(_DIRECTIVE) == "replace":
        return {k: v for k, v in patch.items() if k != _DIRECTIVE}
    if patch.get(_DIRECTIVE) == "delete":
        return {}
    found = dict(value) if isinstance(value, dict) else {}
    if isinstance(retained := patch.get(_RETAIN), list):
        found = {k: v for k, v in found.items() if k in retained}
    for name, change in patch.items():
        if name.startswith("$"):
            continue
        if change is None:
            found.pop(name, None)
            continue
        found[name] = _strategic_value(shape.field(name) or ANY, found.get(name), change)
    for name, change in patch.items():
        _list_directives(shape, found, name, change)
    return found


def _strategic_value(shape: Shape, value: Any, change: Any) -> Any:
    if isinstance(change, dict):
        return strategic_patch(shape, value, change)
    if isinstance(change, list) and shape.form is Form.LIST:
        if shape.patch_key:
            return _strategic_list(shape, value if isinstance(value, list) else [], change)
        if shape.unique:
            present = value if isinstance(value, list) else []
            return present + [v for v in change if v not in present]
    return deepcopy(change)


def _strategic_list(shape: Shape, value: list[Any], change: list[Any]) -> list[Any]:
    key = shape.patch_key
    if any(isinstance(c, dict) and c == {_DIRECTIVE: "replace"} for c in change):
        return [c for c in change if c != {_DIRECTIVE: "replace"}]
    found, new = list(value), []
    for item in change:
        if not isinstance(item, dict) or key not in item:
            raise internal(f"map: {_go_map(item)} does not contain declared merge key: {key}")
        at = next((i for i, v in enumerate(found) if isinstance(v, dict) and v.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            found = [v for v in found if v.get(key) != item[key]]
        elif at is None:
            new.append(strategic_patch(shape.element or ANY, {}, item))
        else:
            found[at] = strategic_patch(shape.element or ANY, found[at], item)
    return new + found  # what the patch adds stands first


def _go_map(value: Any) -> str:
    """A value as Go's `%v` shows it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_go_map(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go_map, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else "<nil>" if value is None else str(value)


def _list_directives(shape: Shape, found: dict[str, Any], name: str, change: Any) -> None:
    if name.startswith(_DELETE):
        field = name.removeprefix(_DELETE)
        found[field] = [v for v in found.get(field) or [] if v not in change]
    elif name.startswith(_ORDER):
        field = name.removeprefix(_ORDER)
        if isinstance(found.get(field), list):
            key = (shape.field(field) or ANY).patch_key
            found[field] = _ordered(found[field], change, key)


def _ordered(values: list[Any], order: list[Any], key: str) -> list[Any]:
    """Listed items in the listed order; others stay behind the neighbour they followed."""

    def name(item: Any) -> Any:
        return item.get(key) if isinstance(item, dict) and key else item

    ranks = {name(item): rank for rank, item in enumerate(order)}
    slots = [i for i, v in enumerate(values) if name(v) in ranks]
    listed = sorted((values[i] for i in slots), key=lambda v: ranks[name(v)])
    found = list(values)
    for slot, item in zip(slots, listed, strict=True):
        found[slot] = item
    return found
