"""The terminal: chapters, lines with a clock, one live line below. Plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_TERMINAL = 120


class Screen:
    """Calm output: what happened stays, what is happening is one line."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = WIDTH_WITHOUT_TERMINAL
        self._live: Live | None = None
        self._zero = time.monotonic()

    @property
    def is_live(self) -> bool:
        """Whether somebody may be looking."""
        return self.console.is_terminal

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """Show the live line while inside."""
        if not self.is_live:
            yield
            return
        with Live(Text(""), console=self.console, refresh_per_second=8, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def say(self, text: str = "") -> None:
        """One line, with markup."""
        self.console.print(text)

    def chapter(self, title: str, text: str = "") -> None:
        """A heading, and what it is about."""
        self.console.print(f"\n[bold]{escape(title)}[/bold]")
        if text:
            self.console.print(f"[dim]{escape(text)}[/dim]")
        self._zero = time.monotonic()

    def line(self, place: str, text: str, *, style: str = "", seconds: float | None = None) -> None:
        """Something that happened: a clock since the chapter's start (or as given), where, what."""
        passed = time.monotonic() - self._zero if seconds is None else seconds
        head = f"{clock(passed):>6}  {place:<11} "
        if not self.is_live:
            self.console.print(Text(head + text), soft_wrap=True)
            return
        row = Table.grid()
        row.add_column(width=len(head), no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(Text.assemble((head[:8], "dim"), (head[8:], "cyan")), Text(text, style=style))
        self.console.print(row)

    def status(self, text: str) -> None:
        """What is happening now; replaces the last status."""
        if self._live:
            spinner = Spinner("dots", Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
            self._live.update(spinner)

    def table(self, table: Table) -> None:
        """A finished table."""
        self.console.print(table)


def clock(seconds: float) -> str:
    """`1:07`"""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
