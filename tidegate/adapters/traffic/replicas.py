"""Traffic by replica counts: needs nothing but the Service that already spreads connections over ready pods."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.manifests import Manifest
from tidegate.domain.rollout import Canary, canary_phase, finish_phase
from tidegate.spec import Strict


class Settings(Strict):
    """Nothing to set."""


class Replicas:
    """Says what should be in the cluster while a canary has a weight, and while the new version takes over."""

    def canary(
        self, last_good: Sequence[Manifest], new: Sequence[Manifest], canary: Canary
    ) -> list[Manifest]:
        """The stable workloads as they are, and a canary beside each that changes."""
        return canary_phase(last_good, new, canary)

    def finish(
        self, last_good: Sequence[Manifest], new: Sequence[Manifest], canary: Canary
    ) -> list[Manifest]:
        """The new tree, with the canaries still serving."""
        return finish_phase(last_good, new, canary)


def build(settings: Settings) -> Replicas:
    """The plug-in."""
    return Replicas()
