"""All objects, one counter, and the recent past.

Objects in the store are never changed in place: a write puts a new tree there, so readers and watchers need no copies.
With a folder, every write is also appended to a journal, and a server that was killed finds everything again.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Final

from tidegate.sim.apiserver.resources import Key

Name = tuple[str, str]
"""(namespace, name); the namespace of cluster-scoped objects is empty."""
WINDOW: Final = 4096
"""Changes a watch can be resumed over; older resource versions are expired."""
COMPACT_AFTER: Final = 20_000
"""Lines of the journal before it is rewritten, beyond one line per object."""


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def clone(value: Any) -> Any:
    """A deep copy of plain JSON; several times faster than `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: clone(child) for key, child in value.items()}
    if isinstance(value, list):
        return [clone(child) for child in value]
    return value


class Stored:
    """One object as it is now, and its JSON, made once when first asked for."""

    __slots__ = ("_body", "object", "rv")

    def __init__(self, obj: dict[str, Any], rv: int) -> None:
        self.object = obj
        self.rv = rv
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        if self._body is None:
            self._body = dump(self.object)
        return self._body


@dataclass(frozen=True, slots=True)
class Change:
    """One write: what was there before and what is there now (None: nothing)."""

    rv: int
    key: Key
    name: Name
    before: Stored | None
    after: Stored | None
    gone: Stored | None = None
    """For a deletion: the last state, carrying the deletion's resource version."""


class Subscription:
    """The changes of one resource (or of all) from a resource version on."""

    def __init__(self, key: Key | None) -> None:
        self.key = key
        self.queue: SimpleQueue[Change | None] = SimpleQueue()


class Expired(Exception):
    """The resource version is older than the window."""


class Store:
    """Thread-safe; hold `lock` over read-decide-write."""

    def __init__(self, folder: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.rv = 0
        self.oldest = 0
        """Watches may start at this resource version or later."""
        self._objects: dict[Key, dict[Name, Stored]] = {}
        self._window: deque[Change] = deque()
        self._subscriptions: set[Subscription] = set()
        self._owned: dict[str, set[tuple[Key, Name]]] = {}
        self._uids: dict[str, tuple[Key, Name]] = {}
        self._journal = Journal(folder) if folder is not None else None
        if self._journal is not None:
            self._load(self._journal)

    def _load(self, journal: Journal) -> None:
        for rv, key, name, obj in journal.read():
            if name is None:
                self.rv = self.oldest = rv
                continue
            self._put(rv, key, name, Stored(obj, rv) if obj is not None else None)
        if self.rv == 0:
            # numbers start away from zero, as with etcd: "0" has a meaning of its own
            self.rv = self.oldest = 1

    def close(self) -> None:
        with self.lock:
            for subscription in self._subscriptions:
                subscription.queue.put(None)
            if self._journal is not None:
                self._journal.close()

    def get(self, key: Key, name: Name) -> Stored | None:
        return self._objects.get(key, {}).get(name)

    def by_uid(self, uid: str) -> tuple[Key, Name] | None:
        return self._uids.get(uid)

    def select(self, key: Key, namespace: str | None = None) -> list[tuple[Name, Stored]]:
        """Objects in name order; `namespace` None or empty means all."""
        with self.lock:
            found = list(self._objects.get(key, {}).items())
        if namespace:
            found = [item for item in found if item[0][0] == namespace]
        return sorted(found, key=lambda item: item[0])

    def select_at(self, key: Key, namespace: str, rv: int) -> list[tuple[Name, Stored]]:
        """The same as it was at an earlier resource version. Raises Expired."""
        with self.lock:
            if rv < self.oldest:
                raise Expired(f"too old resource version: {rv} ({self.oldest})")
            found = dict(self._objects.get(key, {}))
            for change in reversed(self._window):
                if change.rv <= rv:
                    break
                if change.key != key:
                    continue
                if change.before is None:
                    found.pop(change.name, None)
                else:
                    found[change.name] = change.before
        chosen = (item for item in found.items() if not namespace or item[0][0] == namespace)
        return sorted(chosen, key=lambda item: item[0])

    def kinds(self) -> list[Key]:
        with self.lock:
            return list(self._objects)

    def in_namespace(self, namespace: str) -> list[tuple[Key, Name]]:
        with self.lock:
            return [(key, n) for key, objects in self._objects.items() for n in objects if n[0] == namespace]

    def owned_by(self, uid: str) -> list[tuple[Key, Name]]:
        with self.lock:
            return list(self._owned.get(uid, ()))

    def put(self, key: Key, name: Name, obj: dict[str, Any]) -> Stored:
        """Write the object (its `metadata.resourceVersion` is set here) and tell everybody."""
        with self.lock:
            rv = self.rv + 1
            obj["metadata"]["resourceVersion"] = str(rv)
            stored = Stored(obj, rv)
            self._write(rv, key, name, stored)
            return stored

    def delete(self, key: Key, name: Name) -> Stored:
        """Take the object away; answers its last state with the deletion's resource version."""
        with self.lock:
            self._write(self.rv + 1, key, name, None)
            gone = self._window[-1].gone
            assert gone is not None
            return gone

    def _write(self, rv: int, key: Key, name: Name, after: Stored | None) -> None:
        """Journal first: when the disk is full, nothing has happened."""
        if self._journal is not None:
            self._journal.append(rv, key, name, after)
        self._put(rv, key, name, after)
        if self._journal is not None:
            self._journal.compact_if_worth_it(self)

    def _put(self, rv: int, key: Key, name: Name, after: Stored | None) -> None:
        objects = self._objects.setdefault(key, {})
        before = objects.get(name)
        gone = None
        if after is not None:
            objects[name] = after
        elif before is not None:
            del objects[name]
            last = {**before.object, "metadata": {**before.object["metadata"], "resourceVersion": str(rv)}}
            gone = Stored(last, rv)
        self._index(key, name, before, after)
        self.rv = rv
        change = Change(rv, key, name, before, after, gone)
        self._window.append(change)
        if len(self._window) > WINDOW:
            self.oldest = self._window.popleft().rv
        for subscription in self._subscriptions:
            if subscription.key is None or subscription.key == key:
                subscription.queue.put(change)

    def _index(self, key: Key, name: Name, before: Stored | None, after: Stored | None) -> None:
        for stored, add in ((before, False), (after, True)):
            if stored is None:
                continue
            metadata = stored.object["metadata"]
            uid = metadata.get("uid", "")
            if add:
                self._uids[uid] = (key, name)
            elif after is None:
                self._uids.pop(uid, None)
            for owner in metadata.get("ownerReferences") or ():
                places = self._owned.setdefault(owner.get("uid", ""), set())
                places.add((key, name)) if add else places.discard((key, name))
                if not places:
                    del self._owned[owner.get("uid", "")]

    def subscribe(self, key: Key | None, since: int | None) -> tuple[Subscription, list[Change]]:
        """Changes after `since` (None: from now on) and the subscription that carries on. Raises Expired."""
        with self.lock:
            if since is not None and since < self.oldest:
                raise Expired(f"too old resource version: {since} ({self.oldest})")
            subscription = Subscription(key)
            past = [c for c in self._since(since) if key is None or c.key == key]
            self._subscriptions.add(subscription)
            return subscription, past

    def _since(self, since: int | None) -> Iterator[Change]:
        if since is None or not self._window or self._window[-1].rv <= since:
            return iter(())
        return (change for change in self._window if change.rv > since)

    def unsubscribe(self, subscription: Subscription) -> None:
        with self.lock:
            self._subscriptions.discard(subscription)

    def forget_history(self) -> None:
        """Expire every resource version so far: what a compaction does on a real cluster."""
        with self.lock:
            self._window.clear()
            self.oldest = self.rv

    def snapshot(self) -> Iterator[tuple[int, Key, Name, Stored]]:
        for key, objects in self._objects.items():
            for name, stored in objects.items():
                yield stored.rv, key, name, stored


class Journal:
    """Append-only JSON lines in `journal.jsonl`: `[rv, group, plural, namespace, name, object or null]`.

    A line `[rv]`, left by compaction, says from where on the history is complete. A torn last line (the process was
    killed while it wrote) is dropped: that write was never answered.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "journal.jsonl"
        self._lines = 0
        self._kept = 0
        self._file: IO[bytes] | None = None

    def read(self) -> Iterator[tuple[int, Key, Name | None, dict[str, Any] | None]]:
        whole = 0
        if self._path.exists():
            with self._path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    whole += len(line)
                    self._lines += 1
                    yield self._parse(line)
            os.truncate(self._path, whole)
        self._file = self._path.open("ab")

    @staticmethod
    def _parse(line: bytes) -> tuple[int, Key, Name | None, dict[str, Any] | None]:
        entry = json.loads(line)
        if len(entry) == 1:
            return entry[0], ("", ""), None, None
        rv, group, plural, namespace, name, obj = entry
        return rv, (group, plural), (namespace, name), obj

    def append(self, rv: int, key: Key, name: Name, stored: Stored | None) -> None:
        if self._file is None:
            return
        head = json.dumps([rv, *key, *name], ensure_ascii=False)[:-1].encode()
        whole = self._file.tell()
        try:
            self._file.write(head + b"," + (stored.body if stored is not None else b"null") + b"]\n")
            self._file.flush()
        except OSError:
            # a torn line in the middle would hide every later one
            self._reopen(whole)
            raise
        self._lines += 1

    def _reopen(self, length: int) -> None:
        with contextlib.suppress(OSError):
            self.close()
        os.truncate(self._path, length)
        self._file = self._path.open("ab")

    def compact_if_worth_it(self, store: Store) -> None:
        """Rewrite the file when it holds far more history than objects."""
        if self._lines < COMPACT_AFTER + 2 * self._kept:
            return
        fresh = self._path.with_suffix(".new")
        entries = sorted(store.snapshot(), key=lambda e: e[0])
        with fresh.open("wb") as file:
            for rv, key, name, stored in entries:
                head = json.dumps([rv, *key, *name], ensure_ascii=False)[:-1].encode()
                file.write(head + b"," + stored.body + b"]\n")
            file.write(b"[%d]\n" % store.rv)
        fresh.replace(self._path)
        self.close()
        self._lines = self._kept = len(entries)
        self._file = self._path.open("ab")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
