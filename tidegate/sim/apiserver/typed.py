"""Walks over an object along its shape: which fields it sets, what changed, merge, removal.

The algorithms are those of sigs.k8s.io/structured-merge-diff `typed` (toset, compare, merge, remove), on plain JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tidegate.sim.apiserver.fields import MEMBER, FieldSet, key_element, leaf, readable, value_element
from tidegate.sim.apiserver.schema import ANY, Form, Shape


def is_leaf(shape: Shape, value: Any) -> bool:
    """True when the value is owned as one piece."""
    if isinstance(value, dict):
        return shape.atomic or not value
    if isinstance(value, list):
        return shape.form is not Form.LIST or shape.atomic
    return True


def element_of(shape: Shape, item: Any) -> str | None:
    """The path element of a list item; None when it has none (a key is missing)."""
    if shape.unique:
        return value_element(item)
    keys = shape.key_of(item) if isinstance(item, dict) else None
    return None if keys is None else key_element(keys)


def items(shape: Shape, values: Iterable[Any]) -> dict[str, Any]:
    """A keyed or set list as path element → item; of duplicates the first counts."""
    found: dict[str, Any] = {}
    for value in values:
        element = element_of(shape, value)
        if element is not None:
            found.setdefault(element, value)
    return found


def to_set(shape: Shape, value: Any) -> FieldSet:
    """Every field the value sets."""
    if is_leaf(shape, value):
        return leaf()
    if isinstance(value, list):
        return {e: {**to_set(shape.element or ANY, v), MEMBER: {}} for e, v in items(shape, value).items()}
    found: FieldSet = {}
    for name, child in value.items():
        sub = to_set(shape.field(name) or ANY, child)
        if shape.form is not Form.STRUCT or name not in shape.fields:
            sub = {**sub, MEMBER: {}}
        if sub:
            found[f"f:{name}"] = sub
    return found


# structs a Go object always carries, so their presence is nobody's write; so are a pod's containers, at first null
_ALWAYS_THERE = frozenset(
    ["metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate", "selector"]
)


@dataclass(slots=True)
class Comparison:
    """What `new` changed against `old`, as three disjoint sets."""

    modified: FieldSet = field(default_factory=dict)
    added: FieldSet = field(default_factory=dict)
    removed: FieldSet = field(default_factory=dict)


def compare(shape: Shape, old: Any, new: Any) -> Comparison:
    found = Comparison()
    _compare_maps(shape, old, new, found.modified, found.added, found.removed)
    return found


def _compare(shape: Shape, old: Any, new: Any) -> tuple[FieldSet, FieldSet, FieldSet]:
    """(modified, added, removed) below one path, for values present on both sides."""
    if old is new or old == new:
        return {}, {}, {}
    old_is_leaf, new_is_leaf = is_leaf(shape, old), is_leaf(shape, new)
    if old_is_leaf and new_is_leaf:
        return leaf(), {}, {}
    modified: FieldSet = {}
    added: FieldSet = {}
    removed: FieldSet = {}
    if isinstance(old, list) and isinstance(new, list):
        _compare_lists(shape, old, new, modified, added, removed)
    elif isinstance(old, dict) and isinstance(
        new, dict
    ):  # one of them may be empty: what it holds then counts
        _compare_maps(shape, old, new, modified, added, removed)
    else:
        return (
            leaf(),
            to_set(shape, new) if not new_is_leaf else {},
            to_set(shape, old) if not old_is_leaf else {},
        )
    return modified, added, removed


def _compare_maps(
    shape: Shape,
    old: dict[str, Any],
    new: dict[str, Any],
    modified: FieldSet,
    added: FieldSet,
    removed: FieldSet,
) -> None:
    for name, value in new.items():
        sub = shape.field(name) or ANY
        if name not in old:
            if grown := _appeared(sub, value, name):
                added[f"f:{name}"] = grown
            continue
        before = old[name]
        if before is value:
            continue
        for target, part in zip((modified, added, removed), _compare(sub, before, value), strict=True):
            if part:
                target[f"f:{name}"] = part
    for name in old.keys() - new.keys():
        if gone := _appeared(shape.field(name) or ANY, old[name], name):
            removed[f"f:{name}"] = gone


def _compare_lists(
    shape: Shape, old: list[Any], new: list[Any], modified: FieldSet, added: FieldSet, removed: FieldSet
) -> None:
    before, after = items(shape, old), items(shape, new)
    sub = shape.element or ANY
    for element, value in after.items():
        if element not in before:
            added[element] = _appeared(sub, value, "")
            continue
        for target, part in zip(
            (modified, added, removed), _compare(sub, before[element], value), strict=True
        ):
            if part:
                target[element] = part
    for element in before.keys() - after.keys():
        removed[element] = _appeared(sub, before[element], "")


def _appeared(shape: Shape, value: Any, name: str) -> FieldSet:
    """The set of a value that one side lacks: the containers on the way count, except those always there."""
    there = name in _ALWAYS_THERE and bool(shape.name) and not shape.atomic
    if is_leaf(shape, value):
        return {} if there and value == {} else leaf()
    found: FieldSet = {} if there or (name == "containers" and _is_of(shape, "Container")) else leaf()
    if isinstance(value, list):
        for element, item in items(shape, value).items():
            found[element] = _appeared(shape.element or ANY, item, "")
        return found
    for key, child in value.items():
        if sub := _appeared(shape.field(key) or ANY, child, key):
            found[f"f:{key}"] = sub
    return found


def _is_of(shape: Shape, name: str) -> bool:
    return shape.element is not None and shape.element.name == name


def merge(shape: Shape, live: Any, applied: Any) -> Any:
    """`applied` over `live`: maps and keyed lists by key, sets as union, the rest replaced. Inputs stay as they are."""
    if is_leaf(shape, applied) and not (
        isinstance(applied, dict) and isinstance(live, dict) and not shape.atomic
    ):
        return applied
    if isinstance(applied, dict):
        if not isinstance(live, dict):
            return applied
        found = dict(live)
        for name, value in applied.items():
            sub = shape.field(name) or ANY
            found[name] = merge(sub, live[name], value) if name in live else value
        return found
    if not isinstance(live, list):
        return applied
    return _merge_lists(shape, live, applied)


def _merge_lists(shape: Shape, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items in applied order; live-only items keep their place relative to their live neighbours."""
    before, after = items(shape, live), items(shape, applied)
    sub = shape.element or ANY
    left, right = list(before), list(after)
    found: dict[str, Any] = {}
    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and (left[i] in found or left[i] not in after):
            if left[i] not in found:
                found[left[i]] = before[left[i]]
            i += 1
            continue
        element = right[j]
        found[element] = merge(sub, before[element], after[element]) if element in before else after[element]
        j += 1
    return list(found.values())


def remove(shape: Shape, value: Any, gone: FieldSet) -> Any:
    """The value without the members of `gone`; a member takes everything below it along."""
    if isinstance(value, dict) and not shape.atomic:
        found: dict[str, Any] = {}
        for name, child in value.items():
            cut = gone.get(f"f:{name}")
            if cut is None:
                found[name] = child
            elif MEMBER not in cut:
                found[name] = remove(shape.field(name) or ANY, child, cut)
        return found
    if isinstance(value, list) and shape.form is Form.LIST and not shape.atomic:
        kept = []
        for item in value:
            cut = gone.get(element_of(shape, item) or "")
            if cut is None:
                kept.append(item)
            elif MEMBER not in cut:
                kept.append(remove(shape.element or ANY, item, cut))
        return kept
    return value


def problems(shape: Shape, value: Any, path: str = "") -> list[str]:
    """Why the value does not fit its shape, in structured-merge-diff's words: SSA answers 500 with these."""
    if value is None or shape.form is Form.ANY:
        return []
    if shape.form is Form.SCALAR:
        return _scalar_problems(shape, value, path)
    if shape.form is Form.LIST:
        return _list_problems(shape, value, path)
    if not isinstance(value, dict):
        got = f"&{{{_listed(value)}}}" if isinstance(value, list) else _shown(value)
        return [f"{path}: expected map, got {got}"]
    found: list[str] = []
    for name, child in value.items():
        sub = shape.field(name)
        if sub is None:
            found.append(f"{path}.{name}: field not declared in schema")
        else:
            found += problems(sub, child, f"{path}.{name}")
    return found


_EXPECTED = {
    "str": "string",
    "int": "numeric (int or float)",
    "float": "numeric (int or float)",
    "bool": "boolean",
}


def fits(scalar: str, value: Any) -> bool:
    match scalar:
        case "str":
            return isinstance(value, str)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _scalar_problems(shape: Shape, value: Any, path: str) -> list[str]:
    if fits(shape.scalar, value):
        return []
    expected = _EXPECTED.get(shape.scalar, "string")
    got = "string" if expected.startswith("numeric") and isinstance(value, str) else _shown(value)
    return [f"{path}: expected {expected}, got {got}"]


def _list_problems(shape: Shape, value: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: expected list, got {_shown(value)}"]
    found: list[str] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        if shape.atomic:
            found += problems(shape.element or ANY, item, f"{path}[{index}]")
            continue
        element = element_of(shape, item)
        if element is None:
            missing = next((k for k in shape.keys if not isinstance(item, dict) or k not in item), "")
            found.append(
                f"{path}: element {index}: associative list with keys has an element that omits key field "
                f'"{missing}" (and doesn\'t have default value)'
            )
            continue
        if element in seen:
            found.append(f"{path}: duplicate entries for key {readable(element)}")
        seen.add(element)
        found += problems(shape.element or ANY, item, path + readable(element))
    return found


def _shown(value: Any) -> str:
    match value:
        case bool():
            return f"&value.valueUnstructured{{Value:{str(value).lower()}}}"
        case str():
            return f'&value.valueUnstructured{{Value:"{value}"}}'
        case dict():
            inner = " ".join(f'"{k}":{_bare(v)}' for k, v in sorted(value.items()))
            return f"&value.valueUnstructured{{Value:map[string]interface {{}}{{{inner}}}}}"
    return f"&value.valueUnstructured{{Value:{value}}}"


def _listed(value: list[Any]) -> str:
    return f"[{' '.join(map(_bare, value))}]"


def _bare(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
