"""pydantic's errors in plain words, at the place in the user's data they are about."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tidegate.spec.places import Complaint, Path, likely

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "path_type": "a path",
    "url_type": "a URL",
}
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def complaints(
    error: ValidationError, model: type[BaseModel], data: object, base: Path = ()
) -> list[Complaint]:
    """One complaint per error pydantic found in `data`, which stands at `base` in its document."""
    found = error.errors(include_url=False)
    return [_complaint(details, model, data, base) for details in found if not _echo(details)]


def _echo(details: ErrorDetails) -> bool:
    """pydantic calls a list too short when its items are wrong; their own errors say so better."""
    return details["type"] == "too_short" and bool(details["input"])


def _complaint(details: ErrorDetails, model: type[BaseModel], data: object, base: Path) -> Complaint:
    path = _in_data(details["loc"], data)
    kind, name = details["type"], _name(path, base)
    if kind == "missing":
        key = str(details["loc"][-1])
        return Complaint((*base, *path), f"'{key}' is missing", f"add '{key}: …'", at_key=bool(path))
    if kind == "extra_forbidden":
        fields = _fields(_model_at(model, details["loc"][:-1]))
        hint = likely(str(path[-1]), fields, there="the keys here are")
        return Complaint((*base, *path), f"unknown key '{path[-1]}'", hint, at_key=True)
    message, hint = _words(kind, name, details)
    return Complaint((*base, *path), message, hint)


def _words(kind: str, name: str, details: ErrorDetails) -> tuple[str, str]:
    given, context = details["input"], details.get("ctx", {})
    if kind in _WANTED:
        return f"{name} is {_WANTED[kind]}, not {_what(given)}", _quote_hint(kind, given)
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"{name} must be {words} {context[key]:g}, not {given}", ""
    if kind == "literal_error":
        return f"{name} cannot be {_what(given)}", likely(str(given), _choices(context), there="it is one of")
    if kind == "union_tag_invalid":
        there = ", ".join(sorted(part.strip(" '") for part in context["expected_tags"].split(",")))
        return f"no check of kind '{context['tag']}'; there is {there}", ""
    if kind == "union_tag_not_found":
        return "'kind' is missing", "add 'kind: ratio' or 'kind: threshold'"
    if kind in ("too_short", "too_long"):
        return f"{name} is empty" if kind == "too_short" else f"{name} is too long", "add at least one"
    if kind == "string_pattern_mismatch":
        return f"{name} cannot be {_what(given)}", _pattern_hint(context["pattern"])
    if kind == "value_error":
        said = str(context.get("error", details["msg"]))
        if isinstance(given, Mapping | list):
            return f"{name} does not fit together", said
        return f"{name} cannot be {_what(given)}", said
    return f"{name}: {details['msg'][:1].lower()}{details['msg'][1:]}", ""


def _choices(context: Mapping[str, Any]) -> list[str]:
    text = str(context["expected"]).replace(" or ", ", ")
    return [part.strip(" '") for part in text.split(",")]


def _pattern_hint(pattern: str) -> str:
    if pattern.startswith("^[a-z0-9]([-a-z0-9]"):
        return "use lower-case letters, digits and '-', at most 63"
    if pattern.startswith("^https?://"):
        return "it begins with http:// or https://"
    return f"it must match {pattern}"


def _quote_hint(kind: str, given: object) -> str:
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "put it in quotes"
    if kind in ("tuple_type", "list_type") and isinstance(given, str):
        return f"write [{given}]"
    return ""


def _what(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "…")
        case int() | float():
            return str(value)
        case Mapping():
            return "a map"
        case Sequence():
            return "a list"
    return type(value).__name__


def _name(path: Path, base: Path) -> str:
    """How to speak of the value: its key, or its place in the list of that key."""
    whole = (*base, *path)
    if not whole:
        return "the document"
    if isinstance(whole[-1], int):
        parent = next((str(p) for p in reversed(whole) if isinstance(p, str)), "the document")
        return f"item {whole[-1] + 1} of '{parent}'"
    return f"'{whole[-1]}'"


def _in_data(loc: tuple[str | int, ...], data: object) -> Path:
    """pydantic's location without what is not in the data: union tags, and the name of a missing key."""
    path: list[str | int] = []
    for part in loc:
        if (isinstance(data, Mapping) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            path.append(part)
            data = data[part]  # type: ignore[index]
    return tuple(path)


# --- which keys a place has --------------------------------------------------------------------------------------


def _model_at(annotation: Any, loc: tuple[str | int, ...]) -> Any:
    """The model that pydantic checked at a location, so that its keys can be named."""
    annotation = _bare(annotation)
    if not loc:
        return annotation
    part, rest = loc[0], loc[1:]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = _fields(annotation).get(str(part))
        return _model_at(field, rest) if field is not None else annotation
    if get_origin(annotation) in (Union, types.UnionType):
        members = [_bare(member) for member in get_args(annotation)]
        tagged = [m for m in members if part in _tags(m)]
        if tagged:
            return _model_at(tagged[0], rest)
        models = [m for m in members if m is not type(None)]
        return _model_at(models[0], loc) if len(models) == 1 else annotation
    inner = [a for a in get_args(annotation) if a is not Ellipsis]
    return _model_at(inner[-1], rest) if inner else annotation


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    members = [a for a in get_args(annotation) if a is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType) and len(members) == 1:
        return _bare(members[0])
    return annotation


def _tags(model: Any) -> tuple[Any, ...]:
    fields = getattr(model, "model_fields", {})
    kind = fields["kind"].annotation if "kind" in fields else None
    return get_args(kind) if get_origin(kind) is Literal else ()


def _fields(model: Any) -> dict[str, Any]:
    """Keys as users write them, with their types."""
    found = getattr(model, "model_fields", {})
    return {field.alias or name: field.annotation for name, field in found.items()}
