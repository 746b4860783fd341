"""Deployment, StatefulSet, DaemonSet, ReplicaSet: Argo CD's rules (gitops-engine `health_*.go`)."""

from __future__ import annotations

import json

from tidegate.domain.health.status import (
    Health,
    Manifest,
    condition,
    degraded,
    healthy,
    name_of,
    progressing,
    spec_of,
    status_of,
    suspended,
    unobserved,
)

_OBSERVED = "Waiting for rollout to finish: observed {} generation less than desired generation"


def deployment(obj: Manifest) -> Health:
    """Paused, unobserved, past its deadline, updating, draining, becoming available, or done."""
    spec, status = spec_of(obj), status_of(obj)
    if spec.get("paused"):
        return suspended("Deployment is paused")
    if unobserved(obj):
        return progressing(_OBSERVED.format("deployment"))
    if (condition(obj, "Progressing") or {}).get("reason") == "ProgressDeadlineExceeded":
        return degraded(f"Deployment {json.dumps(name_of(obj))} exceeded its progress deadline")
    wanted, updated = spec.get("replicas"), status.get("updatedReplicas") or 0
    replicas, available = status.get("replicas") or 0, status.get("availableReplicas") or 0
    if wanted is not None and updated < wanted:
        return _rollout(f"{updated} out of {wanted} new replicas have been updated")
    if replicas > updated:
        return _rollout(f"{replicas - updated} old replicas are pending termination")
    if available < updated:
        return _rollout(f"{available} of {updated} updated replicas are available")
    return healthy()


def _rollout(what: str) -> Health:
    return progressing(f"Waiting for rollout to finish: {what}...")


def stateful_set(obj: Manifest) -> Health:
    """Ready pods first; then what the update strategy promises."""
    spec, status = spec_of(obj), status_of(obj)
    if not status.get("observedGeneration") or unobserved(obj):
        return progressing("Waiting for statefulset spec update to be observed...")
    wanted, ready = spec.get("replicas"), status.get("readyReplicas") or 0
    if wanted is not None and ready < wanted:
        return progressing(f"Waiting for {wanted - ready} pods to be ready...")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        return _partitioned(
            wanted, strategy["rollingUpdate"].get("partition"), status.get("updatedReplicas") or 0
        )
    if strategy.get("type") == "OnDelete":
        return healthy(f"statefulset has {ready} ready pods")
    current, update = status.get("currentRevision") or "", status.get("updateRevision") or ""
    if update != current:
        pods = status.get("updatedReplicas") or 0
        return progressing(
            f"waiting for statefulset rolling update to complete {pods} pods at revision {update}..."
        )
    pods = status.get("currentReplicas") or 0
    return healthy(f"statefulset rolling update complete {pods} pods at revision {current}...")


def _partitioned(wanted: int | None, partition: int | None, updated: int) -> Health:
    if wanted is not None and partition is not None and updated < wanted - partition:
        return progressing(
            f"Waiting for partitioned roll out to finish: {updated} out of {wanted - partition} "
            "new pods have been updated..."
        )
    return healthy(f"partitioned roll out complete: {updated} new pods have been updated...")


def daemon_set(obj: Manifest) -> Health:
    """Scheduled on every node, updated, available."""
    status = status_of(obj)
    if unobserved(obj):
        return progressing(_OBSERVED.format("daemon set"))
    wanted, updated = status.get("desiredNumberScheduled") or 0, status.get("updatedNumberScheduled") or 0
    available = status.get("numberAvailable") or 0
    if (spec_of(obj).get("updateStrategy") or {}).get("type") == "OnDelete":
        return healthy(f"daemon set {updated} out of {wanted} new pods have been updated")
    waiting = f"Waiting for daemon set {json.dumps(name_of(obj))} rollout to finish:"
    if updated < wanted:
        return progressing(f"{waiting} {updated} out of {wanted} new pods have been updated...")
    if available < wanted:
        return progressing(f"{waiting} {available} of {wanted} updated pods are available...")
    return healthy()


def replica_set(obj: Manifest) -> Health:
    """Refused by quota or admission, or still creating."""
    if unobserved(obj):
        return progressing(_OBSERVED.format("replica set"))
    failure = condition(obj, "ReplicaFailure")
    if failure and failure.get("status") == "True":
        return degraded(failure.get("message") or "")
    wanted, available = spec_of(obj).get("replicas"), status_of(obj).get("availableReplicas") or 0
    if wanted is not None and available < wanted:
        return _rollout(f"{available} out of {wanted} new replicas are available")
    return healthy()
