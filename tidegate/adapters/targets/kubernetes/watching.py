"""A watch: every change of a collection as it happens, for as long as somebody cares.

LIST, then WATCH from its version; a stream that ends is taken up where it ended (bookmarks count), a version the
server no longer knows (410) begins with a LIST again, an error backs off. The `kubernetes` package's own watch
never reconnects and remembers the wrong version.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.adapters.targets.kubernetes.kinds import Kind
from tidegate.adapters.targets.kubernetes.rest import Request, Rest, Stream
from tidegate.domain.manifests import Manifest
from tidegate.errors import OutsideError, Rejected, Unreachable

_SILENCE_SECONDS = 70.0
"""Bookmarks come each minute: a stream that is silent for longer is dead."""
_SHORTEST, _LONGEST = 240, 300
_JOIN_SECONDS = 2.0
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Collection:
    """What to watch: a kind in a namespace (empty: everywhere), or the one object of a name."""

    kind: Kind
    kind_name: str
    namespace: str
    name: str = ""
    labels: str = ""
    """A label selector as text."""

    @property
    def subject(self) -> str:
        """For errors."""
        return f"{self.kind.plural} of namespace {self.namespace}" if self.namespace else self.kind.plural

    @property
    def query(self) -> dict[str, str]:
        """The selector."""
        chosen = {"fieldSelector": f"metadata.name={self.name}"} if self.name else {}
        return {**chosen, "labelSelector": self.labels} if self.labels else chosen


class _Expired(Exception):
    """410: list again."""


@dataclass
class Watch:
    """One collection, watched by a thread of its own.

    `tell(name, object)` is called in that thread, with None for an object that is not there (any more); after a
    LIST it is called for every object of it, and with None for those that have gone meanwhile.
    """

    rest: Rest
    what: Collection
    tell: Callable[[str, Manifest | None], None]
    error: OutsideError | None = None
    """Why it does not work at the moment."""
    since: float = field(default_factory=time.monotonic)
    """Monotonic time of the last sign of life."""
    refused: bool = False
    """It never will: we may not watch, or the kind cannot be."""
    _names: set[str] = field(default_factory=set)
    _stream: Stream | None = None
    _pause: float = _FIRST_PAUSE

    def __post_init__(self) -> None:
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"watch {self.what.subject}")

    def start(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Say that nobody cares any more; `join` waits for the end."""
        self._stopped.set()
        with self._lock:
            if self._stream is not None:
                self._stream.close()

    def join(self) -> None:
        """Wait for its end, but not for a server that hangs."""
        self._thread.join(_JOIN_SECONDS)

    # --- in the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        version = ""
        while not self._stopped.is_set():
            try:
                version = version or self._list()
                version = self._follow(version)
            except _Expired:
                version = ""
            except Unreachable as error:
                self._fail(error)
                self._rest()
            except OutsideError as error:
                self.refused = True
                self._fail(error)
                return

    def _list(self) -> str:
        found = self.rest.listed(
            self.what.kind.path(self.what.namespace), self.what.subject, self.what.query, repeatable=False
        )
        self._alive()
        there = {item["metadata"]["name"]: item for item in found.items}
        for name in self._names - there.keys():
            self.tell(name, None)
        for name, item in there.items():
            self.tell(name, self._complete(item))
        self._names = set(there)
        return found.version

    def _complete(self, item: Manifest) -> Manifest:
        """List items carry neither apiVersion nor kind."""
        kind = self.what.kind
        api_version = f"{kind.group}/{kind.version}" if kind.group else kind.version
        return {"apiVersion": api_version, "kind": self.what.kind_name, **item}

    def _follow(self, version: str) -> str:
        """One stream to its end; the version to go on from."""
        query = {
            **self.what.query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(_SHORTEST, _LONGEST)),  # noqa: S311
        }
        path = self.what.kind.path(self.what.namespace)
        secret = "/secrets" in path
        request = Request(
            "GET", path, f"watch of {self.what.subject}", query, secret=secret, timeout=_SILENCE_SECONDS
        )
        stream, begun = self._opened(request), time.monotonic()
        events = iter(stream)
        try:
            for event in events:
                version = self._take(event) or version
            if time.monotonic() - begun < 1:
                self._rest()  # a server that ends every stream at once must not be asked without end
        except Unreachable as error:
            self._fail(error)
            self._rest()  # what was seen counts: go on from there
        finally:
            events.close()
            with self._lock:
                self._stream = None
        return version

    def _opened(self, request: Request) -> Stream:
        try:
            stream = self.rest.stream(request)
        except Rejected as error:
            if "(410)" in str(error):
                raise _Expired from error
            raise
        except Unreachable as error:
            if "Too large resource version" in str(error):  # the server was set back: its versions begin anew
                raise _Expired from error
            raise
        with self._lock:
            self._stream = stream
            if self._stopped.is_set():
                stream.close()
        return stream

    def _take(self, event: Manifest) -> str:
        """Pass one event on; the version it brings us to."""
        obj = event.get("object") or {}
        if event.get("type") == "ERROR":
            if obj.get("code") in (410, 504):
                raise _Expired
            raise Unreachable(f"watch of {self.what.subject}: {obj.get('message') or obj.get('reason')}")
        self._alive()
        meta = obj.get("metadata") or {}
        if event.get("type") != "BOOKMARK":
            is_gone = event.get("type") == "DELETED"
            (self._names.discard if is_gone else self._names.add)(meta.get("name", ""))
            self.tell(meta.get("name", ""), None if is_gone else obj)
        return str(meta.get("resourceVersion") or "")

    def _alive(self) -> None:
        self.since, self.error, self._pause = time.monotonic(), None, _FIRST_PAUSE

    def _fail(self, error: OutsideError) -> None:
        if not self._stopped.is_set():
            self.error = error

    def _rest(self) -> None:
        self._stopped.wait(self._pause * (0.5 + random.random() / 2))  # noqa: S311
        self._pause = min(_LAST_PAUSE, self._pause * 2)
