"""What is printed: tables that fit the terminal, colour only where somebody looks, JSON for machines."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

_PIPE_WIDTH = 10_000
"""Columns of what is not a terminal: no line is broken there."""


def colourful() -> bool:
    """Whether to use colour: a terminal that can, and nobody said no (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
    """The text in a colour, where colour is shown."""
    return click.style(text, fg=colour, bold=bold or None, dim=dim or None) if colourful() else text


def width() -> int:
    """Columns to use."""
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _PIPE_WIDTH


def print_json(value: Any) -> None:
    """JSON on stdout, indented, times in ISO 8601."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of a table with its colour."""

    text: str
    colour: str | None = None
    dim: bool = False


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> str:
    """Rows under headings; the last column takes what is left of the terminal and goes on below itself.

    Where too little is left for it, it stands on a line of its own below its row.
    """
    cells = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows]
    sizes = [max(len(h), *(len(r[i].text) for r in cells), 0) for i, h in enumerate(headings[:-1])]
    indent = sum(sizes) + 2 * len(sizes)
    below = width() - indent < 30
    if below:
        headings = [*headings[:-1], ""]
    lines = [
        "  ".join(paint(h.ljust(s), dim=True) for h, s in zip(headings, [*sizes, 0], strict=True)).rstrip()
    ]
    for row in cells:
        lines += _row(row, sizes, 2 if below else indent, below)
    return "\n".join(lines)


def _row(row: Sequence[Cell], sizes: Sequence[int], indent: int, below: bool) -> list[str]:
    start = "  ".join(paint(c.text.ljust(s), c.colour, dim=c.dim) for c, s in zip(row, sizes, strict=False))
    last = row[-1]
    wrapped = [
        paint(part, last.colour, dim=last.dim)
        for line in last.text.splitlines()
        for part in textwrap.wrap(line, max(20, width() - indent), break_on_hyphens=False) or [""]
    ]
    if below:
        return [start.rstrip(), *(" " * indent + part for part in wrapped)]
    first, *rest = wrapped or [""]
    return [f"{start}  {first}".rstrip(), *(" " * indent + part for part in rest)]


def diff(text: str) -> str:
    """A plan's text with its additions green and its removals red."""
    return "\n".join(_diff_line(line) for line in text.rstrip("\n").splitlines())


def _diff_line(line: str) -> str:
    match line.strip()[:1]:
        case "+":
            return paint(line, "green")
        case "-":
            return paint(line, "red")
        case "!":
            return paint(line, "yellow")
        case "@":
            return paint(line, "cyan")
    return line


def ago(then: datetime, now: datetime | None = None) -> str:
    """How long ago, in one unit: `40s`, `12m`, `3h`, `5d`."""
    seconds = max(0.0, ((now or datetime.now(UTC)) - then).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit != "m" and seconds >= size * 2):
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def count(number: int, noun: str) -> str:
    """`1 stage`, `2 stages`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
