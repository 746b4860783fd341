"""When a stage may change: windows like `Mon-Thu 08:00-16:00` in a time zone; deny beats allow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tidegate.spec import Window

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TEXT = re.compile(
    r"(?:(?P<from>[A-Z][a-z]{2})(?:-(?P<to>[A-Z][a-z]{2}))?\s+)?(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """A window's text, understood: weekdays (0 = Monday) and the hours of the day, end not included."""

    days: frozenset[int]
    begin: time
    end: time

    def contains(self, moment: datetime) -> bool:
        """Whether a local time lies inside; hours up to or past midnight belong to the day they begin on."""
        at, day = moment.time(), moment.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= at < self.end
        return (day in self.days and at >= self.begin) or ((day - 1) % 7 in self.days and at < self.end)


def parse(text: str) -> Hours:
    """`Mon-Thu 08:00-16:00`, `Sat 10:00-12:00`, `22:00-06:00` (every day); `ValueError` for anything else."""
    match = _TEXT.fullmatch(text.strip())
    if not match:
        raise ValueError(f"a window looks like 'Mon-Thu 08:00-16:00', not {text!r}")
    first, last = match["from"], match["to"] or match["from"]
    for day in filter(None, (first, last)):
        if day not in DAYS:
            raise ValueError(f"a weekday is one of {', '.join(DAYS)}, not {day!r}")
    days = range(7)
    if first and last:
        start, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7 + 1
        days = range(start, start + length)
    try:
        begin = time.fromisoformat(match["begin"])
        end = time.fromisoformat(match["end"].replace("24:00", "00:00"))
    except ValueError:
        raise ValueError(f"the hours of a day are 00:00 to 24:00, not {text!r}") from None
    return Hours(frozenset(d % 7 for d in days), begin, end)


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Whether a change may start: no `deny` holds, and some `allow` does (or there is none)."""
    denied = any(w.deny and parse(w.deny).contains(now.astimezone(ZoneInfo(w.zone))) for w in windows)
    allows = [w for w in windows if w.allow]
    allowed = any(parse(w.allow or "").contains(now.astimezone(ZoneInfo(w.zone))) for w in allows)
    return not denied and (allowed or not allows)


def next_opening(windows: Sequence[Window], now: datetime) -> datetime | None:
    """The first moment from now at which a change may start; None if there is none within two weeks."""
    if is_open(windows, now):
        return now
    moments = sorted({moment for window in windows for moment in _edges(window, now) if moment > now})
    return next((moment for moment in moments if is_open(windows, moment)), None)


def _edges(window: Window, now: datetime) -> Iterator[datetime]:
    """When an allowing window begins, or a denying one ends, on each of the days around the next two weeks."""
    zone = ZoneInfo(window.zone)
    today = now.astimezone(zone).date()
    edges = [parse(window.allow).begin] if window.allow else []
    edges += [parse(window.deny).end] if window.deny else []
    for number in range(-1, 15):
        for edge in edges:
            yield datetime.combine(today + timedelta(days=number), edge, zone).astimezone(UTC)
