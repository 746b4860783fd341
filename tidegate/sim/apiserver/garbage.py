"""What follows a deletion: dependents of owners, content of namespaces. One thread, fed by the store's changes."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from tidegate.sim.apiserver import definitions, strategy
from tidegate.sim.apiserver.deletion import FOREGROUND, ORPHAN, DeleteOptions, delete
from tidegate.sim.apiserver.failures import ApiError
from tidegate.sim.apiserver.registry import Registry
from tidegate.sim.apiserver.resources import CRDS, NAMESPACES, Key, Resource
from tidegate.sim.apiserver.store import Change, Name, Stored

log = logging.getLogger(__name__)
Object = dict[str, Any]
_ABSENT_OWNER_PATIENCE: Final = 0.2
"""Seconds before an object whose owners never existed is collected; a real collector takes longer still."""


class GarbageCollector:
    """Deletes what nobody owns any more and empties namespaces that are going away."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        self._subscription, _ = self._store.subscribe(None, None)
        self._thread = threading.Thread(target=self._run, name="garbage-collector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_started(self) -> bool:
        return self._thread.ident is not None

    def join(self) -> None:
        """Wait for the end; the store's `close` asks for it."""
        self._thread.join(timeout=5)

    def _run(self) -> None:
        self._catch_up()
        while (change := self._subscription.queue.get()) is not None:
            try:
                self._react(change)
            except Exception:
                log.exception("garbage collection of %s %s failed", change.key, change.name)

    def _catch_up(self) -> None:
        """After a restart: finish what was under way when the server died."""
        for key in self._store.kinds():
            for name, stored in self._store.select(key):
                if stored.object["metadata"].get("deletionTimestamp"):
                    self._going(key, name, stored)
                else:
                    self._orphaned(key, name, stored)

    def _react(self, change: Change) -> None:
        if change.after is None:
            if change.gone is not None:
                self._owner_gone(change.gone.object["metadata"]["uid"])
                self._owners_wait(change.gone.object)
                self._namespace_waits(change.name[0])
                self._definition_waits(change.key)
            return
        if change.before is None and change.after.object["metadata"].get("ownerReferences"):
            self._orphaned(change.key, change.name, change.after)
        if change.after.object["metadata"].get("deletionTimestamp"):
            self._going(change.key, change.name, change.after)

    def _resource(self, key: Key) -> Resource | None:
        return self._registry.catalog.any_version(key)

    def _delete(self, key: Key, name: Name, uid: str, propagation: str = "Background") -> None:
        resource = self._resource(key)
        if resource is None:
            return
        try:
            delete(self._registry, resource, name, DeleteOptions(propagation=propagation, uid=uid))
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    # owners and dependents

    def _owner_gone(self, uid: str) -> None:
        for key, name in self._store.owned_by(uid):
            stored = self._store.get(key, name)
            if stored is not None:
                self._collect(key, name, stored)

    def _collect(self, key: Key, name: Name, stored: Stored) -> None:
        """Delete the object when none of its owners lives; else drop its references to the dead ones."""
        metadata = stored.object["metadata"]
        owners = metadata.get("ownerReferences") or []
        alive = [o for o in owners if self._store.by_uid(o["uid"]) is not None]
        if not alive:
            self._delete(key, name, metadata["uid"])
        elif len(alive) < len(owners):
            resource = self._resource(key)
            if resource is not None:
                self._registry.change(
                    resource, name, lambda obj: obj["metadata"].update(ownerReferences=alive)
                )

    def _orphaned(self, key: Key, name: Name, stored: Stored) -> None:
        owners = stored.object["metadata"].get("ownerReferences") or []
        if owners and all(self._store.by_uid(o["uid"]) is None for o in owners):
            time.sleep(_ABSENT_OWNER_PATIENCE)
            now = self._store.get(key, name)
            if now is not None:
                self._collect(key, name, now)

    def _going(self, key: Key, name: Name, stored: Stored) -> None:
        finalizers = stored.object["metadata"].get("finalizers") or []
        if key == NAMESPACES:
            self._empty(name[1])
        elif key == CRDS and definitions.CLEANUP in finalizers:
            self._withdraw(name, stored.object)
        elif FOREGROUND in finalizers:
            self._foreground(key, name, stored)
        elif ORPHAN in finalizers:
            self._release(key, name, stored)

    def _foreground(self, key: Key, name: Name, stored: Stored) -> None:
        uid = stored.object["metadata"]["uid"]
        waiting = False
        for dependent_key, dependent in self._store.owned_by(uid):
            child = self._store.get(dependent_key, dependent)
            if child is None:
                continue
            metadata = child.object["metadata"]
            waiting |= any(
                o["uid"] == uid and o.get("blockOwnerDeletion") for o in metadata["ownerReferences"]
            )
            if not metadata.get("deletionTimestamp"):
                self._delete(dependent_key, dependent, metadata["uid"], "Foreground")
        if not waiting or not self._store.owned_by(uid):
            self._drop_finalizer(key, name, FOREGROUND)

    def _owners_wait(self, gone: Object) -> None:
        """An owner that is deleted in the foreground may have waited for this one."""
        for owner in gone["metadata"].get("ownerReferences") or ():
            place = self._store.by_uid(owner["uid"])
            stored = self._store.get(*place) if place is not None else None
            if place is None or stored is None:
                continue
            if FOREGROUND in (stored.object["metadata"].get("finalizers") or ()):
                self._foreground(*place, stored)

    def _release(self, key: Key, name: Name, stored: Stored) -> None:
        uid = stored.object["metadata"]["uid"]

        def let_go(obj: Object) -> None:
            kept = [o for o in obj["metadata"].get("ownerReferences") or () if o["uid"] != uid]
            obj["metadata"]["ownerReferences"] = kept
            if not kept:
                del obj["metadata"]["ownerReferences"]

        for dependent_key, dependent in self._store.owned_by(uid):
            resource = self._resource(dependent_key)
            if resource is not None:
                self._registry.change(resource, dependent, let_go)
        self._drop_finalizer(key, name, ORPHAN)

    def _drop_finalizer(self, key: Key, name: Name, finalizer: str) -> None:
        resource = self._resource(key)

        def edit(obj: Object) -> None:
            kept = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
            obj["metadata"]["finalizers"] = kept
            if not kept:
                del obj["metadata"]["finalizers"]

        if resource is not None:
            self._registry.change(resource, name, edit)

    # definitions

    def _withdraw(self, name: Name, definition: Object) -> None:
        """Delete every object of the kind; the definition goes when none is left."""
        resource = self._resource(CRDS)
        assert resource is not None
        kind = (definition["spec"]["group"], definition["spec"]["names"]["plural"])
        self._registry.change(resource, name, _terminating)
        for place, stored in self._store.select(kind):
            if not stored.object["metadata"].get("deletionTimestamp"):
                self._delete(kind, place, stored.object["metadata"]["uid"])
        if not self._store.select(kind):
            self._drop_finalizer(CRDS, name, definitions.CLEANUP)

    def _definition_waits(self, key: Key) -> None:
        definition = self._store.get(CRDS, ("", f"{key[1]}.{key[0]}"))
        if definition is None or not definition.object["metadata"].get("deletionTimestamp"):
            return
        if not self._store.select(key):
            self._drop_finalizer(CRDS, ("", f"{key[1]}.{key[0]}"), definitions.CLEANUP)

    # namespaces

    def _empty(self, namespace: str) -> None:
        content = self._store.in_namespace(namespace)
        for key, name in content:
            stored = self._store.get(key, name)
            if stored is not None and not stored.object["metadata"].get("deletionTimestamp"):
                self._delete(key, name, stored.object["metadata"]["uid"])
        left = self._store.in_namespace(namespace)
        resource = self._resource(NAMESPACES)
        assert resource is not None
        if not left:
            self._registry.change(resource, ("", namespace), _without_finalizers)
        else:
            self._registry.change(resource, ("", namespace), lambda obj: _remaining(obj, left))

    def _namespace_waits(self, namespace: str) -> None:
        home = self._store.get(NAMESPACES, ("", namespace))
        if home is None or not home.object["metadata"].get("deletionTimestamp"):
            return
        if not self._store.in_namespace(namespace):
            self._empty(namespace)


def _terminating(obj: Object) -> None:
    obj["status"] = definitions.established(obj, strategy.now())["status"]


def _without_finalizers(obj: Object) -> None:
    obj["spec"].pop("finalizers", None)


_REMAINING: Final = "NamespaceContentRemaining"


def _remaining(obj: Object, left: list[tuple[Key, Name]]) -> None:
    """The condition by which users see why a namespace does not go."""
    kinds: dict[str, int] = {}
    for (group, plural), _ in left:
        label = f"{plural}.{group}".rstrip(".")
        kinds[label] = kinds.get(label, 0) + 1
    listed = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
    before = obj["status"].get("conditions") or []
    since = next((c["lastTransitionTime"] for c in before if c["type"] == _REMAINING), strategy.now())
    condition = {
        "type": _REMAINING,
        "status": "True",
        "lastTransitionTime": since,
        "reason": "SomeResourcesRemain",
        "message": f"Some resources are remaining: {listed}",
    }
    obj["status"]["conditions"] = [*(c for c in before if c["type"] != _REMAINING), condition]
