"""When a stage may change: weekdays and hours in a time zone, and the moment they open next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.domain.windows import is_open, next_opening, parse
from tidegate.spec import Window

WORK = Window(allow="Mon-Thu 08:00-16:00", zone="Europe/Berlin")
NIGHT = Window(deny="22:00-06:00", zone="Europe/Berlin")
WEEKEND = Window(deny="Sat-Sun 00:00-00:00")
SHORT = Window(allow="Wed 12:05-12:10")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "now", "opens"),
    [
        pytest.param((), "2026-03-04T12:00", "2026-03-04T12:00", id="no window is always open"),
        pytest.param((WORK,), "2026-03-04T12:00", "2026-03-04T12:00", id="inside"),
        pytest.param((WORK,), "2026-03-04T06:59", "2026-03-04T07:00", id="before, by the zone's clock"),
        pytest.param((WORK,), "2026-03-04T15:00", "2026-03-05T07:00", id="the end is outside"),
        pytest.param((WORK,), "2026-03-06T09:00", "2026-03-09T07:00", id="a Friday waits for Monday"),
        pytest.param((WORK,), "2026-03-27T09:00", "2026-03-30T06:00", id="clocks go forward in between"),
        pytest.param((NIGHT,), "2026-03-04T22:30", "2026-03-05T05:00", id="a night that crosses midnight"),
        pytest.param((NIGHT,), "2026-03-04T04:59", "2026-03-04T05:00", id="its second half"),
        pytest.param((WORK, NIGHT), "2026-03-04T02:00", "2026-03-04T07:00", id="deny and allow together"),
        pytest.param(
            (SHORT,), "2026-03-04T11:00", "2026-03-04T12:05", id="shorter than a quarter of an hour"
        ),
        pytest.param((SHORT,), "2026-03-04T12:10", "2026-03-11T12:05", id="just over, so next week"),
        pytest.param(
            (Window(allow="Sat 10:00-12:00"), WEEKEND), "2026-03-04T12:00", None, id="never: deny beats allow"
        ),
    ],
)
def test_the_next_opening(windows: tuple[Window, ...], now: str, opens: str | None) -> None:
    assert next_opening(windows, at(now)) == (at(opens) if opens else None)


def test_a_weekend_without_changes_is_over_on_monday() -> None:
    found = next_opening((WEEKEND,), at("2026-03-07T12:00"))
    assert found is not None
    assert (at("2026-03-09T00:00") - found).total_seconds() < 1


@settings(max_examples=40, deadline=None)
@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    windows=st.lists(st.sampled_from([WORK, NIGHT, WEEKEND, SHORT]), max_size=3),
)
def test_at_its_next_opening_it_is_open_and_at_no_moment_before(now: datetime, windows: list[Window]) -> None:
    found = next_opening(windows, now)
    assert found is None or (found >= now and is_open(windows, found))
    end = found or now + timedelta(days=13)
    moments = (now + timedelta(minutes=3 * n) for n in range(13 * 480))
    assert not any(is_open(windows, moment) for moment in moments if moment < end)


@pytest.mark.parametrize(
    "text", ["8:00-16:00", "Mon 08:00", "Montag 08:00-16:00", "Xyz 08:00-16:00", "Mon 25:00-26:00"]
)
def test_what_is_no_window_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"a (window|weekday) (looks like|is one of)|the hours of a day"):
        parse(text)
