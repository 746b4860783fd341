"""What clients ask first: versions, groups, resources, health, and an OpenAPI document kubectl is content with."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final

from tidegate.sim.apiserver.resources import Catalog, Resource
from tidegate.sim.apiserver.store import dump

Object = dict[str, Any]
VERSION: Final = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.4+tidegate.sim",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2025-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_PRIORITY: Final = ("", "apps", "batch")


def core_versions(address: str) -> Object:
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def group_list(catalog: Catalog) -> Object:
    groups = [_group(name, list(versions)) for name, versions in catalog.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group(catalog: Catalog, name: str) -> Object | None:
    versions = catalog.groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(versions))} if versions else None


def resource_list(catalog: Catalog, group_name: str, version: str) -> Object | None:
    """`/api/v1` and `/apis/<group>/<version>`; None when there is no such version."""
    found = catalog.groups().get(group_name, {}).get(version)
    if not found:
        return None
    rows: list[Object] = []
    for resource in found:
        rows.append(_row(resource))
        rows += [_subrow(resource, name) for name in _in_order(resource)]
    group_version = f"{group_name}/{version}" if group_name else version
    head = {"kind": "APIResourceList", "groupVersion": group_version, "resources": rows}
    return head if not group_name else {"apiVersion": "v1", **head}


def _row(resource: Resource) -> Object:
    row: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(_CUSTOM_VERBS if resource.custom is not None else resource.verbs),
    }
    if resource.short:
        row["shortNames"] = list(resource.short)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if "list" in resource.verbs:
        row["storageVersionHash"] = _storage_version(resource)
    return row


_CUSTOM_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


def _storage_version(resource: Resource) -> str:
    """Changes when objects are stored in another version (apiserver `discovery.StorageVersionHash`)."""
    version = resource.storage or resource.version
    digest = hashlib.sha256(f"{resource.group}/{version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _in_order(resource: Resource) -> list[str]:
    """Those of custom kinds in the order of Kubernetes' code, the others by name."""
    return sorted(resource.subresources, key=lambda name: (resource.custom is None or name != "status", name))


_SUB_VERBS: Final = {
    "proxy": ["create", "delete", "get", "patch", "update"],
    "log": ["get"],
    "eviction": ["create"],
}


def _subkind(resource: Resource, name: str) -> Object:
    if name == "scale":
        return {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    if name == "eviction":
        return {"group": "policy", "version": "v1", "kind": "Eviction"}
    kinds = {"proxy": f"{resource.kind}ProxyOptions"}
    return {"kind": kinds.get(name, resource.kind)}


def _subrow(resource: Resource, name: str) -> Object:
    return {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        **_subkind(resource, name),
        "verbs": _SUB_VERBS.get(name, ["get", "patch", "update"]),
    }


def aggregated(catalog: Catalog, *, core: bool) -> Object:
    """`/api` or `/apis` as one document (apidiscovery.k8s.io/v2)."""
    items = []
    for name, versions in sorted(catalog.groups().items(), key=lambda g: (g[0] not in _PRIORITY, g[0])):
        if bool(name) == core:
            continue
        listed = [
            {"version": v, "resources": [_aggregated_row(r) for r in rows], "freshness": "Current"}
            for v, rows in versions.items()
        ]
        metadata = {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None}
        items.append({"metadata": metadata, "versions": listed})

    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_row(resource: Resource) -> Object:
    row: Object = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short:
        row["shortNames"] = list(resource.short)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if resource.subresources:
        row["subresources"] = [_aggregated_sub(resource, name) for name in resource.subresources]
    return row


def _aggregated_sub(resource: Resource, name: str) -> Object:
    kind = {"group": resource.group, "version": resource.version, **_subkind(resource, name)}
    return {
        "subresource": name,
        "responseKind": kind,
        "verbs": _SUB_VERBS.get(name, ["get", "patch", "update"]),
    }


# OpenAPI v3: enough for kubectl to see that the server validates fields and which kinds have which endpoints


_GNOSTIC: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def open_api_v2(accept: str) -> tuple[bytes, str]:
    """(body, content type) of a document that knows no kind: what kubectl asks for about kinds that v3 has not."""
    if "protobuf" in accept:
        return b"\n\x032.0", _GNOSTIC  # the field `swagger` of openapi.v2.Document
    info = {"title": "Kubernetes (Tidegate's embedded cluster)", "version": VERSION["gitVersion"]}
    return dump({"swagger": "2.0", "info": info, "paths": {}}), "application/json"


def open_api_index(catalog: Catalog) -> Object:
    paths = {}
    for name, versions in catalog.groups().items():
        for version in versions:
            where = f"apis/{name}/{version}" if name else f"api/{version}"
            mark = hashlib.sha256(json.dumps(open_api(catalog, name, version)).encode()).hexdigest()[:16]
            paths[where] = {"serverRelativeURL": f"/openapi/v3/{where}?hash={mark}"}
    return {"paths": paths}


def open_api(catalog: Catalog, group_name: str, version: str) -> Object | None:
    found = catalog.groups().get(group_name, {}).get(version)
    if not found:
        return None
    paths, schemas = {}, {}
    for resource in found:
        root = f"/apis/{group_name}/{version}" if group_name else f"/api/{version}"
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        paths[f"{root}{scope}/{resource.plural}"] = {"post": _operation(resource, "post")}
        paths[f"{root}{scope}/{resource.plural}/{{name}}"] = {
            "get": _operation(resource, "get"),
            "put": _operation(resource, "put"),
            "patch": _operation(resource, "patch"),
        }
        schemas[_schema_name(resource)] = _schema(resource)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes (Tidegate's embedded cluster)", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _schema_name(resource: Resource) -> str:
    return ".".join(
        [*reversed((resource.group or "core.api.k8s.io").split(".")), resource.version, resource.kind]
    )


def _kind_mark(resource: Resource) -> Object:
    return {"group": resource.group, "kind": resource.kind, "version": resource.version}


def _schema(resource: Resource) -> Object:
    custom = ((resource.custom or {}).get("schema") or {}).get("openAPIV3Schema")
    body = custom or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {**body, "x-kubernetes-group-version-kind": [_kind_mark(resource)]}


_VERB_PARAMETERS: Final = ("dryRun", "fieldManager", "fieldValidation")


def _operation(resource: Resource, action: str) -> Object:
    names = () if action == "get" else (*_VERB_PARAMETERS, "force") if action == "patch" else _VERB_PARAMETERS
    reference = {"$ref": f"#/components/schemas/{_schema_name(resource)}"}
    return {
        "parameters": [{"name": n, "in": "query", "schema": {"type": "string"}} for n in names],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _kind_mark(resource),
    }
