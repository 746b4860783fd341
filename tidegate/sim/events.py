"""Events as `kubectl describe` and `kubectl get events` show them: what a component did, and why something waits.

Best effort and off the caller's thread: a lost event never disturbs the work it tells about. Repeats of one message
raise `count` on the same object instead of adding new ones.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import queue
import threading
from collections import OrderedDict
from typing import Any

from tidegate.errors import OutsideError
from tidegate.sim.client import EVENTS, Client, Object, timestamp

log = logging.getLogger(__name__)

NORMAL = "Normal"
WARNING = "Warning"
_REMEMBERED = 2000
_WAITING = 1000


class Recorder:
    """Writes v1 Events in the background; `component` is their source."""

    def __init__(self, client: Client, component: str) -> None:
        self._client = client
        self._component = component
        self._queue: queue.Queue[tuple[Object, str, str, str, str, str] | None] = queue.Queue(_WAITING)
        self._counts: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name=f"events-{component}", daemon=True)
        self._thread.start()

    def event(self, obj: Object, kind: str, reason: str, message: str, field_path: str = "") -> None:
        """`kind` is Normal or Warning; `obj` the object it is about."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((obj, kind, reason, message, field_path, self._component))

    def named(self, component: str) -> Recorder:
        """The same recorder for another source; only the first is stopped."""
        found = copy.copy(self)
        found._component = component
        return found

    def stop(self) -> None:
        """Writes what is waiting (at most 2 s) and ends."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(2.0)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._write(*item)
            except OutsideError as error:
                log.debug("event lost: %s", error)

    def _write(
        self, obj: Object, kind: str, reason: str, message: str, field_path: str, component: str
    ) -> None:
        meta = obj["metadata"]
        namespace = meta.get("namespace") or "default"
        told = "\n".join((meta.get("uid", ""), kind, reason, message, field_path))
        fingerprint = hashlib.sha256(told.encode()).hexdigest()[:16]
        known = self._counts.get(fingerprint)
        if known is not None and self._again(namespace, fingerprint, *known):
            return
        body = {
            **self._body(obj, namespace, kind, reason, message, field_path),
            "source": {"component": component},
            "reportingComponent": component,
        }
        name = self._client.create(EVENTS, body)["metadata"]["name"]
        self._note(fingerprint, name, 1)

    def _again(self, namespace: str, fingerprint: str, name: str, count: int) -> bool:
        try:
            self._client.patch(EVENTS, namespace, name, {"count": count + 1, "lastTimestamp": timestamp()})
        except OutsideError:
            return False
        self._note(fingerprint, name, count + 1)
        return True

    def _note(self, fingerprint: str, name: str, count: int) -> None:
        self._counts[fingerprint] = (name, count)
        self._counts.move_to_end(fingerprint)
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)

    def _body(
        self, obj: Object, namespace: str, kind: str, reason: str, message: str, field_path: str
    ) -> dict[str, Any]:
        meta = obj["metadata"]
        now = timestamp()
        involved = {
            "apiVersion": obj.get("apiVersion", "v1"),
            "kind": obj["kind"],
            "name": meta["name"],
            "namespace": meta.get("namespace"),
            "uid": meta.get("uid"),
            "resourceVersion": meta.get("resourceVersion"),
            "fieldPath": field_path,
        }
        return {
            "metadata": {"generateName": f"{meta['name']}.", "namespace": namespace},
            "involvedObject": {k: v for k, v in involved.items() if v},
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
