"""The loop that runs all controllers: keys come in, `reconcile(key)` is called, failures come back later.

One thread for all of them: on two cores more would only fight over the interpreter, and one at a time makes every
step easy to follow. A key is never in work twice; keys that arrive in between are folded into one.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from tidegate.errors import Conflict, NotFound, OutsideError, Unreachable
from tidegate.sim.informer import Key

log = logging.getLogger(__name__)

Reconcile = Callable[[Key], float | None]
"""Brings one key to its desired state; seconds until it wants to look again, or None."""

FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 30.0


class WorkQueue:
    """A deduplicating queue of (reconciler, key) with delays and per-key back-off, and the thread that works it."""

    def __init__(self, name: str) -> None:
        self._ready: OrderedDict[tuple[str, Key], None] = OrderedDict()
        self._later: list[tuple[float, tuple[str, Key]]] = []
        self._due: dict[tuple[str, Key], float] = {}
        self._failures: dict[tuple[str, Key], int] = {}
        self._reconcilers: dict[str, Reconcile] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def register(self, name: str, reconcile: Reconcile) -> None:
        self._reconcilers[name] = reconcile

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(30.0)

    def add(self, name: str, key: Key, after: float = 0.0) -> None:
        """Asks for a reconcile; of several delays for one key the shortest wins."""
        item = (name, key)
        with self._wake:
            if after <= 0:
                self._ready[item] = None
            else:
                at = time.monotonic() + after
                if self._due.get(item, float("inf")) <= at:
                    return
                self._due[item] = at
                heapq.heappush(self._later, (at, item))
            self._wake.notify()

    def _next(self) -> tuple[str, Key] | None:
        with self._wake:
            while not self._stopping:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    at, item = heapq.heappop(self._later)
                    if self._due.get(item) == at:
                        del self._due[item]
                        self._ready[item] = None
                if self._ready:
                    return self._ready.popitem(last=False)[0]
                self._wake.wait(self._later[0][0] - now if self._later else None)
            return None

    def _run(self) -> None:
        while (item := self._next()) is not None:
            name, key = item
            try:
                again = self._reconcilers[name](key)
            except (Conflict, NotFound) as error:
                log.debug("%s %s: %s", name, key, error)
                self._retry(item)
            except OutsideError as error:
                log.log(
                    logging.DEBUG if isinstance(error, Unreachable) else logging.INFO,
                    "%s %s: %s",
                    name,
                    key,
                    error,
                )
                self._retry(item)
            except Exception:
                log.exception("%s %s: reconcile failed", name, key)
                self._retry(item)
            else:
                self._failures.pop(item, None)
                if again is not None:
                    self.add(name, key, max(again, 0.001))

    def _retry(self, item: tuple[str, Key]) -> None:
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        self.add(*item, after=min(FIRST_RETRY_SECONDS * 2**failures, LAST_RETRY_SECONDS))
