"""Commits as values, read from `git log` in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

FORMAT = "%x00".join(("%H", "%P", "%ct", "%an <%ae>", "%s", "%b", "%(trailers:only=true,unfold=true)"))
_FIELDS = 7


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as people and the ledger need it."""

    sha: str
    parents: tuple[str, ...]
    time: datetime
    """When it was committed, in UTC."""
    author: str
    """`Name <address>`"""
    subject: str
    body: str
    """Without the trailers."""
    trailers: Mapping[str, str]
    """The last value wins where a key is repeated."""


def parse(output: bytes) -> Iterator[Commit]:
    """What `git log -z --format=FORMAT` wrote, newest first."""
    parts = output.decode(errors="replace").split("\0")
    for start in range(0, len(parts) - _FIELDS + 1, _FIELDS):
        sha, parents, time, author, subject, body, block = parts[start : start + _FIELDS]
        yield Commit(
            sha=sha.strip(),
            parents=tuple(parents.split()),
            time=datetime.fromtimestamp(int(time), UTC),
            author=author,
            subject=subject,
            body=_without(body, block),
            trailers=_trailers(block.splitlines()),
        )


def _trailers(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _without(body: str, block: str) -> str:
    body = body.rstrip()
    if not block.strip():
        return body
    paragraphs = body.split("\n\n")
    return "\n\n".join(paragraphs[:-1]).rstrip()


def message(subject: str, body: str, trailers: Mapping[str, str]) -> str:
    """A commit message whose last paragraph are the trailers; line breaks cannot smuggle others in."""
    parts = [_line(subject) or "update", body.strip()]
    parts.append("\n".join(f"{_line(key)}: {_line(value)}" for key, value in trailers.items() if value))
    return "\n\n".join(part for part in parts if part).replace("\0", "") + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())
