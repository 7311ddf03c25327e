"""Periods cut into sums: nothing missing, nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InvalidRequest
from pointsman.reports.spans import (
    Piece,
    begins,
    buckets,
    cut,
    label,
    month_begins,
    month_of,
    planned,
)

moments = st.floats(0, 4e9) | st.integers(0, 1_111_111).map(lambda hour: hour * 3_600.0)


def hours_of(pieces: tuple[Piece, ...]) -> dict[int, int]:
    """How often each hour is counted."""
    found: dict[int, int] = {}
    for piece in pieces:
        begin, end = begins(piece.grain, piece.first), begins(piece.grain, piece.end)
        for hour in range(int(begin // 3_600), int(end // 3_600)):
            found[hour] = found.get(hour, 0) + piece.sign
    return {hour: count for hour, count in found.items() if count}


@given(
    moments, st.floats(0, 90 * 86_400) | st.integers(0, 2_000).map(lambda hours: hours * 3_600.0)
)
def test_a_periods_pieces_and_its_rest_are_the_period(since: float, length: float) -> None:
    until = since + length
    found = cut(since, until)
    first, end = int(-(-since // 3_600)), int(until // 3_600)
    assert hours_of(found.pieces) == dict.fromkeys(range(first, end), 1)
    assert sum(end - begin for begin, end in found.rest) < 7_200
    if first <= end and since < until:
        edges = [(since, first * 3_600.0), (end * 3_600.0, until)]
        assert list(found.rest) == [each for each in edges if each[0] < each[1]]
    assert len(found.pieces) <= 5
    # Never more than half of a day's hours, or about half of a month's days, at either end.
    assert sum(each.end - each.first for each in found.pieces if each.grain == 0) <= 36
    assert sum(each.end - each.first for each in found.pieces if each.grain == 1) <= 48


@pytest.mark.slow
@given(moments, st.integers(0, 90), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]))
def test_what_is_read_together_is_what_each_day_is(since: float, days: int, zone: str) -> None:
    periods = buckets("day", zone, since, since + days * 86_400)
    shares, rest = planned(periods)
    assert rest == [each for period in periods for each in cut(*period).rest]
    for begin, end in periods:
        own = [share.piece for share in shares if share.period == begin]
        together = {
            hour: 1
            for hour in hours_of(tuple(share.piece for share in shares if share.period is None))
            if begin <= hour * 3_600 < end
        }
        for hour, count in hours_of(tuple(own)).items():
            together[hour] = together.get(hour, 0) + count
        expected = range(int(-(-begin // 3_600)), int(end // 3_600))
        assert {hour: n for hour, n in together.items() if n} == dict.fromkeys(expected, 1)


@pytest.mark.parametrize("month", [1970 * 12, 2024 * 12 + 1, 2026 * 12 + 11, 9999 * 12])
def test_months_begin_on_their_first_day(month: int) -> None:
    assert month_of(month_begins(month)) == month
    assert month_of(month_begins(month) + 27) == month


def test_too_many_lines_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="shorter period"):
        buckets("hour", "UTC", 0.0, 4e9)


def test_a_period_is_called_as_its_clock_says() -> None:
    new_year = 1_767_225_600.0
    assert label("hour", "UTC", new_year + 1) == "2026-01-01T00:00Z"
    assert label("hour", "Asia/Kolkata", new_year) == "2026-01-01T05:00+05:30"
    assert label("month", "America/New_York", new_year) == "2025-12"
