"""What the visitors got, counted from their log as it grows."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from tidegate.demo.visitor import Answer


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of answers."""

    total: int = 0
    hurt: int = 0
    """Failed by the service, or never answered."""
    wrong: int = 0
    """Answered, but with another digit."""


def tally(answers: list[Answer]) -> Tally:
    """Count."""
    return Tally(
        total=len(answers),
        hurt=sum(answer.hurt for answer in answers),
        wrong=sum(answer.code == 200 and not answer.right for answer in answers),
    )


class Answers:
    """The visitors' log, read on from where it was last read."""

    def __init__(self, log: Path) -> None:
        self._log, self._offset = log, 0
        self.all: list[Answer] = []

    def refresh(self) -> None:
        """Read what is new; a line half written waits for the next time."""
        if not self._log.exists():
            return
        with self._log.open("rb") as lines:
            lines.seek(self._offset)
            whole, newline, _ = lines.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        self.all += [Answer(**json.loads(line)) for line in whole.splitlines()]

    def between(self, start: float, end: float) -> list[Answer]:
        """Answers to requests sent in `[start, end)`, seconds since the epoch."""
        return [answer for answer in self.all if start <= answer.at < end]

    def lately(self, seconds: float = 5.0) -> Tally:
        """Counts of the last few seconds."""
        now = time.time()
        recent = [answer for answer in self.all[-1000:] if answer.at >= now - seconds]
        return tally(recent)
