"""The moves that can come next for a stage: values that say what to do and why, made by whoever holds the stage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidegate.domain.gate import Verdict
from tidegate.domain.release import Release


class Reason(StrEnum):
    """What a hold waits for."""

    Release = "release"
    Soak = "soak"
    Window = "window"
    Approval = "approval"
    Step = "step"
    Gate = "gate"
    Commit = "commit"
    """A commit that puts the config repository right."""
    Person = "person"
    """Somebody has to look: failed, inconclusive, or history was rewritten."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing to do."""

    message: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Write the release into the stage's folder of the config repository."""

    release: Release
    message: str


@dataclass(frozen=True, slots=True)
class Render:
    """Commit what the config repository now says to the rendered branch: the new intent."""

    message: str


@dataclass(frozen=True, slots=True)
class Deploy:
    """Apply the intent as it is, wait for health, verify, record."""

    message: str
    on_trial: bool = False
    """Whether it is good only when the gate has said so afterwards: a first release, with thresholds."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove the canary of an earlier intent: the next one is judged by its own pods alone."""

    message: str


@dataclass(frozen=True, slots=True)
class Shift:
    """Give the canary this share of the replicas, in percent."""

    weight: int
    message: str
    fresh: bool = False
    """Start a new canary instead of going on with the running one."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The stable workload takes the new version; then the canary goes."""

    message: str
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class RollBack:
    """Restore the last good tree in Git and cluster, and hold the release."""

    message: str
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now: for this, and if known until then."""

    message: str
    reason: Reason
    until: datetime | None = None
    key: str = ""
    """What an approval names to lift it; empty when time or events lift it."""


Move = Settled | Promote | Render | Deploy | Clear | Shift | Finish | RollBack | Hold
