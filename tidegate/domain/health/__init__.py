"""Is it well? One answer per object, in Argo CD's words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
