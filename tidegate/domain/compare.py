"""When are two states the same? Before asking the API server, and after it told what an apply would do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tidegate.domain.fields import by_hand
from tidegate.domain.inventory import Entry, digest
from tidegate.domain.manifests import Manifest, without_server_fields

_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {unit: 2 ** (10 * power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_QUANTITIES_IN = {"resources", "capacity", "hard", "overhead", "sizeLimit", "divisor"}
_LIST_KEYS = ("name", "key", "mountPath", "containerPort", "port", "type", "ip")


def certainly_unchanged(desired: Manifest, live: Manifest | None, entry: Entry | None) -> bool:
    """True when applying would certainly change nothing, so that the API server need not be asked.

    The desired state is the one we applied last (same digest: nothing to remove), the object is the same one,
    and everything we said is still true live. Never true by guessing; when False, a dry-run decides.
    """
    if live is None or entry is None or entry.digest != digest(desired):
        return False
    if entry.uid and entry.uid != live.get("metadata", {}).get("uid"):
        return False
    return covers(live, desired) and not by_hand(live)


def covers(live: Any, desired: Any, *, quantities: bool = False) -> bool:
    """True when everything `desired` says holds in `live`; lists must be of equal length and order."""
    if type(desired) is str and desired == live:  # most of what there is
        return True
    if isinstance(desired, dict) and isinstance(live, dict):
        for key, value in desired.items():
            if not covers(live.get(key), value, quantities=quantities or key in _QUANTITIES_IN):
                return False
        return True
    if isinstance(desired, list) and isinstance(live, list):
        return len(desired) == len(live) and all(
            covers(there, wanted, quantities=quantities) for there, wanted in zip(live, desired, strict=True)
        )
    if desired in (None, {}, []) and live in (None, {}, []):
        return True
    if isinstance(desired, bool) or isinstance(live, bool):
        return live is desired
    return bool(live == desired) or (quantities and _same_quantity(live, desired))


def _same_quantity(one: Any, other: Any) -> bool:
    first, second = _quantity(one), _quantity(other)
    return first is not None and first == second


def _quantity(value: Any) -> Decimal | None:
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if found is None:
        return None
    number, unit = Decimal(found[1]), found[2]
    if unit in _BINARY:
        return Decimal(number * _BINARY[unit])
    return Decimal(number.scaleb(_DECIMAL[unit])) if unit else number


def is_drift(live: Manifest, predicted: Manifest) -> bool:
    """Flux's comparison (`ssa/manager_diff.go`): labels, annotations, and the body without status."""
    return _essence(live) != _essence(predicted)


def _essence(obj: Manifest) -> tuple[Any, Any, Any]:
    clean = without_server_fields(obj)
    meta = clean.pop("metadata")
    return (meta.get("labels") or {}, meta.get("annotations") or {}, clean)


def changed_paths(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths whose values differ, like `spec.template.spec.containers[web].image`, in the order of `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*after, *(k for k in before if k not in after)]:
            if before.get(key) != after.get(key):
                yield from changed_paths(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _changed_items(_by_key(before), _by_key(after), path)
    elif before != after:
        yield path


def _changed_items(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[str]:
    for key in [*after, *(k for k in before if k not in after)]:
        if before.get(key) != after.get(key):
            yield from changed_paths(before.get(key), after.get(key), f"{path}[{key}]")


def _by_key(items: list[Any]) -> dict[str, Any]:
    for name in _LIST_KEYS:
        keys = [str(item.get(name)) for item in items if isinstance(item, dict) and name in item]
        if items and len(set(keys)) == len(items):
            return dict(zip(keys, items, strict=True))
    return {str(index): item for index, item in enumerate(items)}
