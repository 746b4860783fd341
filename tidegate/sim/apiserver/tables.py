"""Tables, the form `kubectl get` asks for."""

from __future__ import annotations

from typing import Any

from tidegate.sim.apiserver.resources import Resource

Object = dict[str, Any]


def wanted(accept: str) -> bool:
    return False


def of_objects(resource: Resource, objects: list[Object], query: dict[str, str], metadata: Object) -> Object:
    return {}


def watch_row(resource: Resource, line: bytes, query: dict[str, str]) -> bytes:
    return line
