"""Whole objects as values: their parts, their order, whether two are the same."""

from __future__ import annotations

from typing import Any

from tidegate.sim.apiserver.ownership import Owners, read
from tidegate.sim.apiserver.resources import NAMESPACES, Resource

Object = dict[str, Any]


def namespace_is_busy(resource: Resource, obj: Object) -> bool:
    """A namespace also waits for `spec.finalizers`."""
    return resource.key == NAMESPACES and bool((obj.get("spec") or {}).get("finalizers"))


def body_of(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")}


_FIRST = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")


def ordered(obj: Object) -> Object:
    """Keys in the order the real server writes them: identity first, then spec, status last."""
    metadata = obj["metadata"]
    first = {k: metadata[k] for k in _FIRST if k in metadata}
    meta = {**first, **{k: v for k, v in metadata.items() if k not in first}}
    rest = {k: v for k, v in body_of(obj).items() if k != "status"}
    status = {"status": obj["status"]} if "status" in obj else {}
    return {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": meta, **rest, **status}


def same(old: Object, new: Object, owners: Owners) -> bool:
    """True when a write would change nothing but timestamps in managedFields."""
    if body_of(old) != body_of(new):
        return False
    apart = ("managedFields", "resourceVersion")
    before = {k: v for k, v in old["metadata"].items() if k not in apart}
    if before != {k: v for k, v in new["metadata"].items() if k not in apart}:
        return False
    mine = read(old["metadata"])
    return {o: (c.fields, c.api_version) for o, c in mine.items()} == {
        o: (c.fields, c.api_version) for o, c in owners.items()
    }
