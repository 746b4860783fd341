"""Complaints about data of a document, with the place in the file they are about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.errors import Problem
from tidegate.yaml_reader import Document

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with the value (or the key) at a path, and what helps."""

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False

    def placed(self, document: Document) -> Problem:
        """The complaint with file, line and column."""
        line, column = document.position(self.path, key=self.at_key)
        return Problem(document.source, line, column, self.message, self.hint)


def likely(word: str, known: Iterable[str], *, there: str) -> str:
    """`did you mean 'x'?` when one is near, else `there` with all that are known."""
    words = sorted(set(known))
    lower = {w.lower(): w for w in words}
    near = [w for w in lower if len(word) > 1 and w.startswith(word.lower())]
    near = near[:1] if len(near) == 1 else difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{lower[near[0]]}'?"
    return f"{there} {', '.join(words)}" if words else ""
