"""Sets of fields, the way `managedFields` writes them (FieldsV1).

In memory a set is a trie: path element → trie, and the key `"."` says that the path so far is itself a member. On the
wire a member without children is `{}`, so the only difference is at the leaves. Path elements are `f:<name>`,
`k:<json of the keys>`, `v:<json of the value>`, `i:<index>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

FieldSet = dict[str, Any]
MEMBER = "."


def leaf() -> FieldSet:
    return {MEMBER: {}}


def decode(wire: dict[str, Any]) -> FieldSet:
    """FieldsV1 → set."""
    found: FieldSet = {}
    for element, child in wire.items():
        if element == MEMBER:
            found[MEMBER] = {}
        else:
            found[element] = decode(child) if child else leaf()
    return found


def encode(fields: FieldSet) -> dict[str, Any]:
    """Set → FieldsV1, keys in order."""
    found: dict[str, Any] = {}
    for element in sorted(fields):
        child = fields[element]
        found[element] = {} if element == MEMBER or list(child) == [MEMBER] else encode(child)
    return found


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    found = dict(left)
    for element, child in right.items():
        mine = found.get(element)
        found[element] = child if mine is None else union(mine, child)
    return found


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of `left` that are not members of `right`."""
    found: FieldSet = {}
    for element, child in left.items():
        other = right.get(element)
        if other is None:
            found[element] = child
        elif element != MEMBER and (rest := difference(child, other)):
            found[element] = rest
    return found


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    found: FieldSet = {}
    for element, child in left.items():
        other = right.get(element)
        if other is None:
            continue
        if element == MEMBER:
            found[MEMBER] = {}
        elif common := intersection(child, other):
            found[element] = common
    return found


def with_ancestors(fields: FieldSet) -> FieldSet:
    """The same set with every named field (`f:`) on the way to a member being a member too."""
    found: FieldSet = {}
    for element, child in fields.items():
        deeper = child if element == MEMBER else with_ancestors(child)
        if element.startswith("f:"):
            deeper = {**deeper, MEMBER: {}}
        found[element] = deeper
    return found


def without(fields: FieldSet, *paths: tuple[str, ...]) -> FieldSet:
    """The set without these subtrees."""
    found = fields
    for path in paths:
        found = _without(found, path)
    return found


def _without(fields: FieldSet, path: tuple[str, ...]) -> FieldSet:
    head, rest = path[0], path[1:]
    if head not in fields:
        return fields
    found = {element: child for element, child in fields.items() if element != head}
    if rest and (kept := _without(fields[head], rest)):
        found[head] = kept
    return found


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as users read it: `.spec.containers[name="web"].image`."""
    for element, child in fields.items():
        if element == MEMBER:
            yield prefix
        else:
            yield from paths(child, prefix + readable(element))


def readable(element: str) -> str:
    kind, _, text = element.partition(":")
    match kind:
        case "f":
            return f".{text}"
        case "k":
            keys = json.loads(text)
            return "[" + ",".join(f"{name}={_value(keys[name])}" for name in sorted(keys)) + "]"
        case "v":
            return f"[={_value(json.loads(text))}]"
    return f"[{text}]"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def key_element(keys: dict[str, Any]) -> str:
    return "k:" + json.dumps(keys, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def value_element(value: Any) -> str:
    return "v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False)
