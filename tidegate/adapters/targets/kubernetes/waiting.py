"""Wait until all is healthy, something is beyond hope, somebody calls us off, or time is up.

By watch: one look at everything, then one watch for each kind of what is not settled, and one for the pods of its
workloads. What may not be watched is looked at twice a second instead.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.adapters.targets.kubernetes.pods import current_pods, has_pods, selector_text
from tidegate.adapters.targets.kubernetes.watching import Collection, Watch
from tidegate.adapters.targets.kubernetes.words import told, trouble, why_not
from tidegate.domain import order
from tidegate.domain.health import Custom, Health, HealthStatus, health, worst
from tidegate.domain.health.status import condition, observed_generation, status_of
from tidegate.domain.manifests import Manifest, Ref
from tidegate.errors import NotFound, OutsideError, Rejected, Unreachable

_TICK_SECONDS = 0.5
"""How often somebody may call us off, and what cannot be watched is looked at."""
_PATIENCE_SECONDS = 60.0
_BELIEVED_SECONDS = 5.0
"""A script's Degraded about a status without a generation may be about the old version: it must last this long."""
_ALWAYS = float("-inf")


@dataclass(frozen=True, slots=True)
class _Seen:
    """One object at one look."""

    ref: Ref
    health: Health
    live: Manifest | None = None
    final_from: float | None = None
    """When (monotonic) its state counts as one that no waiting mends; None: never."""
    is_settled: bool = False
    """Well, and of a kind that cannot change its mind (no status): need not be looked at again."""

    @property
    def is_well(self) -> bool:
        return self.health.status in (HealthStatus.Healthy, HealthStatus.Suspended)

    def told(self, more: str = "") -> Health:
        """The health with the object's name before its words."""
        words = (
            f": {self.health.message}" if self.health.message else f" is {self.health.status.value.lower()}"
        )
        return Health(self.health.status, f"{self.ref}{words}{f'; {more}' if more else ''}")


def wait(
    objects: Objects,
    refs: Iterable[Ref],
    *,
    deadline_seconds: float,
    interrupted: Callable[[], str | None],
    custom: Custom | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Health:
    """The worst health; Healthy (or Suspended, which no wait can change) when every object is so.

    Ends at once on a state that time cannot mend, with the pod's own words; `interrupted` may end it too. A
    deadline of 0 is one look. `custom` is asked before our own rules. `Unreachable` when the API server does not
    answer for a minute, or at the end.
    """
    waiting = _Waiting(objects, order.ordered(refs), interrupted, custom, clock)
    try:
        return waiting.run(deadline_seconds)
    finally:
        waiting.stop()


@dataclass
class _Waiting:
    objects: Objects
    names: Sequence[Ref]
    interrupted: Callable[[], str | None]
    custom: Custom | None
    clock: Callable[[], float]
    seen: dict[Ref, _Seen] = field(default_factory=dict)
    watches: dict[Collection, Watch] = field(default_factory=dict)
    watched: dict[Ref, Watch] = field(default_factory=dict)
    pod_watches: dict[str, Watch] = field(default_factory=dict)
    """By namespace."""
    _news: dict[Ref, Manifest | None] = field(default_factory=dict)
    _troubled: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Pods in trouble, of whichever owner, by namespace."""
    _pod_news: set[str] = field(default_factory=set)
    """Namespaces where a pod in trouble has changed."""

    def __post_init__(self) -> None:
        self._woken = threading.Condition()

    def run(self, deadline_seconds: float) -> Health:
        """Look, listen, look at what has changed, until it is decided."""
        start = answered = self.clock()
        next_tick = start
        while True:
            now = self.clock()
            ticks = now >= next_tick
            if ticks and (reason := self.interrupted()):
                return Health(HealthStatus.Progressing, f"stopped waiting: {reason}")
            if ticks:
                next_tick = now + _TICK_SECONDS
            left = deadline_seconds - (now - start)
            try:
                self._take_in(ticks)
                if (decided := self._decided()) is not None:
                    return decided
                if left <= 0:
                    return self._late(deadline_seconds)
                self._watch()
                answered = self._answered(answered)
            except Unreachable:
                now = self.clock()
                if now - answered > _PATIENCE_SECONDS or now - start >= deadline_seconds:
                    raise
                time.sleep(min(_TICK_SECONDS, left))  # the news that could not be judged is still there
            self._listen(max(0.0, min(left, next_tick - self.clock())))

    def stop(self) -> None:
        """End all watches."""
        running = [*self.watches.values(), *self.pod_watches.values()]
        for watch in running:
            watch.stop()
        for watch in running:
            watch.join()

    # --- looking --------------------------------------------------------------------------------------------

    def _take_in(self, ticks: bool) -> None:
        """Judge what has changed, and what is not watched."""
        with self._woken:
            news, self._news = self._news, {}
            namespaces, self._pod_news = self._pod_news, set()
        try:
            unwatched = [n for n in self.names if self._is_blind(n)] if ticks or not self.seen else []
            if unwatched:
                live = self.objects.read(unwatched)
                news = {**{n: live.get(n) for n in unwatched}, **news}
            for name, seen in self.seen.items() if namespaces else ():
                if name not in news and self._may_be_in_trouble(seen, namespaces):
                    news[name] = seen.live
            for found in each(lambda item: self._judged(*item), news.items()):
                self.seen[found.ref] = found
        except BaseException:
            with self._woken:
                self._news = {**news, **self._news}
                self._pod_news |= namespaces
            raise

    def _is_blind(self, name: Ref) -> bool:
        seen, watch = self.seen.get(name), self.watched.get(name)
        return not (seen and seen.is_settled) and (watch is None or watch.refused)

    def _may_be_in_trouble(self, seen: _Seen, namespaces: set[str]) -> bool:
        at = self.objects.namespace_of(seen.ref) if has_pods(seen.live) else ""
        return not seen.is_well and at in namespaces

    def _judged(self, name: Ref, obj: Manifest | None) -> _Seen:
        if obj is None:
            return _Seen(name, Health(HealthStatus.Missing, "is not there"))
        now, is_scripted = self._health(obj)
        if now.status in (HealthStatus.Healthy, HealthStatus.Suspended):
            return _Seen(name, now, obj, is_settled="status" not in obj and not is_scripted)
        found = trouble(self._pods_in_question(obj))
        if found is not None:
            words = told(self.objects, found)
            return _Seen(name, Health(HealthStatus.Degraded, words), obj, final_from=_ALWAYS)
        return _Seen(name, now, obj, self._final_from(name, obj, now, is_scripted))

    def _health(self, obj: Manifest) -> tuple[Health, bool]:
        """Its health, and whether the user's script was asked for it."""
        asked: list[Health] = []

        def custom(one: Manifest) -> Health | None:
            said = self.custom(one) if self.custom else None
            asked.extend([said] if said else [])
            return said

        return health(obj, custom), bool(asked)

    def _pods_in_question(self, obj: Manifest) -> list[Manifest]:
        """The pods to ask for trouble; asking costs two requests, so only where the watch has seen some."""
        if obj.get("kind") == "Pod":
            return [obj]
        namespace = obj["metadata"].get("namespace", "")
        watch = self.pod_watches.get(namespace)
        if watch is not None and not watch.refused and not self._troubled[namespace]:
            return []
        return self._pods(obj)

    def _pods(self, obj: Manifest) -> list[Manifest]:
        try:
            return current_pods(self.objects, obj)
        except (Rejected, NotFound):
            return []  # who may not look at pods goes without their words

    def _final_from(self, name: Ref, obj: Manifest, now: Health, is_scripted: bool) -> float | None:
        if now.status is not HealthStatus.Degraded:
            return None
        if not is_scripted:
            return _ALWAYS if _is_beyond_hope(obj) else None
        if observed_generation(obj) is not None:
            return _ALWAYS
        before = self.seen.get(name)
        since = before.final_from if before else None
        return since if since is not None else self.clock() + _BELIEVED_SECONDS

    # --- deciding -------------------------------------------------------------------------------------------

    def _decided(self) -> Health | None:
        """The answer, if there is one before the time is up."""
        if len(self.seen) < len(set(self.names)):
            return None
        seen, now = list(self.seen.values()), self.clock()
        final = [s for s in seen if s.final_from is not None and s.final_from <= now]
        if final:
            return worst(s.told(self._why(s)) for s in final)
        return worst(s.health for s in seen) if all(s.is_well for s in seen) else None

    def _late(self, deadline_seconds: float) -> Health:
        """The time is up: what was not well, after one more look, with its pods' words."""
        if deadline_seconds:
            ill = [s.ref for s in self.seen.values() if not s.is_well]
            live = self.objects.read(ill)
            for found in each(lambda name: self._judged(name, live.get(name)), ill):
                self.seen[found.ref] = found
            if (decided := self._decided()) is not None:
                return decided
        ill_now = [s for s in self.seen.values() if not s.is_well]
        last = worst(s.told() for s in ill_now)
        first = next(s for s in ill_now if s.told() == last)
        if not deadline_seconds:
            return last
        words = first.told(self._why(first)).message
        return Health(last.status, f"not healthy after {deadline_seconds:g} s: {words}")

    def _why(self, seen: _Seen) -> str:
        """What its pods say, unless that is what it says already."""
        if seen.live is None or not has_pods(seen.live):
            return ""
        try:
            pods = self._pods(seen.live)
            return "" if trouble(pods) else why_not(self.objects, pods)
        except OutsideError:
            return ""  # the answer is known: only words are missing

    # --- listening ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Begin to watch what is not settled; the second time there is nothing left to begin."""
        if self.watches or len(self.seen) < len(set(self.names)):
            return
        groups: dict[Collection, list[Ref]] = defaultdict(list)
        for seen in self.seen.values():
            if not seen.is_settled and (collection := self._collection(seen.ref)) is not None:
                groups[collection].append(seen.ref)
        for collection, names in groups.items():
            one = names[0].name if len(names) == 1 else ""
            chosen = Collection(collection.kind, collection.kind_name, collection.namespace, one)
            watch = Watch(self.objects.rest, chosen, partial(self._hear, {n.name: n for n in names}))
            self.watches[chosen] = watch.start()
            self.watched.update(dict.fromkeys(names, watch))
        self._watch_pods()

    def _collection(self, name: Ref) -> Collection | None:
        if name.kind == "Secret":
            return None  # a LIST would read the others, too
        try:
            kind = self.objects.kinds.of(name)
        except NotFound:
            return None
        return Collection(kind, name.kind, self.objects.namespace_of(name))

    def _watch_pods(self) -> None:
        owners: dict[str, list[Manifest]] = defaultdict(list)
        for seen in self.seen.values():
            if seen.live and has_pods(seen.live) and seen.ref.kind != "Pod":
                owners[self.objects.namespace_of(seen.ref)].append(seen.live)
        kind = self.objects.kinds.of(Ref("", "Pod", "", "", version="v1"))
        for namespace, found in owners.items():
            selector = (found[0].get("spec") or {}).get("selector") or {}
            labels = selector_text(selector) if len(found) == 1 else ""
            pods = Collection(kind, "Pod", namespace, labels=labels)
            self.pod_watches[namespace] = Watch(
                self.objects.rest, pods, partial(self._hear_pod, namespace)
            ).start()

    def _hear(self, names: dict[str, Ref], name: str, obj: Manifest | None) -> None:
        if name in names:
            with self._woken:
                self._news[names[name]] = obj
                self._woken.notify()

    def _hear_pod(self, namespace: str, name: str, pod: Manifest | None) -> None:
        is_troubled = pod is not None and trouble([pod]) is not None
        with self._woken:
            if is_troubled:
                self._troubled[namespace].add(name)
                self._pod_news.add(namespace)
                self._woken.notify()
            else:
                self._troubled[namespace].discard(name)

    def _listen(self, seconds: float) -> None:
        with self._woken:
            if not self._news and not self._pod_news:
                self._woken.wait(seconds)

    def _answered(self, before: float) -> float:
        """When the API server last gave a sign of life; raises what a watch has met when that was long ago."""
        broken = [w for w in self.watches.values() if w.error is not None and not w.refused]
        if not broken:
            return self.clock()
        error = broken[0].error
        if self.clock() - before > _PATIENCE_SECONDS and error is not None:
            raise error
        return before


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
