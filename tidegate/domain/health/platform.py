"""Storage, network, autoscaling and API machinery: Argo CD's rules (`health_*.go`, `health.lua`)."""

from __future__ import annotations

import json
from typing import Any

from tidegate.domain.health.status import (
    Health,
    Manifest,
    annotation,
    condition,
    conditions_of,
    degraded,
    healthy,
    progressing,
    spec_of,
    status_of,
    unknown,
)

_HPA_DEGRADED = {
    ("AbleToScale", "FailedGetScale"),
    ("AbleToScale", "FailedUpdateScale"),
    ("ScalingActive", "FailedGetResourceMetric"),
    ("ScalingActive", "FailedGetObjectMetric"),
    ("ScalingActive", "FailedGetPodsMetric"),
    ("ScalingActive", "FailedGetExternalMetric"),
    ("ScalingActive", "FailedComputeMetricsReplicas"),
    ("ScalingActive", "InvalidSelector"),
}


def persistent_volume_claim(obj: Manifest) -> Health:
    """Bound, or not."""
    rules = {"Lost": degraded, "Pending": progressing, "Bound": healthy}
    return rules.get(status_of(obj).get("phase") or "", unknown)()


def service(obj: Manifest) -> Health:
    """Only a load balancer has anything to wait for."""
    return ingress(obj) if spec_of(obj).get("type") == "LoadBalancer" else healthy()


def ingress(obj: Manifest) -> Health:
    """Healthy once the load balancer has an address."""
    return healthy() if (status_of(obj).get("loadBalancer") or {}).get("ingress") else progressing()


def namespace(obj: Manifest) -> Health:
    """There, or on its way out."""
    if status_of(obj).get("phase") == "Terminating":
        return progressing("Pending deletion")
    return healthy()


def autoscaler(obj: Manifest) -> Health:
    """Any failure to read a metric degrades; v1 keeps its conditions as JSON in an annotation."""
    try:
        found = _autoscaler_conditions(obj)
    except ValueError as error:
        return unknown(f"failed to convert conditions annotation to typed: {error}")
    for c in found:
        if (c.get("type"), c.get("reason")) in _HPA_DEGRADED:
            return degraded(c.get("message") or "")
    for c in found:
        if c.get("type") in ("AbleToScale", "ScalingLimited") and c.get("status") == "True":
            return healthy(c.get("message") or "")
    return progressing("Waiting to Autoscale")


def _autoscaler_conditions(obj: Manifest) -> list[dict[str, Any]]:
    if obj.get("apiVersion") == "autoscaling/v2":
        return conditions_of(obj)
    text = annotation(obj, "autoscaling.alpha.kubernetes.io/conditions")
    if text is None:
        return []
    found = json.loads(text) or []
    if not isinstance(found, list) or not all(isinstance(c, dict) for c in found):
        raise ValueError("not a list of conditions")
    return found


def api_service(obj: Manifest) -> Health:
    """Available, or waiting for its server."""
    available = condition(obj, "Available")
    if available is None:
        return progressing("Waiting to be processed")
    message = f"{available.get('reason', '')}: {available.get('message', '')}"
    return healthy(message) if available.get("status") == "True" else progressing(message)


def custom_resource_definition(obj: Manifest) -> Health:
    """Names accepted, schema structural, established."""
    established = False
    if not conditions_of(obj):
        return progressing("Status conditions not found")
    for c in conditions_of(obj):
        kind, is_true, message = c.get("type"), c.get("status") == "True", c.get("message") or ""
        if kind == "Terminating" and is_true:
            return progressing(f"CRD is terminating: {message}")
        if kind == "NamesAccepted" and c.get("status") == "False":
            return degraded(f"CRD names have not been accepted: {message}")
        if kind == "NonStructuralSchema" and is_true:
            return degraded(f"Schema violations found: {message}")
        if kind == "Established" and is_true:
            established = True
        elif kind == "Established" and c.get("reason") == "Installing":
            return progressing("CRD is being installed")
    return healthy("CRD is healthy") if established else degraded("CRD is not established")


def disruption_budget(obj: Manifest) -> Health:
    """Too few pods is allowed to happen (argo-cd#20171); every other False is not."""
    result = progressing("Waiting for status")
    for c in conditions_of(obj):
        message = f"PodDisruptionBudget has {c.get('reason', '')}"
        if c.get("status") == "False" and c.get("reason") != "InsufficientPods":
            return degraded(message)
        result = healthy(message)
    return result


def workflow(obj: Manifest) -> Health:
    """Argo Workflows, by phase."""
    status = status_of(obj)
    message = status.get("message") or ""
    match status.get("phase") or "":
        case "" | "Pending" | "Running":
            return progressing(message)
        case "Succeeded":
            return healthy(message)
        case "Failed" | "Error":
            return degraded(message)
    return unknown(message)
