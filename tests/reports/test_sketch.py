"""Histograms that are integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pointsman.reports.sketch import ERROR, LEAST_S, MOST, counts, one, packed, quantiles, unpacked

values = st.lists(st.floats(LEAST_S, 3_500.0), min_size=1, max_size=60)


@given(values)
def test_a_quantile_is_within_the_stated_error(seconds: list[float]) -> None:
    ascending = sorted(seconds)
    percents = (1, 50, 95, 100)
    for percent, found in zip(percents, quantiles(sum(map(one, seconds)), percents), strict=True):
        exact = ascending[max(-(-len(ascending) * percent // 100), 1) - 1]
        assert found is not None
        assert abs(found - exact) <= ERROR * exact * 1.000001 + 1e-9


@given(values, values)
def test_merging_is_adding(one_half: list[float], other: list[float]) -> None:
    parts = sum(map(one, one_half)), sum(map(one, other))
    whole = sum(map(one, [*one_half, *other]))
    assert sum(parts) == whole
    assert unpacked(packed(parts[0])) + unpacked(packed(parts[1])) == whole
    assert sum(count for _, count in counts(whole)) == len(one_half) + len(other)


def test_nothing_has_no_quantile_and_extremes_have_their_bins() -> None:
    assert quantiles(0, (50,)) == [None]
    assert packed(0) == b""
    assert unpacked(b"") == 0
    assert quantiles(one(0.0), (50,)) == [LEAST_S]
    [longest] = quantiles(one(1e9), (50,))
    assert longest is not None
    assert longest > 3_400


def test_more_than_a_bin_holds_is_not_told_wrongly() -> None:
    assert quantiles(one(1.0) * MOST, (50,)) != [None]
    assert quantiles(one(1.0) * MOST + one(2.0), (50,)) == [None]
