"""Run hooks: make them, wait for their result, put it on record, let them go.

A hook that can be swept away when it ends (a Job with a time to live) gets a finalizer of ours, so that its result is
read first; the finalizer goes as soon as the result is on record, and whenever the hook is deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidegate.adapters.targets.kubernetes import waiting
from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.adapters.targets.kubernetes.pruning import await_gone
from tidegate.domain.health import Custom, Health, HealthStatus, health
from tidegate.domain.manifests import Manifest, Ref, ref
from tidegate.domain.options import DeletePolicy
from tidegate.domain.schedule import Hook
from tidegate.errors import Conflict, NotFound

FINALIZER = "tidegate.dev/hook"
RUN = "tidegate.dev/run"
"""Annotation of a hook: which run of which sync it is."""
_SWEPT = {("batch", "Job"), ("argoproj.io", "Workflow")}
_FAILED = (HealthStatus.Degraded, HealthStatus.Unknown)
_GONE_SECONDS, _TRIES = 60.0, 5
_FIRST_POLL, _SLOWEST_POLL = 0.05, 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a hook ended."""

    hook: Hook
    failure: str = ""
    """Empty when it succeeded."""


def start(
    objects: Objects, hook: Hook, sync: str, fence: Callable[[], None], custom: Custom | None = None
) -> None:
    """Make it run, unless it does so already as this run of this sync. Raises what the API server says.

    One that has failed is made anew whatever its policy: to try again is what a second sync is for.
    """
    mark = f"{sync}/{hook.phase.name}"
    live = _read(objects, hook.ref)
    failed = live is not None and _health(live, custom).status in _FAILED
    if live is not None and (live["metadata"].get("annotations") or {}).get(RUN) == mark and not failed:
        return
    if live is not None and (failed or DeletePolicy.BeforeHookCreation in hook.delete):
        remove(objects, live, fence)
        if not await_gone(objects, hook.ref, _GONE_SECONDS):
            raise Conflict(
                f"{hook.ref}: the one of an earlier sync is still being deleted; see its finalizers"
            )
    objects.apply(_marked(hook.manifest, mark), fence=fence)


def _marked(manifest: Manifest, mark: str) -> Manifest:
    meta = manifest["metadata"]
    group = manifest["apiVersion"].rpartition("/")[0]
    held = {"finalizers": [*(meta.get("finalizers") or []), FINALIZER]}
    swept = (group, manifest["kind"]) in _SWEPT
    noted = {"annotations": {**(meta.get("annotations") or {}), RUN: mark}}
    return {**manifest, "metadata": {**meta, **noted, **(held if swept else {})}}


def outcomes(
    objects: Objects,
    hooks: Sequence[Hook],
    *,
    deadline_seconds: float,
    check: Callable[[], None],
    custom: Custom | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """How each of them ended. `check` may end the waiting by raising; nothing less does: a migration goes on."""
    end, pause = clock() + deadline_seconds, _FIRST_POLL
    ended: dict[Ref, Outcome] = {}
    while True:
        check()
        left = [hook for hook in hooks if hook.ref not in ended]
        live = objects.read(hook.ref for hook in left)
        for hook in left:
            found = _outcome(objects, hook, live.get(hook.ref), custom)
            if found is not None:
                ended[hook.ref] = found
        running = [hook for hook in hooks if hook.ref not in ended]
        if running and clock() > end:
            late = f"not done after {deadline_seconds:g} s"
            ended |= {hook.ref: Outcome(hook, f"{hook}: {late}") for hook in running}
            running = []
        if not running:
            return [ended[hook.ref] for hook in hooks]
        time.sleep(pause)
        pause = min(_SLOWEST_POLL, pause * 1.5)


def _outcome(objects: Objects, hook: Hook, live: Manifest | None, custom: Custom | None) -> Outcome | None:
    """Argo CD's reading of a hook's health: Unknown and Degraded have failed, Progressing and Suspended still run."""
    if live is None:
        return Outcome(hook, f"{hook}: was deleted before it was done")
    now = _health(live, custom)
    if now.status is HealthStatus.Healthy:
        return Outcome(hook)
    if now.status not in _FAILED:
        now = waiting.wait(
            objects, [hook.ref], deadline_seconds=0, interrupted=lambda: None
        )  # its pods' words
    if now.status not in _FAILED:
        return None
    why = now.message.removeprefix(f"{hook.ref}: ") or now.status.value
    return Outcome(hook, f"{hook} failed: {why}")


def _health(live: Manifest, custom: Custom | None) -> Health:
    return health(live, custom, finalizer=FINALIZER)


def release(objects: Objects, refs: Sequence[Ref], fence: Callable[[], None]) -> None:
    """Take our finalizer from hooks whose result is on record."""
    for live in objects.read(refs).values():
        if FINALIZER in (live["metadata"].get("finalizers") or []):
            _unhold(objects, live, fence)


def clean(objects: Objects, hooks: Sequence[Hook], policy: DeletePolicy, fence: Callable[[], None]) -> None:
    """Delete those that ask for it now that the sync has ended this way; what is gone is fine."""
    asked = {hook.ref: hook for hook in hooks if policy in hook.delete}
    each(lambda live: remove(objects, live, fence), objects.read(asked).values())


def remove(objects: Objects, live: Manifest, fence: Callable[[], None]) -> None:
    """Delete exactly this one, without waiting for it to be gone."""
    name = ref(live)
    objects.delete(name, uid=live["metadata"]["uid"], fence=fence)
    now = _read(objects, name)
    if now is not None and now["metadata"]["uid"] == live["metadata"]["uid"]:
        _unhold(objects, now, fence)


def _unhold(objects: Objects, live: Manifest, fence: Callable[[], None]) -> None:
    name = ref(live)
    for _ in range(_TRIES):
        others = [f for f in live["metadata"].get("finalizers") or [] if f != FINALIZER]
        if len(others) == len(live["metadata"].get("finalizers") or []):
            return
        try:
            objects.patch(live, {"metadata": {"finalizers": others}}, fence=fence)
            return
        except NotFound:
            return
        except Conflict:
            again = _read(objects, name)
            if again is None or again["metadata"]["uid"] != live["metadata"]["uid"]:
                return
            live = again
    raise Conflict(f"{name}: changes faster than its finalizer can be removed; try again")


def _read(objects: Objects, name: Ref) -> Manifest | None:
    return objects.read([name]).get(name)
