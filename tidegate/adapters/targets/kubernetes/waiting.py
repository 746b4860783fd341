"""Wait until all is healthy, something is beyond hope, somebody calls us off, or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.adapters.targets.kubernetes.pods import current_pods
from tidegate.adapters.targets.kubernetes.words import told, trouble
from tidegate.domain import order
from tidegate.domain.health import Health, HealthStatus, health, worst
from tidegate.domain.health.status import condition, status_of
from tidegate.domain.manifests import Manifest, Ref
from tidegate.errors import Unreachable

_FIRST_POLL, _SLOWEST_POLL, _PATIENCE_SECONDS = 0.1, 0.5, 60.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """One object at one look."""

    ref: Ref
    health: Health
    is_final: bool = False
    is_settled: bool = False
    """Well, and of a kind that cannot change its mind (no status): need not be looked at again."""

    @property
    def is_well(self) -> bool:
        return self.health.status in (HealthStatus.Healthy, HealthStatus.Suspended)

    def told(self) -> Health:
        """The health with the object's name before its words."""
        words = (
            f": {self.health.message}" if self.health.message else f" is {self.health.status.value.lower()}"
        )
        return Health(self.health.status, f"{self.ref}{words}")


def wait(
    objects: Objects,
    refs: Iterable[Ref],
    *,
    deadline_seconds: float,
    interrupted: Callable[[], str | None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Health:
    """The worst health; Healthy (or Suspended, which no wait can change) when every object is so at one look.

    Ends at once on a state that time cannot mend, with the pod's own words; `interrupted` may end it too. A
    deadline of 0 is one look. `Unreachable` when the API server does not answer for a minute, or at the end.
    """
    names, start = order.ordered(refs), clock()
    pause, answered, last = _FIRST_POLL, start, Health(HealthStatus.Unknown, "nothing was seen yet")
    settled: set[Ref] = set()
    while True:
        if reason := interrupted():
            return Health(HealthStatus.Progressing, f"stopped waiting: {reason}")
        try:
            seen = _look(objects, [name for name in names if name not in settled])
            settled |= {s.ref for s in seen if s.is_settled}
            answered = clock()
        except Unreachable:
            now = clock()
            if now - answered > _PATIENCE_SECONDS or now - start >= deadline_seconds:
                raise
            seen = []
        if seen or len(settled) == len(names):
            last = _worst(seen)
            if all(s.is_well for s in seen) or any(s.is_final for s in seen):
                return last
        left = deadline_seconds - (clock() - start)
        if left <= 0:
            late = f"not healthy after {deadline_seconds:g} s: " if deadline_seconds else ""
            return Health(last.status, f"{late}{last.message}")
        sleep(min(pause, left))
        pause = min(_SLOWEST_POLL, pause * 1.5)


def _worst(seen: list[_Seen]) -> Health:
    final = [s.told() for s in seen if s.is_final]
    return worst(final or [s.told() for s in seen if not s.is_well] or [s.health for s in seen])


def _look(objects: Objects, names: list[Ref]) -> list[_Seen]:
    live = objects.read(names)
    return each(lambda name: _seen(objects, name, live), names)


def _seen(objects: Objects, name: Ref, live: Mapping[Ref, Manifest]) -> _Seen:
    if name not in live:
        return _Seen(name, Health(HealthStatus.Missing, "is not there"))
    obj = live[name]
    now = health(obj)
    if now.status in (HealthStatus.Healthy, HealthStatus.Suspended):
        return _Seen(name, now, is_settled="status" not in obj)
    found = trouble(current_pods(objects, obj))
    if found is not None:
        return _Seen(name, Health(HealthStatus.Degraded, told(objects, found)), is_final=True)
    return _Seen(name, now, is_final=now.status is HealthStatus.Degraded and _is_beyond_hope(obj))


def _is_beyond_hope(obj: Manifest) -> bool:
    """A Degraded that no waiting mends; others (an autoscaler without metrics) may recover."""
    match obj.get("kind"):
        case "Deployment":
            return True  # only ProgressDeadlineExceeded degrades a Deployment
        case "Job":
            return True
        case "Pod":
            return status_of(obj).get("phase") == "Failed"
        case "PersistentVolumeClaim":
            return True  # Lost
    return (condition(obj, "Stalled") or {}).get("status") == "True"
