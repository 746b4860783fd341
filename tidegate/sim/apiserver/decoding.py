"""Request bodies to objects: JSON or YAML, types checked, unknown fields handled as `fieldValidation` says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tidegate import yaml_reader
from tidegate.errors import SpecError
from tidegate.sim.apiserver import go_json, protobuf
from tidegate.sim.apiserver.failures import ApiError, bad_request, unsupported_media_type
from tidegate.sim.apiserver.quantity import amount
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


def parse(
    body: bytes, content_type: str, kind_of_object: str = "Object", noted: Duplicates | None = None
) -> Any:
    """The body as plain JSON data. YAML is accepted where the content type says so. Raises 400, 413 or 415.

    kind_of_object: what a body should be, for the words of the refusal. noted: gets the keys that came twice.
    """
    if len(body) > LIMIT:
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT}")
    kind = content_type.partition(";")[0].strip()
    if kind == "application/vnd.kubernetes.protobuf":
        return _protobuf(body)
    try:
        pairs = None if noted is None else noted.pairs
        return json.loads(body, parse_constant=_not_a_number, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        if not kind.endswith("yaml"):
            raise unrecognized(kind_of_object, go_json.words(error), body) from error
    return _yaml(body)


def unrecognized(kind: str, why: str, body: bytes) -> ApiError:
    """A body in which nobody finds apiVersion and kind."""
    shown = body.decode(errors="replace") or "<empty>"
    text = (
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse"
    )
    return bad_request(f"{text} error: {why} ({shown})")


@dataclass(slots=True)
class Duplicates:
    """Keys that an object of the body names twice; the last one counts, as in Go."""

    found: list[tuple[Object, list[str]]] = field(default_factory=list)

    def pairs(self, items: list[tuple[str, Any]]) -> Object:
        made = dict(items)
        if len(made) < len(items):
            names = [name for name, _ in items]
            self.found.append((made, [n for n in made if names.count(n) > 1]))
        return made

    def paths(self, whole: Any) -> list[str]:
        """Their paths in the whole body, as Kubernetes writes them."""
        return list(_paths(whole, "", self.found)) if self.found else []


def _paths(value: Any, path: str, found: list[tuple[Object, list[str]]]) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, f"{path}[{index}]", found)
    elif isinstance(value, dict):
        for made, names in found:
            if made is value:
                yield from (f"{path}.{name}" if path else name for name in names)
        for name, item in value.items():
            yield from _paths(item, f"{path}.{name}" if path else name, found)


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
    if isinstance(obj, list):
        why = f"json: cannot unmarshal array into Go value of type {_TYPE_META}"
        raise unrecognized(resource.kind, why, json.dumps(obj).encode().hex().encode())
    if not isinstance(obj, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
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


_TYPE_META = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)


class Unfit(Exception):
    """A body that is no object of its kind, in Go's words."""


def check_types(resource: Resource, shape: Shape, obj: Object) -> None:
    """Refuse what cannot be decoded into the type. Raises `Unfit`."""
    _check_bytes(resource, obj)
    _check_times(resource, obj)
    found = _mismatch(shape, obj, shape.name or resource.kind, "")
    if found is not None:
        raise Unfit(f"json: cannot unmarshal {found[1]} into Go struct field {found[0]} of type {found[2]}")


_BYTES = {"Secret": "data", "ConfigMap": "binaryData"}
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\r\n]")
_QUANTITY = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"


def _check_bytes(resource: Resource, obj: Object) -> None:
    """Values that are bytes to Go come as base64."""
    values = obj.get(_BYTES.get(resource.kind, "")) if resource.custom is None else None
    for text in values.values() if isinstance(values, dict) else ():
        if not isinstance(text, str):
            continue
        wrong = _NOT_BASE64.search(text)
        if wrong is not None or len(re.sub(r"[\r\n]", "", text)) % 4:
            raise Unfit(f"illegal base64 data at input byte {wrong.start() if wrong else len(text) // 4 * 4}")


_MICRO_TIMES = {"Lease": ("spec", ("acquireTime", "renewTime"))}
_DATE, _MICRO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"), re.compile(r"^\.\d{6}")


def _check_times(resource: Resource, obj: Object) -> None:
    """Times with microseconds, to the letter (metav1.MicroTime)."""
    part, names = _MICRO_TIMES.get(resource.kind, ("", ()))
    values = obj.get(part) if resource.custom is None else None
    for name in names if isinstance(values, dict) else ():
        text = values.get(name) if values else None
        if not isinstance(text, str):
            continue
        date = _DATE.match(text)
        rest = text[date.end() :] if date else text
        if date is None or not _MICRO.match(rest):
            wanted = ".000000" if date else "2006"
            layout = "2006-01-02T15:04:05.000000Z07:00"
            raise Unfit(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{wanted}"')


def not_handled(resource: Resource, why: str) -> ApiError:
    """The 400 of a body that cannot be decoded into its type."""
    return bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}'
    )


_GO = {"str": "string", "int": "int32", "bool": "bool", "float": "float64", "quantity": "resource.Quantity"}


def _mismatch(shape: Shape, value: Any, struct: str, path: str) -> tuple[str, str, str] | None:
    """(innermost struct with the path of fields to it, what came, what fits); keys of maps are no fields to Go."""
    if value is None or shape.form is Form.ANY:
        return None
    if shape.form is Form.SCALAR:
        if shape.quantity and fits(shape.scalar, value) and amount(value) is None:
            raise Unfit(f"quantities must match the regular expression '{_QUANTITY}'")
        return (
            None if fits(shape.scalar, value) else (f"{struct}{path}", _json_kind(value), _GO[shape.scalar])
        )
    if shape.form is Form.LIST:
        if not isinstance(value, list):
            return f"{struct}{path}", _json_kind(value), _go_type(shape)
        children = [(path, shape.element or ANY, v) for v in value]
    elif not isinstance(value, dict):
        return f"{struct}{path}", _json_kind(value), _go_type(shape)
    elif shape.form is Form.MAP:
        children = [(path, shape.element or ANY, v) for v in value.values()]
    else:
        struct = shape.name or struct
        children = [(f"{path}.{k}", shape.field(k) or ANY, v) for k, v in value.items()]
    for where, sub, child in children:
        found = _mismatch(sub, child, struct, where)
        if found is not None:
            return found
    return None


def _go_type(shape: Shape) -> str:
    match shape.form:
        case Form.SCALAR:
            return _GO[shape.scalar]
        case Form.LIST:
            return f"[]{_go_type(shape.element or ANY)}"
        case Form.MAP:
            return f"map[string]{_go_type(shape.element or ANY)}"
        case Form.STRUCT:
            return f"v1.{shape.name}"
    return "interface {}"


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


def settle_unknown(
    resource: Resource, unknown: list[str], duplicate: list[str], mode: str, warnings: Warnings
) -> None:
    """Strict refuses, Warn tells, Ignore is silent. Raises 400."""
    lines = [f'duplicate field "{path}"' for path in duplicate] + [
        f'unknown field "{path}"' for path in unknown
    ]
    if not lines or mode == "Ignore":
        return
    if mode == "Strict":
        raise not_handled(resource, "strict decoding error: " + ", ".join(lines))
    warnings.lines += lines
