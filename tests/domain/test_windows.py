"""Windows of budgets: where they begin and end, when clocks change and when they do not."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.windows import FOREVER, LENGTHS, PERIODS, SLICES, Period, Window

HOUR = 3600.0


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-03-30", 24), ("2026-10-25", 25)]
)
def test_a_day_in_berlin_is_as_long_as_the_calendar_says(day: str, hours: int) -> None:
    window = Window("day", timezone="Europe/Berlin")
    start, until = window.slice_at(at(f"{day} 12:00", "Europe/Berlin"))
    assert start == at(f"{day} 00:00", "Europe/Berlin")
    assert until - start == hours * HOUR


def test_both_hours_that_autumn_repeats_are_of_one_day() -> None:
    window = Window("day", timezone="Europe/Berlin")
    first = at("2026-10-25 02:30", "Europe/Berlin", fold=0)
    second = at("2026-10-25 02:30", "Europe/Berlin", fold=1)
    assert second - first == HOUR
    assert window.slice_at(first) == window.slice_at(second)


def test_the_hour_that_autumn_repeats_is_two_windows() -> None:
    window = Window("hour", timezone="Europe/Berlin")
    first = at("2026-10-25 02:30", "Europe/Berlin", fold=0)
    start, until = window.slice_at(first)
    assert until - start == HOUR
    assert window.slice_at(first + HOUR) == (start + HOUR, until + HOUR)


def test_a_half_hour_of_summer_time_moves_the_hours() -> None:
    """Lord Howe Island turns its clocks by half an hour: +10:30 and +11:00."""
    day = Window("day", timezone="Australia/Lord_Howe")
    start, until = day.slice_at(at("2026-04-05 12:00", "Australia/Lord_Howe"))
    assert until - start == 24.5 * HOUR
    start, until = day.slice_at(at("2026-10-04 12:00", "Australia/Lord_Howe"))
    assert until - start == 23.5 * HOUR
    hour = Window("hour", timezone="Australia/Lord_Howe")
    assert utc(hour.slice_at(at("2026-07-01 12:10", "Australia/Lord_Howe"))[0]).endswith(":30")
    assert utc(hour.slice_at(at("2026-01-01 12:10", "Australia/Lord_Howe"))[0]).endswith(":00")


def test_where_midnight_does_not_exist_the_day_begins_at_the_jump() -> None:
    """Sao Paulo, 4 November 2018: from 23:59:59 to 01:00."""
    window = Window("day", timezone="America/Sao_Paulo")
    noon = at("2018-11-04 12:00", "America/Sao_Paulo")
    start, until = window.slice_at(noon)
    assert utc(start) == "2018-11-04 03:00"
    assert until - start == 23 * HOUR
    assert window.slice_at(start - 1)[1] == start


def test_where_midnight_comes_twice_the_day_begins_with_the_first() -> None:
    """Havana, 1 November 2026: at 01:00 back to 00:00."""
    window = Window("day", timezone="America/Havana")
    noon = at("2026-11-01 12:00", "America/Havana")
    start, until = window.slice_at(noon)
    assert start == at("2026-11-01 00:00", "America/Havana", fold=0)
    assert until - start == 25 * HOUR
    assert window.slice_at(at("2026-11-01 00:30", "America/Havana", fold=1))[0] == start


def test_hours_in_kolkata_begin_at_half_past_in_utc() -> None:
    window = Window("hour", timezone="Asia/Kolkata")
    start, until = window.slice_at(at("2026-05-01 10:20", "Asia/Kolkata"))
    assert utc(start) == "2026-05-01 04:30"
    assert until - start == HOUR


@pytest.mark.parametrize(
    ("moment", "start", "until"),
    [
        ("2026-02-10 05:00", "2026-02-01", "2026-03-01"),
        ("2028-02-29 23:59", "2028-02-01", "2028-03-01"),
        ("2026-12-31 23:59", "2026-12-01", "2027-01-01"),
    ],
)
def test_months_are_of_the_calendar(moment: str, start: str, until: str) -> None:
    assert Window("month").slice_at(at(moment)) == (at(start), at(until))


def test_weeks_begin_on_monday() -> None:
    start, until = Window("week").slice_at(at("2026-11-22 23:59"))
    assert (utc(start), utc(until)) == ("2026-11-16 00:00", "2026-11-23 00:00")


def test_total_never_ends() -> None:
    assert Window("total").slice_at(1.0) == (0.0, FOREVER)
    assert Window("total", rolling=True).since(1e9) == 0.0


MOMENTS = st.floats(min_value=0, max_value=4e9)
ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "America/Havana",
        "Asia/Kolkata",
        "Pacific/Apia",
        "Africa/Casablanca",
    ]
)


@given(MOMENTS, st.sampled_from(PERIODS), st.booleans(), ZONES)
def test_every_moment_is_in_its_slice_and_slices_meet(
    now: float, period: Period, rolling: bool, zone: str
) -> None:
    window = Window(period, rolling, zone)
    start, until = window.slice_at(now)
    assert start <= now < until
    assert window.slice_at(start) == (start, until)
    if period != "total":
        assert window.slice_at(until)[0] == until
    assert window.since(now) <= start


@given(st.integers(0, 4_000_000_000), st.sampled_from([*LENGTHS]), st.integers(0, 4_000_000))
def test_a_rolling_window_never_frees_early(now: int, period: Period, later: int) -> None:
    """What was spent counts for the window's length at least, and a slice more at most."""
    window = Window(period, rolling=True)
    start = window.slice_at(now)[0]
    counts = start >= window.since(now + later)
    length = LENGTHS[period]
    if later < length:
        assert counts
    if later >= length + 2 * length / SLICES:
        assert not counts
