"""Periods cut into sums: nothing missing, nothing twice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InvalidRequest
from pointsman.reports.spans import begins, buckets, cut, joined, label, month_begins, month_of

moments = st.floats(0, 4e9) | st.integers(0, 1_111_111).map(lambda hour: hour * 3_600.0)


@given(moments, moments)
def test_a_periods_pieces_and_its_rest_are_the_period(one: float, two: float) -> None:
    since, until = sorted((one, two))
    found = cut(since, until)
    parts = sorted(
        [
            *(
                (begins(each.grain, each.first), begins(each.grain, each.end))
                for each in found.pieces
            ),
            *found.rest,
        ]
    )
    assert all(begin < end for begin, end in parts)
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    if since < until:
        assert (parts[0][0], parts[-1][1]) == (since, until)
    assert sum(end - begin for begin, end in found.rest) < 7_200
    assert len(found.pieces) <= 5


@given(moments, st.integers(0, 90))
def test_buckets_together_are_cut_as_each_alone(since: float, days: int) -> None:
    periods = buckets("day", "Europe/Berlin", since, since + days * 86_400)
    cuts = [cut(*each) for each in periods]
    together = joined(cuts)
    assert sum(each.end - each.first for each in together.pieces) == sum(
        each.end - each.first for one in cuts for each in one.pieces
    )
    assert together.rest == tuple(rest for one in cuts for rest in one.rest)


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
