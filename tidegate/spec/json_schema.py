"""The JSON Schema of an application file, for editors: the spec's own models and the plug-ins' settings by kind."""

from __future__ import annotations

import ast
import inspect
import textwrap
from datetime import timedelta
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from tidegate.spec import models
from tidegate.spec.models import Application, Section, format_duration
from tidegate.spec.sections import DEFAULTS, plugins

_FOLDERS = {
    # where plug-in sections stand: (definition, property) -> (folder, is a list)
    ("Stage", "target"): ("targets", False),
    ("Stage", "verify"): ("checks", True),
    ("Integrate", "audit"): ("auditors", True),
    ("Integrate", "build"): ("builders", False),
    ("Config", "render"): ("renderers", False),
    ("Rollout", "traffic"): ("traffic", False),
    ("Gate", "metrics"): ("metrics", False),
}
_SHORT = ("auditors", "renderers", "traffic")
"""Sections for which the kind's name alone will do."""


class _Written(GenerateJsonSchema):
    """Defaults as users would write them."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return format_duration(dft)
        if isinstance(dft, Section):
            return dft.kind
        return super().encode_default(dft)


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one `Application`, with every kind of every plug-in that is installed."""
    whole = Application.model_json_schema(by_alias=True, schema_generator=_Written)
    definitions = whole["$defs"]
    definitions.pop("Section", None)
    for name, definition in definitions.items():
        _describe(definition, getattr(models, name))
    for (model, name), (folder, many) in _FOLDERS.items():
        title = folder.removesuffix("s") if folder != "metrics" else folder
        found = definitions[model]["properties"][name]
        entry = {"$ref": f"#/$defs/{title}"}
        definitions[model]["properties"][name] = {
            **{k: v for k, v in found.items() if k in ("description", "default")},
            **({"type": "array", "items": entry} if many else entry),
        }
        definitions[title] = _kinds(folder, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate application",
        **{k: v for k, v in whole.items() if k not in ("title", "$defs")},
        "$defs": dict(sorted(definitions.items())),
    }


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    """Put the docstrings of a model's fields into its schema; read from the source, only when they are wanted."""
    fields = {field.alias or name: name for name, field in model.model_fields.items()}
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base.__module__.startswith(("pydantic", "builtins", "typing")):
            continue
        texts |= _field_docstrings(base)
    for key, property_ in definition.get("properties", {}).items():
        if text := texts.get(fields.get(key, key)):
            property_.setdefault("description", text)


def _field_docstrings(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in pairwise(body.body):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as said)),
            ):
                found[name] = " ".join(said.split())
    return found


def _kinds(folder: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """One of the kinds of a folder, each with its settings."""
    names = plugins().kinds(folder)
    choices: list[dict[str, Any]] = [_kind(folder, name, definitions) for name in names]
    if folder in _SHORT:
        choices.append({"enum": list(names)})
    return {"anyOf": choices}


def _kind(folder: str, kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    settings: type[BaseModel] = plugins().module(folder, kind).Settings
    made = settings.model_json_schema(by_alias=True, schema_generator=_Written)
    definitions.update(made.pop("$defs", {}))
    made.pop("title", None)
    _describe(made, settings)
    made["properties"] = {"kind": {"const": kind}, **made.get("properties", {})}
    if DEFAULTS.get(folder) != kind:
        made["required"] = ["kind", *made.get("required", ())]
    return made
