"""What must be true of a stage once it is healthy. One module per kind."""

from __future__ import annotations

from typing import Protocol

from tidegate.adapters.targets import Target
from tidegate.domain.health import Health


class Check(Protocol):
    """One question to what was just deployed."""

    def verify(self, target: Target) -> Health:
        """Healthy, or Degraded with the sentence that says what was seen."""
        ...
