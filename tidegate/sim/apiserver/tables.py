"""Tables, the form `kubectl get` asks for: columns per kind, cells as the real server prints them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tidegate.sim.apiserver import cells, cells_other
from tidegate.sim.apiserver.cells import Object, age
from tidegate.sim.apiserver.resources import Resource
from tidegate.sim.apiserver.store import dump

Cells = Callable[[Object], list[Any]]

# kind → "Column, *Column only with -o wide", cells
_COLUMNS: Final[dict[str, tuple[str, Cells]]] = {
    "Pod": ("Name,Ready,Status,Restarts,Age,*IP,*Node,*Nominated Node,*Readiness Gates", cells.pod),
    "Deployment": ("Name,Ready,Up-to-date,Available,Age,*Containers,*Images,*Selector", cells.deployment),
    "ReplicaSet": ("Name,Desired,Current,Ready,Age,*Containers,*Images,*Selector", cells.replica_set),
    "StatefulSet": ("Name,Ready,Age,*Containers,*Images", cells.stateful_set),
    "DaemonSet": (
        "Name,Desired,Current,Ready,Up-to-date,Available,Node Selector,Age,*Containers,*Images,*Selector",
        cells.daemon_set,
    ),
    "Job": ("Name,Status,Completions,Duration,Age,*Containers,*Images,*Selector", cells.job),
    "CronJob": (
        "Name,Schedule,Timezone,Suspend,Active,Last Schedule,Age,*Containers,*Images,*Selector",
        cells.cron_job,
    ),
    "Service": ("Name,Type,Cluster-IP,External-IP,Port(s),Age,*Selector", cells.service),
    "Node": (
        "Name,Status,Roles,Age,Version,*Internal-IP,*External-IP,*OS-Image,*Kernel-Version,*Container-Runtime",
        cells.node,
    ),
    "Namespace": ("Name,Status,Age", cells_other.namespace),
    "ConfigMap": ("Name,Data,Age", cells_other.config_map),
    "Secret": ("Name,Type,Data,Age", cells_other.secret),
    "ServiceAccount": ("Name,Age", cells_other.service_account),
    "Event": (
        "Last Seen,Type,Reason,Object,*Subobject,*Source,Message,*First Seen,*Count,*Name",
        cells_other.event,
    ),
    "CustomResourceDefinition": ("Name,Created At", cells.created),
    "Role": ("Name,Created At", cells.created),
    "ClusterRole": ("Name,Created At", cells.created),
    "RoleBinding": ("Name,Role,Age,*Users,*Groups,*ServiceAccounts", cells_other.binding),
    "ClusterRoleBinding": ("Name,Role,Age,*Users,*Groups,*ServiceAccounts", cells_other.binding),
    "PersistentVolumeClaim": (
        "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,*VolumeMode",
        cells_other.claim,
    ),
    "Ingress": ("Name,Class,Hosts,Address,Ports,Age", cells_other.ingress),
    "HorizontalPodAutoscaler": (
        "Name,Reference,Targets,MinPods,MaxPods,Replicas,Age",
        cells_other.autoscaler,
    ),
    "PodDisruptionBudget": (
        "Name,Min Available,Max Unavailable,Allowed Disruptions,Age",
        cells_other.disruption_budget,
    ),
    "Endpoints": ("Name,Endpoints,Age", cells_other.endpoints),
    "EndpointSlice": ("Name,AddressType,Ports,Endpoints,Age", cells_other.endpoint_slice),
    "Lease": ("Name,Holder,Age", cells_other.lease),
    "NetworkPolicy": ("Name,Pod-Selector,Age", cells_other.network_policy),
    "StorageClass": (
        "Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age",
        cells_other.storage_class,
    ),
    "PriorityClass": ("Name,Value,Global-Default,Age,PreemptionPolicy", cells_other.priority_class),
    "IngressClass": ("Name,Controller,Parameters,Age", cells_other.ingress_class),
    "ControllerRevision": ("Name,Controller,Revision,Age", cells_other.controller_revision),
    "MutatingWebhookConfiguration": ("Name,Webhooks,Age", cells_other.webhooks),
    "ValidatingWebhookConfiguration": ("Name,Webhooks,Age", cells_other.webhooks),
}
_NUMBERS: Final = frozenset(
    (
        "Desired",
        "Current",
        "Available",
        "Up-to-date",
        "Data",
        "Count",
        "Webhooks",
        "Revision",
        "Value",
    )
)


def wanted(accept: str) -> bool:
    """True when the client prefers a table."""
    first = accept.partition(",")[0].replace(" ", "").split(";")
    return {"as=Table", "v=v1", "g=meta.k8s.io"} <= set(first)


def of_objects(resource: Resource, objects: list[Object], query: dict[str, str], metadata: Object) -> Object:
    """A `Table` of these objects; `metadata` is that of the list or of the one object."""
    columns, row = _layout(resource)
    include = query.get("includeObject", "Metadata")
    kept = ("resourceVersion", "continue", "remainingItemCount")
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {k: metadata[k] for k in kept if k in metadata},
        "columnDefinitions": columns,
        "rows": [{"cells": row(obj), **_row_object(obj, include)} for obj in objects],
    }


def watch_row(resource: Resource, line: bytes, query: dict[str, str]) -> bytes:
    """A watch line with its object as a table of one row; errors and bookmarks stay what they are."""
    if not line:
        return line
    found = json.loads(line)
    if found["type"] in ("ERROR", "BOOKMARK"):
        return line
    found["object"] = of_objects(resource, [found["object"]], query, found["object"]["metadata"])
    return dump(found) + b"\n"


def _row_object(obj: Object, include: str) -> Object:
    match include:
        case "None":
            return {"object": None}
        case "Object":
            return {"object": obj}
    head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {"object": {**head, "metadata": obj["metadata"]}}


def _layout(resource: Resource) -> tuple[list[Object], Cells]:
    if resource.custom is not None:
        return _custom_layout(resource.custom.get("additionalPrinterColumns") or [])
    names, row = _COLUMNS.get(resource.kind, ("Name,Age", cells.plain))
    return [_column(name) for name in names.split(",")], row


def _column(text: str, kind: str = "", form: str = "") -> Object:
    name = text.lstrip("*")
    return {
        "name": name,
        "type": kind or ("integer" if name in _NUMBERS else "string"),
        "format": form or ("name" if name == "Name" else ""),
        "description": "",
        "priority": 1 if text.startswith("*") else 0,
    }


def _custom_layout(columns: list[Object]) -> tuple[list[Object], Cells]:
    shown = columns or [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    definitions = [_column("Name")]
    for column in shown:
        mark = "*" if column.get("priority") else ""
        definitions.append(_column(mark + column["name"], column["type"], column.get("format", "")))

    def row(obj: Object) -> list[Any]:
        return [obj["metadata"]["name"], *(_custom_cell(obj, column) for column in shown)]

    return definitions, row


def _custom_cell(obj: Object, column: Object) -> Any:
    value = json_path(obj, column["jsonPath"])
    if value is None:
        return None
    if column["type"] == "date":
        return age(str(value)) if _is_time(str(value)) else str(value)
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, separators=(",", ":"))


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return False
    return True


_STEP: Final = re.compile(
    r"\.?([\w-]+)|\['([^']+)'\]|\[(\d+)\]|\[\?\(@\.(\w+)\s*==\s*['\"]([^'\"]*)['\"]\)\]"
)


def json_path(obj: Any, path: str) -> Any:
    """The part of JSONPath printer columns use: names, indexes, `[?(@.type=="Ready")]`."""
    found = obj
    for name, quoted, index, key, value in _STEP.findall(path.strip().strip("{}").replace("\\.", "\0")):
        if key:
            items = found if isinstance(found, list) else []
            found = next((i for i in items if isinstance(i, dict) and str(i.get(key)) == value), None)
        elif index:
            found = found[int(index)] if isinstance(found, list) and int(index) < len(found) else None
        else:
            found = found.get(name or quoted) if isinstance(found, dict) else None
        if found is None:
            return None
    return found
