"""The scale subresource: the same replicas for every kind that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.sim.apiserver import failures
from tidegate.sim.apiserver import patch as patching
from tidegate.sim.apiserver.http import Response, as_json
from tidegate.sim.apiserver.registry import Options
from tidegate.sim.apiserver.resources import Resource
from tidegate.sim.apiserver.routes import Request, Target
from tidegate.sim.apiserver.schema import ANY
from tidegate.sim.apiserver.store import clone

if TYPE_CHECKING:
    from tidegate.sim.apiserver.endpoints import Endpoints

Object = dict[str, Any]


def serve(endpoints: Endpoints, request: Request, resource: Resource, place: Target) -> Response:
    """GET, PUT and PATCH of `…/scale`."""
    registry = endpoints.registry
    with registry.store.lock:
        stored = registry.find(resource, place.namespace, place.name)
        now = as_scale(resource, stored.object)
        if request.method in ("GET", "HEAD"):
            return as_json(now)
        options = endpoints.options(request, "scale")
        wanted = _wanted(request.method, options, now, endpoints.body(request, resource))
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            causes = [failures.field_invalid("spec.replicas", replicas, "must be greater than or equal to 0")]
            raise failures.invalid("autoscaling", "Scale", place.name, causes)
        new = clone(stored.object)
        new["metadata"]["resourceVersion"] = (wanted.get("metadata") or {}).get("resourceVersion") or str(
            stored.rv
        )
        _put(new, _path(resource, "specReplicasPath", ".spec.replicas"), replicas)
        written = registry.update(resource, place.namespace, place.name, new, options)
        return as_json(as_scale(resource, written.stored.object))


def _wanted(method: str, options: Options, now: Object, data: Any) -> Object:
    if method == "PUT":
        found: Object = data
        return found
    if method != "PATCH":
        raise failures.method_not_allowed()
    match options.content_type.partition(";")[0].strip():
        case patching.JSON_PATCH:
            return patching.json_patch(now, data)
        case patching.MERGE_PATCH | patching.STRATEGIC_PATCH | patching.APPLY_PATCH:
            merged: Object = patching.strategic_patch(ANY, now, data)
            return merged
    raise failures.unsupported_media_type(patching.BUILT_IN_PATCHES)


def _path(resource: Resource, name: str, default: str) -> list[str]:
    given = (((resource.custom or {}).get("subresources") or {}).get("scale") or {}).get(name, default)
    return [part for part in given.split(".") if part]


def _get(obj: Object, path: list[str]) -> Any:
    found: Any = obj
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _put(obj: Object, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        obj = obj.setdefault(part, {})
    obj[path[-1]] = value


def as_scale(resource: Resource, obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": _get(obj, _path(resource, "statusReplicasPath", ".status.replicas")) or 0}
    if resource.custom is None:
        status["selector"] = _selector_text((obj.get("spec") or {}).get("selector") or {})
    elif path := _path(resource, "labelSelectorPath", ""):
        status["selector"] = _get(obj, path) or ""
    replicas = _get(obj, _path(resource, "specReplicasPath", ".spec.replicas"))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: metadata[k] for k in kept if k in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _selector_text(selector: Object) -> str:
    """A LabelSelector as clients put it into a query."""
    terms = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        values = ",".join(sorted(term.get("values") or ()))
        texts = {
            "In": f"{term['key']} in ({values})",
            "NotIn": f"{term['key']} notin ({values})",
            "Exists": term["key"],
            "DoesNotExist": f"!{term['key']}",
        }
        terms.append(texts[term["operator"]])
    return ",".join(terms)
