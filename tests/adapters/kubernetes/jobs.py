"""A controller for Jobs that do nothing: each is done at once, or fails when its annotation `test/fails` says so.

What runs Jobs elsewhere starts pods; here only their end matters. It works on any API server.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

from tidegate.adapters.targets.kubernetes.objects import MERGE, Objects
from tidegate.adapters.targets.kubernetes.rest import Request
from tidegate.domain.manifests import Manifest, Ref, ref
from tidegate.errors import OutsideError


class Jobs:
    """As a context manager: finishes Jobs of the namespace until the end; `swept` ones are deleted as they end."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def __enter__(self) -> Jobs:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(0.02):
            try:
                for job in self._objects.list("batch/v1", "Job"):
                    self._look(job)
            except OutsideError:
                continue

    def _look(self, job: Manifest) -> None:
        notes = job["metadata"].get("annotations") or {}
        if (job.get("status") or {}).get("conditions") or "test/slow" in notes:
            return
        self._end(ref(job), failed="test/fails" in notes)
        if "test/swept" in notes:  # as a Job's ttlSecondsAfterFinished of 0 does
            self._objects.delete(ref(job), uid=job["metadata"]["uid"])

    def _end(self, name: Ref, *, failed: bool) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        types = ("FailureTarget", "Failed") if failed else ("SuccessCriteriaMet", "Complete")
        words = {"reason": "BackoffLimitExceeded", "message": "it did not work"} if failed else {}
        conditions = [{"type": t, "status": "True", "lastTransitionTime": now, **words} for t in types]
        ended: dict[str, Any] = {"failed": 1} if failed else {"succeeded": 1, "completionTime": now}
        status = {"startTime": now, "conditions": conditions, **ended}
        path = f"{self._objects.path(name)}/status"
        self._objects.rest.send(Request("PATCH", path, str(name), {}, {"status": status}, MERGE))
