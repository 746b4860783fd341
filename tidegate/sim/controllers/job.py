"""Jobs: pods that run to completion, retried with back-off until they succeed or the limit is reached."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

from tidegate.errors import NotFound
from tidegate.sim.client import JOBS, PODS, Client, Object, seconds, timestamp
from tidegate.sim.controllers.pods import (
    PodControl,
    adopt,
    condition,
    is_active,
    is_deleting,
    is_ready,
    phase,
    pod_from,
)
from tidegate.sim.events import NORMAL, WARNING, Recorder
from tidegate.sim.informer import Informers, Key

FIRST_BACKOFF_SECONDS = 10.0
LAST_BACKOFF_SECONDS = 600.0


class JobController:
    """Keeps the pods and the status of every Job."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client = client
        self._jobs = informers[JOBS]
        self._pods = informers[PODS]
        self._recorder = recorder
        self._control = PodControl(client, self._pods, recorder, JOBS)

    def reconcile(self, key: Key) -> float | None:
        found = self._jobs.get(*key)
        if found is None or is_deleting(found):
            return None
        job = copy.deepcopy(found)
        ended = condition(job, "Complete") or condition(job, "Failed")
        if ended is not None:
            return self._expire(job, ended)
        owned = adopt(self._client, self._pods, job, JOBS, job["spec"].get("selector"))
        active = [p for p in owned if is_active(p)]
        verdict = judge(job, owned, time.time())
        if verdict is not None:
            return self._end(job, active, owned, verdict)
        wait = self._run(job, active, owned)
        return self._write_status(job, wait)

    def _run(self, job: Object, active: Sequence[Object], owned: Sequence[Object]) -> float | None:
        """Brings the number of running pods to what is wanted; seconds to wait when a retry is not due yet."""
        if job["spec"].get("suspend"):
            for pod in active:
                self._control.delete(job, pod)
            return None
        wanted = wanted_active(job, succeeded(owned))
        for pod in active[wanted:]:
            self._control.delete(job, pod)
        missing = wanted - len(active)
        if missing <= 0:
            return _until_deadline(job, time.time())
        wait = retry_wait(owned, time.time())
        if wait > 0:
            return wait
        for _ in range(missing):
            self._control.create(job, self._pod(job))
        return _until_deadline(job, time.time())

    def _pod(self, job: Object) -> Object:
        meta = job["metadata"]
        labels = {
            "job-name": meta["name"],
            "controller-uid": meta["uid"],
            "batch.kubernetes.io/job-name": meta["name"],
            "batch.kubernetes.io/controller-uid": meta["uid"],
        }
        return pod_from(job, JOBS, job["spec"]["template"], labels=labels)

    def _end(
        self, job: Object, active: Sequence[Object], owned: Sequence[Object], verdict: Object
    ) -> float | None:
        for pod in active:
            self._control.delete(job, pod)
        status = _counts(job, [p for p in owned if not is_active(p)])
        status.pop("active", None)
        if verdict["type"] == "Complete":
            status["completionTime"] = verdict["lastTransitionTime"]
            self._recorder.event(job, NORMAL, "Completed", "Job completed")
        else:
            self._recorder.event(job, WARNING, verdict["reason"], verdict["message"])
        first = "SuccessCriteriaMet" if verdict["type"] == "Complete" else "FailureTarget"
        status["conditions"] = [*(status.get("conditions") or []), {**verdict, "type": first}, verdict]
        self._jobs.remember(self._client.update(JOBS, {**job, "status": status}, "status"))
        return 0.01

    def _write_status(self, job: Object, again: float | None) -> float | None:
        owned = self._pods.controlled_by(job["metadata"]["uid"])
        status = _counts(job, owned)
        suspended = bool(job["spec"].get("suspend"))
        known = condition(job, "Suspended")
        if suspended != bool(known and known["status"] == "True") and (suspended or known):
            status["conditions"] = [_suspended(suspended)]
        if status != (job.get("status") or {}):
            self._jobs.remember(self._client.update(JOBS, {**job, "status": status}, "status"))
        return again

    def _expire(self, job: Object, ended: Object) -> float | None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        left = seconds(ended["lastTransitionTime"]) + int(ttl) - time.time()
        if left > 0:
            return left
        meta = job["metadata"]
        try:
            self._client.delete(
                JOBS, meta["namespace"], meta["name"], uid=meta["uid"], propagation="Background"
            )
        except NotFound:
            return None
        return None


def succeeded(pods: Sequence[Object]) -> int:
    return sum(phase(p) == "Succeeded" for p in pods)


def wanted_active(job: Object, done: int) -> int:
    """How many pods should run now: parallelism, but never more than completions are missing."""
    parallelism = job["spec"].get("parallelism")
    parallelism = 1 if parallelism is None else int(parallelism)
    completions = job["spec"].get("completions")
    if completions is None:
        return 0 if done else parallelism
    return max(min(parallelism, int(completions) - done), 0)


def retry_wait(pods: Sequence[Object], now: float) -> float:
    """Seconds until the next try: 10 s after the first failure, doubled with each more, at most 10 min."""
    failures = [_finished(p) for p in pods if phase(p) == "Failed"]
    if not failures:
        return 0.0
    delay = min(FIRST_BACKOFF_SECONDS * 2 ** (len(failures) - 1), LAST_BACKOFF_SECONDS)
    return float(max(max(failures) + delay - now, 0.0))


def _finished(pod: Object) -> float:
    ends = [
        seconds(((s.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for s in (pod.get("status") or {}).get("containerStatuses") or []
    ]
    return max(ends, default=0.0)


def judge(job: Object, pods: Sequence[Object], now: float) -> Object | None:
    """The Complete or Failed condition the Job has earned, or None while it goes on."""
    spec = job["spec"]
    limit = spec.get("backoffLimit")
    restarts = sum(
        s.get("restartCount", 0)
        for p in pods
        if is_active(p)
        for s in (p.get("status") or {}).get("containerStatuses") or []
    )
    failures = sum(phase(p) == "Failed" for p in pods) + restarts
    if failures > (6 if limit is None else int(limit)):
        return _ended("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = _until_deadline(job, now)
    if left is not None and left <= 0:
        return _ended("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    done = succeeded(pods)
    running = any(is_active(p) for p in pods)
    completions = spec.get("completions")
    complete = done > 0 and not running if completions is None else done >= int(completions)
    if complete and not spec.get("suspend"):
        return _ended("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _until_deadline(job: Object, now: float) -> float | None:
    deadline = job["spec"].get("activeDeadlineSeconds")
    started = (job.get("status") or {}).get("startTime")
    if deadline is None or not started or job["spec"].get("suspend"):
        return None
    return seconds(started) + int(deadline) - now


def _ended(kind: str, reason: str, message: str) -> Object:
    now = timestamp()
    stamps = {"lastProbeTime": now, "lastTransitionTime": now}
    return {"type": kind, "status": "True", "reason": reason, "message": message, **stamps}


def _suspended(yes: bool) -> Object:
    told = ("True", "JobSuspended", "Job suspended") if yes else ("False", "JobResumed", "Job resumed")
    now = timestamp()
    stamps = {"lastProbeTime": now, "lastTransitionTime": now}
    return {"type": "Suspended", "status": told[0], "reason": told[1], "message": told[2], **stamps}


def _counts(job: Object, pods: Sequence[Object]) -> Object:
    before = job.get("status") or {}
    active = [p for p in pods if is_active(p)]
    counts = {
        "active": len(active),
        "succeeded": max(succeeded(pods), int(before.get("succeeded") or 0)),
        "failed": max(sum(phase(p) == "Failed" for p in pods), int(before.get("failed") or 0)),
        "conditions": before.get("conditions"),
        "startTime": before.get("startTime") or (None if job["spec"].get("suspend") else timestamp()),
    }
    status = {k: v for k, v in counts.items() if v}
    return {
        **status,
        "ready": sum(is_ready(p) for p in active),
        "terminating": sum(is_deleting(p) for p in pods),
    }
