"""Label and field selectors: text to predicate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.sim.apiserver.failures import ApiError, bad_request

Predicate = Callable[[Mapping[str, Any]], bool]
_SET = re.compile(r"^(?P<key>[^\s!=]+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=<>]+)\s*(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s()]*)$")
_NO_VALUE = re.compile(r"^[^\s!=<>]+\s*(==|=|!=)\s*(?P<found>[()])")
_EXISTS = re.compile(r"^(?P<no>!?)\s*(?P<key>[A-Za-z0-9][\w./-]*)$")


def split(text: str) -> list[str]:
    """Comma-separated terms, commas in brackets left alone."""
    return [term.strip() for term in re.split(r",(?![^(]*\))", text) if term.strip()]


def labels(text: str) -> Predicate | None:
    """A predicate on objects, or None when everything matches. Raises 400 on text that cannot be read."""
    tests = [_label_test(term) for term in split(text)]
    if not tests:
        return None
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def _label_test(term: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _SET.match(term):
        key, values = match["key"], {v.strip() for v in match["values"].split(",")}
        if match["op"] == "in":
            return lambda found: found.get(key) in values
        return lambda found: found.get(key) not in values
    if match := _EQUAL.match(term):
        key, value = match["key"], match["value"]
        match match["op"]:
            case "!=":
                return lambda found: found.get(key) != value
            case ">":
                return lambda found: _number(found.get(key), value, larger=True)
            case "<":
                return lambda found: _number(found.get(key), value, larger=False)
        return lambda found: found.get(key) == value
    if match := _NO_VALUE.match(term):
        raise bad_request(f"unable to parse requirement: found '{match['found']}', expected: identifier")
    if match := _EXISTS.match(term):
        key = match["key"]
        return (lambda found: key not in found) if match["no"] else (lambda found: key in found)
    words = term.split(None, 1)
    expected = "in, notin, =, ==, !=, gt, lt" if len(words) > 1 else "identifier"
    raise bad_request(f"unable to parse requirement: found '{words[-1]}', expected: {expected}")


def _number(found: str | None, limit: str, *, larger: bool) -> bool:
    try:
        number, edge = int(found or ""), int(limit)
    except ValueError:
        return False
    return number > edge if larger else number < edge


_EVERY_KIND = ("metadata.name", "metadata.namespace")
_EXTRA: dict[str, tuple[str, ...]] = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "Node": ("spec.unschedulable",),
    "Namespace": ("status.phase",),
    "Secret": ("type",),
    "Service": ("spec.clusterIP", "spec.type"),
    "ReplicaSet": ("status.replicas",),
    "Job": ("status.successful",),
}


def fields(text: str, kind: str) -> Predicate | None:
    """A predicate on objects, or None. A field this kind cannot be selected by is 400, in the real server's words."""
    tests = [_field_test(term, kind) for term in split(text)]
    if not tests:
        return None
    return lambda obj: all(test(obj) for test in tests)


def _field_test(term: str, kind: str) -> Predicate:
    match = re.match(r"^([\w.]+)\s*(==|=|!=)\s*(.*)$", term)
    if match is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    path, operator, value = match.groups()
    if path not in _EVERY_KIND and path not in _EXTRA.get(kind, ()):
        raise ApiError(400, "BadRequest", f"field label not supported: {path}")
    same = operator != "!="
    return lambda obj: (value_at(obj, path) == value) is same


def value_at(obj: Mapping[str, Any], path: str) -> str:
    found: Any = obj
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if path == "source" and isinstance(found, Mapping):
        found = found.get("component")
    if isinstance(found, bool):
        return str(found).lower()
    if found is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(found)


def of_request(label_text: str, field_text: str, kind: str) -> Predicate:
    """Both selectors of a request as one predicate."""
    tests = [t for t in (labels(label_text), fields(field_text, kind)) if t is not None]
    return lambda obj: all(test(obj) for test in tests)
