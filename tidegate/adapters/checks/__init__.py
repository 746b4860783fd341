"""What must be true of a stage once it is healthy. One module per kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tidegate.domain.health import Health

if TYPE_CHECKING:
    from tidegate.adapters.targets import Target


class Check(Protocol):
    """One question to what was just deployed."""

    def verify(self, target: Target) -> Health:
        """Healthy, or Degraded with the sentence that says what was seen."""
        ...
