"""The status of a Deployment as counted from its ReplicaSets, with the reasons kubectl and health rules read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.sim.client import Object, seconds, timestamp
from tidegate.sim.controllers.pods import condition, replace_condition, set_condition
from tidegate.sim.controllers.rolling import desired, fenceposts

CREATED = "NewReplicaSetCreated"
FOUND = "FoundNewReplicaSet"
UPDATED = "ReplicaSetUpdated"
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"


def new_condition(kind: str, status: str, reason: str, message: str) -> Object:
    now = timestamp()
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }


def deadline(deployment: Object) -> int | None:
    """Seconds a rollout may stand still; None when unlimited."""
    value = deployment["spec"].get("progressDeadlineSeconds")
    return None if value is None or value == 2**31 - 1 else int(value)


def counted(deployment: Object, replica_sets: Sequence[Object], new: Object | None) -> Object:
    """Counts and the Available condition; other conditions as they were. Zero counts are absent, as upstream."""
    totals = {
        name: sum(int((s.get("status") or {}).get(name) or 0) for s in replica_sets)
        for name in ("replicas", "readyReplicas", "availableReplicas")
    }
    have = totals["availableReplicas"]
    status: dict[str, Any] = {
        **totals,
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "updatedReplicas": int(((new or {}).get("status") or {}).get("replicas") or 0),
        "unavailableReplicas": max(sum(desired(s) for s in replica_sets) - have, 0),
        "collisionCount": (deployment.get("status") or {}).get("collisionCount"),
    }
    status = {k: v for k, v in status.items() if v}
    conditions = list((deployment.get("status") or {}).get("conditions") or [])
    if have >= desired(deployment) - fenceposts(deployment)[1]:
        verdict = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        verdict = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    status["conditions"] = set_condition(conditions, new_condition("Available", *verdict))
    return status


def is_complete(deployment: Object, status: Object) -> bool:
    want = desired(deployment)
    return all(status.get(name, 0) == want for name in ("updatedReplicas", "replicas", "availableReplicas"))


def has_progressed(deployment: Object, status: Object) -> bool:
    """More new, ready or available pods than the last status told of, or fewer old ones."""
    before = deployment.get("status") or {}

    def old(counts: Object) -> int:
        return int(counts.get("replicas", 0)) - int(counts.get("updatedReplicas", 0))

    return old(status) < old(before) or any(
        int(status.get(name, 0)) > int(before.get(name, 0))
        for name in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )


def has_timed_out(deployment: Object, status: Object, now: float) -> bool:
    progressing = condition({"status": status}, "Progressing")
    limit = deadline(deployment)
    if limit is None or progressing is None or progressing.get("reason") == COMPLETE:
        return False
    if progressing.get("reason") == TIMED_OUT:
        return True
    return seconds(progressing.get("lastUpdateTime")) + limit < now


def with_progress(deployment: Object, status: Object, new: Object | None, now: float) -> Object:
    """`status` with its Progressing condition brought up to date (syncRolloutStatus)."""
    conditions = status["conditions"]
    if deadline(deployment) is None:
        kept = [c for c in conditions if c["type"] != "Progressing"]
        return {**status, "conditions": kept}
    current = condition({"status": status}, "Progressing")
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and current is not None and current.get("reason") == COMPLETE:
        return status
    subject = (
        f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    )
    if is_complete(deployment, status):
        progress = new_condition("Progressing", "True", COMPLETE, f"{subject} has successfully progressed.")
        return {**status, "conditions": set_condition(conditions, progress)}
    if has_progressed(deployment, status):
        progress = new_condition("Progressing", "True", UPDATED, f"{subject} is progressing.")
        return {**status, "conditions": replace_condition(conditions, progress)}
    if has_timed_out(deployment, status, now):
        progress = new_condition("Progressing", "False", TIMED_OUT, f"{subject} has timed out progressing.")
        return {**status, "conditions": set_condition(conditions, progress)}
    return status


def with_replica_failure(status: Object, replica_sets: Sequence[Object]) -> Object:
    """Carries a ReplicaSet's ReplicaFailure up to the Deployment, and drops it when none has one."""
    failures = [found for s in replica_sets if (found := condition(s, "ReplicaFailure"))]
    conditions = [c for c in status["conditions"] if c["type"] != "ReplicaFailure"]
    if failures:
        told = failures[0]
        failure = new_condition("ReplicaFailure", "True", told.get("reason", ""), told.get("message", ""))
        conditions = set_condition(status["conditions"], failure)
    return {**status, "conditions": conditions}


def next_check(deployment: Object, status: Object, now: float) -> float | None:
    """Seconds until the progress deadline could pass; None when nothing is under way."""
    limit = deadline(deployment)
    progressing = condition({"status": status}, "Progressing")
    if limit is None or progressing is None or progressing.get("reason") in (COMPLETE, TIMED_OUT):
        return None
    if is_complete(deployment, status) or deployment["spec"].get("paused"):
        return None
    return max(seconds(progressing.get("lastUpdateTime")) + limit + 1 - now, 0.2)
