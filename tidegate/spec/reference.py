"""The reference of the spec in Markdown, out of its schema: `python -m tidegate.spec.reference > docs/spec.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tidegate.spec.json_schema import schema

_HEAD = """# What can be written in a spec

Every key of `kind: Application`, made from the code by `python -m tidegate.spec.reference`. `applications.md` tells
what it is for. Keys without a default are required. Durations are a number with a unit: `30s`, `15m`, `1h30m`, `2d`.

YAML is read as `kubectl` reads it: `yes`, `on`, `y` are true, `0644` is octal, `1:30` and dates are text, `1e3` is
1000. Refused, with file, line and column: unknown keys, keys written twice, numbers beyond 64 bits, tags, more than
10 MiB, 100 levels, 10,000 documents, or 50,000 nodes repeated by aliases.
"""
_ORDER = (
    "Source",
    "Integrate",
    "Test",
    "Config",
    "Stage",
    "After",
    "Approval",
    "Window",
    "Rollout",
    "Gate",
    "Ratio",
)
_PLUGINS = {
    "auditor": "integrate.audit[]",
    "builder": "integrate.build",
    "renderer": "config.render",
    "target": "stages[].target",
    "check": "stages[].verify[]",
    "traffic": "stages[].rollout.traffic",
    "metrics": "stages[].gate.metrics",
}


def reference() -> str:
    """The whole document."""
    return "\n".join(_lines(schema()))


def _lines(whole: dict[str, Any]) -> Iterator[str]:
    yield _HEAD
    yield from _table("Application", whole)
    models = whole["$defs"]
    for name in (*_ORDER, *sorted(set(models) - {*_ORDER, *_PLUGINS})):
        yield from _table(name, models[name])
    for name, where in _PLUGINS.items():
        for choice in models[name]["anyOf"]:
            if "enum" in choice:
                continue
            kind = choice["properties"]["kind"]["const"]
            yield from _table(f"{name} `{kind}` (`{where}`)", choice)


def _table(title: str, model: dict[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    if said := model.get("description"):
        yield " ".join(said.split()) + "\n"
    if rows := [_row(k, v, model) for k, v in model.get("properties", {}).items() if "const" not in v]:
        yield "| key | value | default | |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""


def _row(key: str, value: dict[str, Any], model: dict[str, Any]) -> str:
    required = key in model.get("required", ())
    default = "required" if required else f"`{json.dumps(value.get('default'), ensure_ascii=False)}`"
    cells = (f"`{key}`", _type(value), default.replace("`null`", ""), value.get("description", ""))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return name if name not in _PLUGINS else f"{name}: kind and its settings"
    if "enum" in value:
        return " or ".join(f"`{v}`" for v in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value or "oneOf" in value:
        parts = value.get("anyOf") or value["oneOf"]
        return " or ".join(_type(part) for part in parts if part.get("type") != "null")
    match value.get("type"):
        case "array":
            return f"list of {_type(value['items'])}" if "items" in value else "list"
        case "object":
            inner = value.get("additionalProperties")
            return f"map of {_type(inner)}" if isinstance(inner, dict) else "map"
        case "string" if "examples" in value:
            return "duration"
        case "string":
            return "text"
        case "integer" | "number":
            return "number" + _bounds(value)
        case "boolean":
            return "true or false"
    return "anything"


def _bounds(value: dict[str, Any]) -> str:
    words = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    said = [f"{sign} {value[name]:g}" for name, sign in words.items() if name in value]
    return f" ({', '.join(said)})" if said else ""


if __name__ == "__main__":
    print(reference())
