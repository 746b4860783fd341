"""A pod's own words: what its containers wait for, how they ended, and the last line they said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.adapters.targets.kubernetes.rest import Request
from tidegate.domain.health.status import condition
from tidegate.domain.manifests import Manifest, Ref
from tidegate.errors import OutsideError

_HOPELESS = {
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
_STARTING = {"ContainerCreating", "PodInitializing"}
_RESTARTS = 2
_MAX_WORDS = 300


@dataclass(frozen=True, slots=True)
class Trouble:
    """A container that will not get well by waiting, or has ended badly."""

    pod: str
    namespace: str
    container: str
    reason: str
    message: str
    ended: dict[str, Any]
    """`terminated` of its last run, empty when it never ran."""
    among_many: bool = False
    """The pod has other containers, too."""

    @property
    def subject(self) -> str:
        """The pod; its container where that is not clear."""
        return f"{self.pod} (container {self.container})" if self.among_many else self.pod


def trouble(pods: Sequence[Manifest]) -> Trouble | None:
    """The first hopeless container of these pods; None while there is hope.

    One crash is hope (a dependency may not be there yet); a back-off, or the second restart, is not.
    """
    return next((t for pod in pods for t in _troubles(pod)), None)


def _troubles(pod: Manifest) -> Iterator[Trouble]:
    if pod["metadata"].get("deletionTimestamp"):
        return
    for c in _containers(pod):
        waiting, ended = _waiting(c), _ended(c)
        reason = waiting.get("reason") or ""
        if reason in _HOPELESS:
            yield _trouble(pod, c, reason, waiting.get("message") or "", ended)
        elif (c.get("restartCount") or 0) >= _RESTARTS and not c.get("ready") and ended.get("exitCode"):
            yield _trouble(pod, c, f"restarted {c['restartCount']} times", "", ended)


def _trouble(
    pod: Manifest, container: dict[str, Any], reason: str, message: str, ended: dict[str, Any]
) -> Trouble:
    meta, spec = pod["metadata"], pod.get("spec") or {}
    many = len(spec.get("containers") or []) + len(spec.get("initContainers") or []) > 1
    name = container.get("name", "")
    return Trouble(meta["name"], meta.get("namespace", ""), name, reason, message, ended, many)


def _containers(pod: Manifest) -> list[dict[str, Any]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waiting(container: dict[str, Any]) -> dict[str, Any]:
    return (container.get("state") or {}).get("waiting") or {}


def _ended(container: dict[str, Any]) -> dict[str, Any]:
    last, state = container.get("lastState") or {}, container.get("state") or {}
    return last.get("terminated") or state.get("terminated") or {}


def told(objects: Objects, found: Trouble) -> str:
    """`digits-7c9: CrashLoopBackOff, exit 1: ModuleNotFoundError: …`."""
    if not found.ended:
        return _cut(f"{found.subject}: {found.reason}" + (f": {found.message}" if found.message else ""))
    how = found.ended.get("reason") if found.ended.get("reason") == "OOMKilled" else ""
    code = how or f"exit {found.ended.get('exitCode')}"
    last = _last_line(found.ended.get("message") or "") or _last_log_line(objects, found)
    what = ", ".join(part for part in (found.reason, code) if part)
    return _cut(f"{found.subject}: {what}" + (f": {last}" if last else ""))


def why_not(objects: Objects, pods: Sequence[Manifest]) -> str:
    """What keeps these pods from being ready, in the words of the first that says something; else nothing.

    How a container ended, what it waits for, why the pod has no node, or the pod's newest warning event.
    """
    waiting = [p for p in pods if (condition(p, "Ready") or {}).get("status") != "True"]
    for look in (_why_ended, _why_waiting, _why_unscheduled, _why_warned):
        for pod in waiting:
            if words := look(objects, pod):
                return words
    return ""


def _why_ended(objects: Objects, pod: Manifest) -> str:
    for c in _containers(pod):
        if _ended(c).get("exitCode"):
            return told(objects, _trouble(pod, c, "", "", _ended(c)))
    return ""


def _why_waiting(objects: Objects, pod: Manifest) -> str:
    for c in _containers(pod):
        reason = _waiting(c).get("reason") or ""
        if reason and reason not in _STARTING:
            return told(objects, _trouble(pod, c, reason, _waiting(c).get("message") or "", {}))
    return ""


def _why_unscheduled(objects: Objects, pod: Manifest) -> str:
    scheduled = condition(pod, "PodScheduled") or {}
    if scheduled.get("status") != "False":
        return ""
    return _cut(f"{pod['metadata']['name']}: {scheduled.get('reason')}: {scheduled.get('message') or ''}")


def _why_warned(objects: Objects, pod: Manifest) -> str:
    """Volumes that cannot be mounted and probes that fail are only told as events."""
    meta = pod["metadata"]
    path = objects.kinds.of(Ref("", "Event", "", "", version="v1")).path(meta.get("namespace", ""))
    query = {"fieldSelector": f"involvedObject.name={meta['name']},type=Warning"}
    try:
        events = objects.rest.listed(path, f"events of {meta['name']}", query, repeatable=False).items
    except OutsideError:
        return ""  # only words: what we may not read, or cannot now, is left out
    mine = [e for e in events if (e.get("involvedObject") or {}).get("uid") in (None, "", meta.get("uid"))]
    if not mine:
        return ""
    newest = max(mine, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return _cut(f"{meta['name']}: {newest.get('reason')}: {' '.join((newest.get('message') or '').split())}")


def _last_log_line(objects: Objects, found: Trouble) -> str:
    """The last line of the run that ended, else of the present one; without any log just nothing."""
    path = objects.path(Ref("", "Pod", found.namespace, found.pod, version="v1")) + "/log"
    for previous in ("true", "false"):
        query = {"container": found.container, "tailLines": "20", "limitBytes": "65536", "previous": previous}
        try:
            answer = objects.rest.raw(
                Request("GET", path, f"log of {found.pod}", query, timeout=5, repeatable=False)
            )
        except OutsideError:
            continue
        if answer.status == 200 and (line := _last_line(answer.body.decode(errors="replace"))):
            return line
    return ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_WORDS else f"{text[:_MAX_WORDS]}…"
