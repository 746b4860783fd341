"""The words of health, shared by all families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class HealthStatus(StrEnum):
    """Argo CD's vocabulary; declared best to worst."""

    Healthy = "Healthy"
    Suspended = "Suspended"
    Progressing = "Progressing"
    Missing = "Missing"
    Degraded = "Degraded"
    Unknown = "Unknown"


@dataclass(frozen=True, slots=True)
class Health:
    """A status and the sentence that explains it."""

    status: HealthStatus
    message: str = ""


Manifest = dict[str, Any]
Rule = Callable[[Manifest], Health]


def healthy(message: str = "") -> Health:
    """It is as it should be."""
    return Health(HealthStatus.Healthy, message)


def progressing(message: str = "") -> Health:
    """Not yet, but it may become healthy by itself."""
    return Health(HealthStatus.Progressing, message)


def degraded(message: str = "") -> Health:
    """It failed, or cannot become healthy by itself."""
    return Health(HealthStatus.Degraded, message)


def suspended(message: str = "") -> Health:
    """Somebody stopped it on purpose."""
    return Health(HealthStatus.Suspended, message)


def unknown(message: str = "") -> Health:
    """We could not tell."""
    return Health(HealthStatus.Unknown, message)


def spec_of(obj: Manifest) -> dict[str, Any]:
    """`spec`, empty when absent or null."""
    return obj.get("spec") or {}


def status_of(obj: Manifest) -> dict[str, Any]:
    """`status`, empty when absent, null, or no map (a custom resource's may be anything)."""
    found = obj.get("status")
    return found if isinstance(found, dict) else {}


def name_of(obj: Manifest) -> str:
    """`metadata.name`."""
    return str((obj.get("metadata") or {}).get("name", ""))


def annotation(obj: Manifest, key: str) -> str | None:
    """The value of an annotation, None when it is not there."""
    value = ((obj.get("metadata") or {}).get("annotations") or {}).get(key)
    return None if value is None else str(value)


def conditions_of(obj: Manifest) -> list[dict[str, Any]]:
    """`status.conditions`; the API server may answer null, a custom resource anything."""
    found = status_of(obj).get("conditions")
    return [c for c in found if isinstance(c, dict)] if isinstance(found, list) else []


def condition(obj: Manifest, kind: str) -> dict[str, Any] | None:
    """The first condition of a type."""
    return next((c for c in conditions_of(obj) if c.get("type") == kind), None)


def unobserved(obj: Manifest) -> bool:
    """True while the controller has not seen the newest generation; its status is about an older one."""
    generation: int = (obj.get("metadata") or {}).get("generation") or 0
    return generation > (status_of(obj).get("observedGeneration") or 0)


def observed_generation(obj: Manifest) -> int | None:
    """The generation that the status is about; None when the object does not say.

    Some controllers write it as text, some write a hash there, which says nothing.
    """
    value = status_of(obj).get("observedGeneration")
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def lagging(obj: Manifest, *, or_ahead: bool = False) -> Health | None:
    """Progressing while the object itself says that its status is about an older generation, in kstatus' words.

    With `or_ahead` about any other one, as kstatus has it.
    """
    generation, observed = (obj.get("metadata") or {}).get("generation"), observed_generation(obj)
    if observed is None or generation is None:
        return None
    if observed == generation or (observed > generation and not or_ahead):
        return None
    return progressing(
        f"{obj.get('kind')} generation is {generation}, but latest observed generation is {observed}"
    )


def option(obj: Manifest, name: str) -> str | None:
    """An annotation that people write for Argo CD (`argocd.argoproj.io/…`) or for us (`tidegate.dev/…`)."""
    ours = annotation(obj, f"tidegate.dev/{name}")
    return annotation(obj, f"argocd.argoproj.io/{name}") if ours is None else ours
