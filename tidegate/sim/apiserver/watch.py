"""Watches: the past since a resource version, then everything as it happens, until the time is up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty
from typing import Final

from tidegate.sim.apiserver.registry import Registry
from tidegate.sim.apiserver.resources import Resource
from tidegate.sim.apiserver.selectors import Predicate
from tidegate.sim.apiserver.store import Change, Expired, Stored, dump

BOOKMARK_SECONDS: Final = 60.0
IDLE_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What a watch asks for. `since` None: start with what is there now."""

    resource: Resource
    namespace: str
    name: str
    matches: Predicate
    since: int | None
    timeout_seconds: float
    bookmarks: bool
    initial_list: bool = False
    """sendInitialEvents: end the initial ADDED events with an annotated bookmark."""


def event(kind: str, body: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


def _bookmark(resource: Resource, rv: int, *, end_of_list: bool = False) -> bytes:
    metadata: dict[str, object] = {"resourceVersion": str(rv), "creationTimestamp": None}
    if end_of_list:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return event(
        "BOOKMARK", dump({"kind": resource.kind, "apiVersion": resource.group_version, "metadata": metadata})
    )


def expired_event(message: str) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return event("ERROR", dump({**status, "message": message, "reason": "Expired", "code": 410}))


def stream(registry: Registry, request: WatchRequest) -> Iterator[bytes]:
    """Watch lines. An empty chunk means "nothing yet": the caller may look whether the client is still there."""
    store = registry.store
    with store.lock:
        initial = _initial(registry, request) if request.since is None else []
        start = begin = store.rv if request.since is None else request.since
        try:
            subscription, past = store.subscribe(request.resource.key, start)
        except Expired as error:
            yield expired_event(str(error))
            return
    try:
        yield from initial
        if request.since is None and request.initial_list:
            yield _bookmark(request.resource, start, end_of_list=True)
        for change in past:
            start = change.rv
            if line := _line(registry, request, change):
                yield line
        deadline = time.monotonic() + request.timeout_seconds
        next_bookmark = time.monotonic() + min(BOOKMARK_SECONDS, max(request.timeout_seconds - 2, 1))
        while (left := deadline - time.monotonic()) > 0:
            try:
                found = subscription.queue.get(timeout=min(left, IDLE_LOOK_SECONDS))
            except Empty:
                if request.bookmarks and time.monotonic() >= next_bookmark:
                    next_bookmark = time.monotonic() + BOOKMARK_SECONDS
                    with store.lock:
                        if subscription.queue.empty():
                            start = store.rv
                    yield _bookmark(request.resource, start) if start > begin else b""
                else:
                    yield b""
                continue
            if found is None:
                return
            start = found.rv
            if line := _line(registry, request, found):
                yield line
    finally:
        store.unsubscribe(subscription)


def _initial(registry: Registry, request: WatchRequest) -> list[bytes]:
    found = registry.store.select(request.resource.key, request.namespace)
    return [
        event("ADDED", registry.shown(request.resource, stored).body)
        for _, stored in found
        if _selected(request, stored)
    ]


def _selected(request: WatchRequest, stored: Stored | None) -> bool:
    if stored is None:
        return False
    metadata = stored.object["metadata"]
    if request.namespace and metadata.get("namespace") != request.namespace:
        return False
    if request.name and metadata["name"] != request.name:
        return False
    return request.matches(stored.object)


def _line(registry: Registry, request: WatchRequest, change: Change) -> bytes | None:
    """The event this watcher sees: an object that stops matching is DELETED for it, one that starts is ADDED."""
    before, after = _selected(request, change.before), _selected(request, change.after)
    if not before and not after:
        return None
    if after and change.after is not None:
        return event("MODIFIED" if before else "ADDED", registry.shown(request.resource, change.after).body)
    gone = change.gone
    if gone is None and change.before is not None:
        old = change.before.object
        gone = Stored({**old, "metadata": {**old["metadata"], "resourceVersion": str(change.rv)}}, change.rv)
    assert gone is not None
    return event("DELETED", registry.shown(request.resource, gone).body)
