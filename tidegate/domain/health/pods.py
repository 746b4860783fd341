"""Pod, Job, CronJob: Argo CD's rules (`health_pod.go`, `health_job.go`, `batch/CronJob/health.lua`)."""

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
    option,
    progressing,
    spec_of,
    status_of,
    suspended,
    unknown,
)


def pod(obj: Manifest) -> Health:
    """A long-lived pod is healthy when ready; one with an end is healthy when it succeeded."""
    status = status_of(obj)
    message = status.get("message") or ""
    long_lived = _is_long_lived(obj)
    stuck = [
        c["state"]["waiting"].get("message") or ""
        for c in status.get("containerStatuses") or []
        if _is_error((c.get("state") or {}).get("waiting"))
    ]
    if long_lived and stuck:
        return degraded(", ".join(stuck))
    match status.get("phase"):
        case "Pending":
            return progressing(message)
        case "Succeeded":
            return healthy(message)
        case "Failed":
            return degraded(message or _failure(status))
        case "Running" if long_lived:
            return _running(obj, message)
        case "Running" if spec_of(obj).get("restartPolicy") in ("OnFailure", "Never"):
            return progressing(message)
    return unknown(message)


def _is_long_lived(obj: Manifest) -> bool:
    if spec_of(obj).get("restartPolicy") == "Always":
        return True
    is_ignored = option(obj, "ignore-restart-policy") == "true"
    return is_ignored and not (option(obj, "hook") or annotation(obj, "helm.sh/hook"))


def _is_error(waiting: dict[str, Any] | None) -> bool:
    reason = (waiting or {}).get("reason") or ""
    return reason.startswith("Err") or reason.endswith(("Error", "BackOff"))


def _running(obj: Manifest, message: str) -> Health:
    if (condition(obj, "Ready") or {}).get("status") == "True":
        return healthy(message)
    containers = status_of(obj).get("containerStatuses") or []
    if any((c.get("lastState") or {}).get("terminated") for c in containers):
        return degraded(message)
    return progressing(message)


def _failure(status: dict[str, Any]) -> str:
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("message"):
            return str(ended["message"])
        if ended.get("reason") == "OOMKilled":
            return "OOMKilled"
        if ended.get("exitCode"):
            return f"container {json.dumps(container.get('name'))} failed with exit code {ended['exitCode']}"
    return ""


def job(obj: Manifest) -> Health:
    """Failed, suspended or complete; upstream looks at the presence of the first two conditions only."""
    by_kind = {c.get("type"): c for c in conditions_of(obj)}
    if "Failed" in by_kind:
        return degraded(by_kind["Failed"].get("message") or "")
    ended = [c for c in conditions_of(obj) if c.get("type") in ("Complete", "Suspended")]
    if not ended:
        return progressing()
    message = ended[-1].get("message") or ""
    stopped = any(c.get("type") == "Suspended" and c.get("status") == "True" for c in ended)
    return suspended(message) if stopped else healthy(message)


def cron_job(obj: Manifest) -> Health:
    """Degraded only when the last finished run is known to have failed (argo-cd#24428, #24429)."""
    if spec_of(obj).get("suspend") is True:
        return healthy("CronJob is Suspended")
    if obj.get("status") is None:
        return progressing("Waiting for CronJob")
    status = status_of(obj)
    scheduled, succeeded = status.get("lastScheduleTime"), status.get("lastSuccessfulTime")
    if scheduled is None:
        return healthy("CronJob has not been scheduled yet")
    if succeeded is None:
        return healthy("The CronJob never completed successfully. It may not be healthy")
    if status.get("active"):
        return healthy("The job is running. Its last execution may not have been successful")
    if succeeded < scheduled:
        return degraded("CronJob has not completed its last execution successfully")
    return healthy("CronJob has completed its last execution successfully")
