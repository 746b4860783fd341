"""A pod's own words: what its containers wait for, how they ended, and the last line they said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.adapters.targets.kubernetes.rest import Request
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
_RESTARTS = 2
_MAX_WORDS = 300


@dataclass(frozen=True, slots=True)
class Trouble:
    """A container that will not get well by waiting."""

    pod: str
    namespace: str
    container: str
    reason: str
    message: str
    ended: dict[str, Any]
    """`terminated` of its last run, empty when it never ran."""


def trouble(pods: Sequence[Manifest]) -> Trouble | None:
    """The first hopeless container of these pods; None while there is hope.

    One crash is hope (a dependency may not be there yet); a back-off, or the second restart, is not.
    """
    return next((t for pod in pods for t in _troubles(pod)), None)


def _troubles(pod: Manifest) -> Iterator[Trouble]:
    status, meta = pod.get("status") or {}, pod["metadata"]
    if meta.get("deletionTimestamp"):
        return
    for c in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = c.get("state") or {}
        waiting = state.get("waiting") or {}
        ended = (c.get("lastState") or {}).get("terminated") or state.get("terminated") or {}
        reason = waiting.get("reason") or ""
        if reason in _HOPELESS:
            found, message = reason, waiting.get("message") or ""
        elif (c.get("restartCount") or 0) >= _RESTARTS and not c.get("ready") and ended.get("exitCode"):
            found, message = f"restarted {c['restartCount']} times", ""
        else:
            continue
        yield Trouble(meta["name"], meta.get("namespace", ""), c.get("name", ""), found, message, ended)


def told(objects: Objects, found: Trouble) -> str:
    """`digits-7c9: CrashLoopBackOff, exit 1: ModuleNotFoundError: …`."""
    if not found.ended:
        return _cut(f"{found.pod}: {found.reason}" + (f": {found.message}" if found.message else ""))
    how = found.ended.get("reason") if found.ended.get("reason") == "OOMKilled" else ""
    code = how or f"exit {found.ended.get('exitCode')}"
    last = _last_line(found.ended.get("message") or "") or _last_log_line(objects, found)
    return _cut(f"{found.pod}: {found.reason}, {code}" + (f": {last}" if last else ""))


def _last_log_line(objects: Objects, found: Trouble) -> str:
    """The last line of the run that ended, else of the present one; without any log just nothing."""
    path = objects.path(Ref("", "Pod", found.namespace, found.pod, version="v1")) + "/log"
    for previous in ("true", "false"):
        query = {"container": found.container, "tailLines": "20", "previous": previous}
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
