"""Every other kind: what `status.conditions` say by convention (kstatus, cli-utils `generic.go`)."""

from __future__ import annotations

from typing import Any

from tidegate.domain.health.status import (
    Health,
    Manifest,
    condition,
    degraded,
    healthy,
    lagging,
    progressing,
)


def generic(obj: Manifest) -> Health:
    """Unobserved or Reconciling: Progressing; Stalled: Degraded; Ready decides; nothing said is Healthy."""
    if (behind := lagging(obj, or_ahead=True)) is not None:
        return behind
    if _is(condition(obj, "Reconciling"), "True"):
        return progressing(_words(condition(obj, "Reconciling")))
    if _is(condition(obj, "Stalled"), "True"):
        return degraded(_words(condition(obj, "Stalled")))
    ready = condition(obj, "Ready")
    if ready is not None and not _is(ready, "True"):
        return progressing(_words(ready))
    return healthy(_words(ready))


def _is(found: dict[str, Any] | None, status: str) -> bool:
    return found is not None and found.get("status") == status


def _words(found: dict[str, Any] | None) -> str:
    return str((found or {}).get("message") or (found or {}).get("reason") or "")
