"""Request bodies to objects: JSON or YAML, types checked, unknown fields handled as `fieldValidation` says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tidegate import yaml_reader
from tidegate.errors import SpecError
from tidegate.sim.apiserver import protobuf
from tidegate.sim.apiserver.failures import ApiError, bad_request, unsupported_media_type
from tidegate.sim.apiserver.resources import Resource
from tidegate.sim.apiserver.schema import ANY, Form, Shape
from tidegate.sim.apiserver.typed import fits

Object = dict[str, Any]
LIMIT = 3 * 1024 * 1024
"""Bytes of a request body, as on a real API server."""


@dataclass(slots=True)
class Warnings:
    """What the client is told in `Warning` headers."""

    lines: list[str] = field(default_factory=list)


def parse(body: bytes, content_type: str) -> Any:
    """The body as plain JSON data. YAML is accepted where the content type says so. Raises 400, 413 or 415."""
    if len(body) > LIMIT:
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT}")
    kind = content_type.partition(";")[0].strip()
    if kind == "application/vnd.kubernetes.protobuf":
        return _protobuf(body)
    try:
        return json.loads(body, parse_constant=_not_a_number)
    except (ValueError, RecursionError) as error:
        if not kind.endswith("yaml"):
            text = "the object provided is unrecognized (must be of type Object): couldn't get version/kind; json parse"
            raise bad_request(f"{text} error: {error}") from error
    return _yaml(body)


def _protobuf(body: bytes) -> Object:
    try:
        found = protobuf.decode(body)
    except ValueError as error:
        raise bad_request(f"error parsing protobuf: {error}") from error
    if found is None:
        raise unsupported_media_type(("application/json", "application/yaml"))
    return found


def _yaml(body: bytes) -> Any:
    """One document, read by the rules the real server's Go YAML has; bombs are refused as there."""
    try:
        documents = yaml_reader.read(body, "body")
    except SpecError as error:
        raise bad_request(f"error parsing YAML: {error}") from error
    if len(documents) != 1:
        raise bad_request(f"error parsing YAML: the body has {len(documents)} documents, one is expected")
    return documents[0].data


def _not_a_number(text: str) -> Any:
    raise ValueError(f"invalid character in numeric literal: {text}")


def check_identity(resource: Resource, obj: Any) -> Object:
    """The object, its apiVersion and kind checked against the endpoint and filled in. Raises 400."""
    if not isinstance(obj, dict):
        raise bad_request("the object provided is unrecognized (must be of type Object)")
    version, kind = obj.get("apiVersion") or resource.group_version, obj.get("kind") or resource.kind
    if version != resource.group_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.group_version})"
        )
    if kind != resource.kind:
        raise bad_request(f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})")
    metadata = obj.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad_request("json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta")
    rest = {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")}
    return {"kind": kind, "apiVersion": version, "metadata": metadata or {}, **rest}


def check_types(resource: Resource, shape: Shape, obj: Object) -> None:
    """Refuse what cannot be decoded into the type. Raises 400 with Go's words."""
    path = _mismatch(shape, obj, "")
    if path is not None:
        where, got, wanted = path
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"json: cannot unmarshal {got} into Go struct field {resource.kind}{where} of type {wanted}"
        )


_GO = {"str": "string", "int": "int32", "bool": "bool", "float": "float64", "quantity": "resource.Quantity"}


def _mismatch(shape: Shape, value: Any, path: str) -> tuple[str, str, str] | None:
    if value is None or shape.form is Form.ANY:
        return None
    if shape.form is Form.SCALAR:
        return None if fits(shape.scalar, value) else (path, _json_kind(value), _GO[shape.scalar])
    if shape.form is Form.LIST:
        if not isinstance(value, list):
            return path, _json_kind(value), "[]object"
        children = [(f"{path}", shape.element or ANY, v) for v in value]
    else:
        if not isinstance(value, dict):
            return path, _json_kind(value), "map[string]object" if shape.form is Form.MAP else "object"
        children = [(f"{path}.{k}", shape.field(k) or ANY, v) for k, v in value.items()]
    for where, sub, child in children:
        found = _mismatch(sub, child, where)
        if found is not None:
            return found
    return None


def _json_kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
    return "object"


def drop_unknown(shape: Shape, value: Any, path: str = "") -> list[str]:
    """Remove fields the type does not declare, in place; answers their paths."""
    if isinstance(value, list) and shape.form is Form.LIST:
        found = []
        for index, item in enumerate(value):
            found += drop_unknown(shape.element or ANY, item, f"{path}[{index}]")
        return found
    if not isinstance(value, dict) or shape.form is Form.ANY:
        return []
    found = []
    for name in list(value):
        sub = shape.field(name)
        where = f"{path}.{name}" if path else name
        if sub is None:
            found.append(where)
            del value[name]
        else:
            found += drop_unknown(sub, value[name], where)
    return found


def settle_unknown(unknown: list[str], mode: str, warnings: Warnings) -> None:
    """Strict refuses, Warn tells, Ignore is silent. Raises 400."""
    lines = [f'unknown field "{path}"' for path in unknown]
    if not lines or mode == "Ignore":
        return
    if mode == "Strict":
        raise bad_request("strict decoding error: " + ", ".join(lines))
    warnings.lines += lines
