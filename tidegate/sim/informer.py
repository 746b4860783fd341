"""Informers: a local picture of one kind, kept true by LIST and WATCH.

The loop of every Kubernetes client: list, watch from the list's resourceVersion, follow bookmarks, resume after a
close, list again after 410, back off with jitter when nobody answers. `remember` writes the answer of one's own
write into the picture at once, so a controller never acts on a state older than its own last action.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from typing import Any

from tidegate.errors import OutsideError
from tidegate.sim.client import PODS, Client, Gone, Object, Resource, Watch

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(namespace, name); the namespace of cluster-scoped objects is empty."""

Handler = Callable[[str, Object], None]
"""Called with ADDED, MODIFIED or DELETED and the object, on the informer's thread: must not block."""


def key_of(obj: Object) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace") or "", meta["name"]


def version_of(obj: Object) -> int:
    """resourceVersion as a number; comparable within one kind since Kubernetes 1.35 by contract, before in fact."""
    text = str(obj["metadata"].get("resourceVersion") or 0)
    return int(text) if text.isdigit() else 0


def controller_of(obj: Object) -> Object | None:
    """The ownerReference that controls the object, or None."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            found: Object = owner
            return found
    return None


class Informer:
    """The objects of one resource. Objects given out are shared: copy before changing."""

    def __init__(
        self, client: Client, resource: Resource, *, namespace: str | None = None, **query: Any
    ) -> None:
        self.resource = resource
        self._client = client
        self._namespace = namespace
        self._query = query
        self._objects: dict[Key, Object] = {}
        self._by_controller: dict[str, dict[Key, Object]] = {}
        self._lock = threading.RLock()
        self._handlers: list[Handler] = []
        self._synced = threading.Event()
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._thread = threading.Thread(target=self._run, name=f"informer-{resource.plural}", daemon=True)

    def on_change(self, handler: Handler) -> None:
        """To be called before `start`."""
        self._handlers.append(handler)

    def start(self) -> None:
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        watch = self._watch
        if watch is not None:
            watch.close()

    def join(self, timeout: float = 5.0) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout)

    def wait_synced(self, timeout: float) -> bool:
        """Whether the first list has arrived within `timeout` seconds."""
        return self._synced.wait(timeout)

    # -- looking ---------------------------------------------------------------------------------------

    def get(self, namespace: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get((namespace, name))

    def all(self, namespace: str | None = None) -> list[Object]:
        with self._lock:
            return [o for k, o in self._objects.items() if namespace is None or k[0] == namespace]

    def controlled_by(self, uid: str) -> list[Object]:
        """The objects whose controlling owner has this uid."""
        with self._lock:
            return list(self._by_controller.get(uid, {}).values())

    # -- read your own writes ----------------------------------------------------------------------------

    def remember(self, obj: Object) -> Object:
        """Takes over what a write returned, unless the picture is newer already; returns `obj`."""
        if obj.get("kind") != self.resource.kind or "metadata" not in obj:
            return obj
        with self._lock:
            known = self._objects.get(key_of(obj))
            if known is None or version_of(known) < version_of(obj):
                self._put(obj)
        return obj

    def forget(self, obj: Object) -> None:
        """Takes over that the object is gone (deleted at once)."""
        with self._lock:
            known = self._objects.get(key_of(obj))
            if known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid"):
                self._drop(key_of(obj))

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        self._drop(key)
        self._objects[key] = obj
        owner = controller_of(obj)
        if owner is not None:
            self._by_controller.setdefault(owner["uid"], {})[key] = obj

    def _drop(self, key: Key) -> Object | None:
        old = self._objects.pop(key, None)
        owner = controller_of(old) if old is not None else None
        if owner is not None:
            siblings = self._by_controller.get(owner["uid"], {})
            siblings.pop(key, None)
            if not siblings:
                self._by_controller.pop(owner["uid"], None)
        return old

    # -- the loop ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        delay = 0.05
        version: str | None = None
        while not self._stopping.is_set():
            try:
                if version is None:
                    version = self._relist()
                    self._synced.set()
                version = self._follow(version)
                delay = 0.05
            except Gone:
                version = None
            except OutsideError as error:
                if self._stopping.is_set():
                    return
                log.debug("%s: %s; again in %.1f s", self.resource.plural, error, delay)
                self._stopping.wait(delay * random.uniform(0.7, 1.3))  # noqa: S311 jitter
                delay = min(delay * 2, 10.0)
            except Exception:
                log.exception("informer of %s: handler failed", self.resource.plural)
                version = None
                self._stopping.wait(1.0)

    def _relist(self) -> str:
        items, version = self._client.list(self.resource, self._namespace, **self._query)
        for change, obj in self._replace(items, int(version) if version.isdigit() else 0):
            self._tell(change, obj)
        return version

    def _replace(self, items: Iterable[Object], version: int) -> list[tuple[str, Object]]:
        """The list is the truth, except for what we wrote after it was taken."""
        changes = []
        with self._lock:
            listed = {key_of(item): item for item in items}
            for key, known in list(self._objects.items()):
                if key not in listed and version_of(known) <= version:
                    self._drop(key)
                    changes.append(("DELETED", known))
            for key, item in listed.items():
                old = self._objects.get(key)
                if old is None or version_of(old) <= version_of(item):
                    self._put(item)
                    changes.append(("ADDED" if old is None else "MODIFIED", item))
        return changes

    def _follow(self, version: str) -> str:
        """Watches until the server closes; the resourceVersion to resume from."""
        query = {
            **self._query,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": random.randint(240, 300),  # noqa: S311 spread, not secret
        }
        self._watch = watch = self._client.open_watch(self.resource, self._namespace, query)
        if self._stopping.is_set():
            watch.close()
        try:
            for event in watch:
                version = self._take(event, version)
        except OutsideError as error:
            if isinstance(error, Gone):
                raise
            log.debug("%s: watch ended: %s", self.resource.plural, error)
            self._stopping.wait(random.uniform(0.02, 0.1))  # noqa: S311 jitter
        finally:
            self._watch = None
        return version

    def _take(self, event: Object, version: str) -> str:
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            raise Gone(f"watch of {self.resource.plural}: {obj.get('message', obj)}")
        seen = str(obj["metadata"].get("resourceVersion") or version)
        if kind != "BOOKMARK" and self._store(kind, obj):
            self._tell(kind, obj)
        return seen

    def _store(self, kind: str, obj: Object) -> bool:
        """Whether the event says something new."""
        with self._lock:
            known = self._objects.get(key_of(obj))
            if kind == "DELETED":
                if known is None or known["metadata"].get("uid") == obj["metadata"].get("uid"):
                    self._drop(key_of(obj))
                return True
            if known is not None and version_of(known) > version_of(obj):
                return False
            self._put(obj)
            return True

    def _tell(self, change: str, obj: Object) -> None:
        for handler in self._handlers:
            handler(change, obj)


class Informers:
    """One informer per resource, shared by everybody in the process."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[Resource, Informer] = {}

    def __getitem__(self, resource: Resource) -> Informer:
        if resource not in self._informers:
            self._informers[resource] = Informer(self._client, resource)
        return self._informers[resource]

    @property
    def pods(self) -> Informer:
        return self[PODS]

    def start(self, timeout: float = 20.0) -> None:
        """Starts those not yet running and waits for their first list."""
        for informer in list(self._informers.values()):
            informer.start()
        for informer in list(self._informers.values()):
            informer.wait_synced(timeout)

    def stop(self) -> None:
        for informer in self._informers.values():
            informer.stop()
        for informer in self._informers.values():
            informer.join()
