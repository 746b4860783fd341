"""The fence: a `coordination.k8s.io/v1` Lease per application and stage, as in client-go's elections.

Whoever holds it may write; it is renewed in the background, and every write asks `check()` first. A process
that slept past its time to live must renew before it may write, and finds out if somebody else took over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.adapters.targets.kubernetes.rest import Request
from tidegate.domain.manifests import Manifest, Ref
from tidegate.errors import Conflict, NotFound, OutsideError, Unreachable

_SKEW_SECONDS = 1.0
_GLANCE_SECONDS = 0.25
_TRIES = 3
_MICRO = "%Y-%m-%dT%H:%M:%S.%fZ"


class KubernetesLease:
    """One Lease seen by one holder. Thread-safe; `holder` must be unique to the process that holds it."""

    def __init__(
        self,
        objects: Objects,
        name: str,
        holder: str,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._objects, self._holder, self._seconds = objects, holder, seconds
        self._ref = Ref("coordination.k8s.io", "Lease", objects.namespace, name, version="v1")
        self._clock, self._now = clock, now
        self._lock = threading.RLock()
        self._held: Manifest | None = None
        self._why = "it was never acquired"
        self._renewed_at = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    @property
    def token(self) -> int:
        """Grows with every change of holder: larger is newer. 0 while it is not held."""
        return int(_spec(self._held).get("leaseTransitions") or 0) if self._held else 0

    def acquire(self) -> bool:
        """Take it when nobody has it, its holder gave it back, or let it expire. Never waits."""
        with self._lock:
            live = self._read()
            if live is not None and (_is_ending(live) or not self._is_free(live)):
                return False
            if not self._write(live, self._taken(live)):
                return False
            self._start_renewing()
            return True

    def check(self) -> None:
        """Renew when a third of the time to live is gone. Raises `Conflict` once it is lost."""
        with self._lock:
            if self._held is None:
                raise self._lost(self._why)
            age = self._clock() - self._renewed_at
            if age > self._seconds / 3:
                self._renew(must=age > self._seconds * 2 / 3)

    def release(self) -> None:
        """Stop renewing and give it back, if it is still ours; without an API server it just expires."""
        self._stop.set()
        renewer, self._renewer = self._renewer, None
        if renewer is not None and renewer is not threading.current_thread():
            renewer.join(timeout=1.0)
        with self._lock:
            held, self._held = self._held, None
            self._why = "it was given back"
            if held is None:
                return
            spec = {
                **_spec(held),
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "renewTime": self._stamp(),
            }
            try:
                self._put(held, spec, repeatable=False)
            except OutsideError:
                return

    def state(self) -> tuple[str, bool] | None:
        """(holder, expired) as the cluster has it; None when there is none or it was given back."""
        with self._lock:
            live = self._read()
            holder = _spec(live).get("holderIdentity") if live else None
            if live is None or not holder:
                return None
            return str(holder), self._is_expired(live)

    def abandoned(self) -> bool:
        """Whether nobody holds it, or whoever does shows no life for its whole time to live. Waits that long.

        A holder that lives renews within a third of it.
        """
        seen = ""
        while True:
            with self._lock:
                live = self._read()
                version = self._seen[0]
                if live is None or self._is_free(live):
                    return True
            if seen and version != seen:
                return False
            seen = version
            time.sleep(_GLANCE_SECONDS)

    # --- looking --------------------------------------------------------------------------------------------

    def _read(self, *, once: bool = False) -> Manifest | None:
        path = self._objects.path(self._ref)
        request = Request("GET", path, str(self._ref), timeout=self._patience(), repeatable=not once)
        try:
            live: Manifest | None = self._objects.rest.send(request)
        except NotFound:
            live = None
        version = ((live or {}).get("metadata") or {}).get("resourceVersion") or ""
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        return live

    def _is_free(self, live: Manifest) -> bool:
        holder = _spec(live).get("holderIdentity")
        return not holder or holder == self._holder or self._is_expired(live)

    def _is_expired(self, live: Manifest) -> bool:
        """Unchanged for its whole duration before our eyes, or old by its own stamp plus some clock skew."""
        duration = float(_spec(live).get("leaseDurationSeconds") or self._seconds)
        if self._clock() - self._seen[1] > duration:
            return True
        renewed = _spec(live).get("renewTime")
        if not renewed:
            return True
        return self._now() - datetime.fromisoformat(renewed) > timedelta(seconds=duration + _SKEW_SECONDS)

    # --- writing --------------------------------------------------------------------------------------------

    def _taken(self, live: Manifest | None) -> dict[str, Any]:
        old = _spec(live)
        again = old.get("holderIdentity") == self._holder
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "acquireTime": old.get("acquireTime") if again else self._stamp(),
            "renewTime": self._stamp(),
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if again else 1),
        }

    def _write(self, live: Manifest | None, spec: dict[str, Any]) -> bool:
        """True when the lease is ours with this spec; a lost answer is read back."""
        asked = self._clock()
        try:
            made = self._post(spec) if live is None else self._put(live, spec)
        except Conflict:
            return False
        except NotFound as error:
            if live is not None:
                return False
            what = f"namespace {self._ref.namespace} is not there"
            raise NotFound(f"{what}; create it, or set create_namespace on the target") from error
        except Unreachable:
            made = self._read(once=True) or {}
            if (
                _spec(made).get("renewTime") != spec["renewTime"]
                or _spec(made).get("holderIdentity") != self._holder
            ):
                raise
        self._held, self._renewed_at = made, asked
        return True

    def _renew(self, *, must: bool) -> None:
        """`must`: too old to go on without; before that an API server that does not answer is no loss."""
        assert self._held is not None
        spec = {**_spec(self._held), "renewTime": self._stamp()}
        for _ in range(_TRIES):
            try:
                if self._write(self._held, spec):
                    return
            except Unreachable:
                if must:
                    raise
                return
            live = self._read()
            holder = None if _is_ending(live) else _spec(live).get("holderIdentity")
            if live is None or holder != self._holder:
                self._held, self._why = None, f"{holder or 'nobody'} has it now"
                self._stop.set()
                raise self._lost(self._why)
            self._held = live  # somebody touched it without taking it
        raise Conflict(f"{self._ref}: changes faster than it can be renewed; look again")

    def _post(self, spec: dict[str, Any]) -> Manifest:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
            "spec": spec,
        }
        path = self._objects.path(self._ref).rpartition("/")[0]
        query = {"fieldManager": "tidegate"}
        return self._objects.rest.send(Request("POST", path, str(self._ref), query, body, repeatable=False))

    def _put(self, live: Manifest, spec: dict[str, Any], *, repeatable: bool = False) -> Manifest:
        # resourceVersion in the body is the precondition: two takers cannot both win.
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": live["metadata"],
            "spec": spec,
        }
        request = Request(
            "PUT", self._objects.path(self._ref), str(self._ref), {"fieldManager": "tidegate"}, body
        )
        return self._objects.rest.send(replace(request, repeatable=repeatable, timeout=self._patience()))

    def _patience(self) -> float:
        return max(1.0, min(10.0, self._seconds / 3))

    def _stamp(self) -> str:
        return self._now().strftime(_MICRO)

    def _lost(self, why: str) -> Conflict:
        return Conflict(f"{self._ref}: lost: {why}; this run must not write any more")

    # --- background -----------------------------------------------------------------------------------------

    def _start_renewing(self) -> None:
        if self._renewer is not None and self._renewer.is_alive():
            return
        self._stop.clear()
        self._renewer = threading.Thread(target=self._keep, name=f"lease-{self._ref.name}", daemon=True)
        self._renewer.start()

    def _keep(self) -> None:
        while not self._stop.wait(self._seconds / 6):
            try:
                self.check()
            except OutsideError:
                # Lost for good, or not reachable: whoever writes next hears it from check() itself.
                if self._held is None:
                    return


def _spec(live: Manifest | None) -> dict[str, Any]:
    return (live or {}).get("spec") or {}


def _is_ending(live: Manifest | None) -> bool:
    """Deleted, but not gone yet: whoever holds it would lose it, whoever takes it would, too."""
    return bool(live and (live.get("metadata") or {}).get("deletionTimestamp"))
