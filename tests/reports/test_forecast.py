"""Trends and forecasts, measured on series whose truth is known."""

from __future__ import annotations

import math
import random

import pytest

from pointsman.reports.forecast import exhaustion, forecast
from pointsman.reports.season import changes, decomposed

WEEK = (1.0, 1.1, 1.2, 1.1, 1.0, 0.4, 0.3)


def spending(
    draw: random.Random, days: int, noise: float, growth: float = 0.0, outliers: float = 0.0
) -> list[float]:
    """Dollars a day with a week's season, growth by the day and noise that multiplies."""
    return [
        100
        * WEEK[day % 7]
        * math.exp(growth * day + draw.gauss(0, noise))
        * (5 if draw.random() < outliers else 1)
        for day in range(days)
    ]


def test_the_week_is_found() -> None:
    parts = decomposed(spending(random.Random(1), 70, 0.05, outliers=0.03), 7)
    truth = [math.log(each) for each in WEEK]
    middle = sum(truth) / 7
    for found, real in zip(parts.season, truth, strict=True):
        assert found == pytest.approx(real - middle, abs=0.1)


@pytest.mark.parametrize("days", [0, 1, 5, 13])
def test_too_short_a_series_has_no_season_and_is_no_error(days: int) -> None:
    assert decomposed([1.0] * days, 7).season == ()
    assert changes(decomposed([1.0] * days, 7)) == []


def test_a_doubling_is_found_where_it_was() -> None:
    hits = 0
    for seed in range(40):
        series = spending(random.Random(seed), 84, 0.1)
        series[50:] = [2 * value for value in series[50:]]
        found = changes(decomposed(series, 7))
        hits += any(abs(each.place - 50) <= 1 for each in found)
    assert hits >= 38


def test_where_nothing_changed_a_change_is_seldom_seen() -> None:
    seen = sum(
        bool(changes(decomposed(spending(random.Random(seed), 84, 0.2), 7))) for seed in range(150)
    )
    assert seen <= 6


def test_a_change_after_constant_costs_is_found() -> None:
    [change] = changes(decomposed([5.0] * 20 + [6.0] * 20, 1))
    assert change.place == 20
    assert (change.before, change.after) == pytest.approx((5.0, 6.0))
    assert changes(decomposed([5.0] * 40, 7)) == []
    assert changes(decomposed([0.0] * 40, 7)) == []


KINDS = {
    "calm": {"noise": 0.1},
    "wild": {"noise": 0.5},
    "growing": {"noise": 0.15, "growth": 0.01},
    "with outliers": {"noise": 0.15, "outliers": 0.03},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_the_truth_about_as_often_as_they_say(kind: str) -> None:
    """80 % of days and of two-week totals, over 120 series of ten weeks each."""
    ahead, days, inside, totals = 14, 0, 0, 0
    for seed in range(120):
        series = spending(random.Random(seed), 70 + ahead, **KINDS[kind])
        found = forecast(series[:70], 7, ahead, share=0.8, seed=seed)
        assert found is not None
        for truth, step in zip(series[70:], found.steps, strict=True):
            days += 1
            inside += step.low <= truth <= step.high
        totals += found.total.low <= sum(series[70:]) <= found.total.high
    print(kind, inside / days, totals / 120)
    assert 0.74 <= inside / days <= 0.92
    assert 0.62 <= totals / 120 <= 0.95


def test_the_same_series_gives_the_same_forecast() -> None:
    series = spending(random.Random(3), 40, 0.2)
    assert forecast(series, 7, 10) == forecast(series, 7, 10)


@pytest.mark.parametrize("series", [[0.0] * 30, [0.0] * 29 + [5.0], [7.0] * 30, [1e15] * 12])
def test_odd_series_are_foretold_without_error(series: list[float]) -> None:
    found = forecast(series, 7, 5)
    assert found is not None
    assert all(0 <= step.low <= step.middle <= step.high < math.inf for step in found.steps)
    if len(set(series)) == 1:
        assert found.steps[0].middle == pytest.approx(series[0])


def test_too_little_is_not_foretold() -> None:
    assert forecast([1.0] * 5, 7, 5) is None
    assert forecast([1.0] * 50, 7, 0) is None


def test_a_budget_is_used_up_when_its_spending_says() -> None:
    coming = forecast([10.0] * 30, 7, 30)
    assert coming is not None
    found = exhaustion(105.0, coming)
    assert found.likelihood == 1.0
    assert found.middle == pytest.approx(10.5)
    assert exhaustion(0.0, coming).late == 0.0
    assert exhaustion(301.0, coming) == exhaustion(10.0**9, coming)
    assert exhaustion(301.0, coming).middle is None


@pytest.mark.slow
def test_the_time_to_exhaustion_holds_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(120):
        series = spending(random.Random(seed), 100, 0.3)
        coming = forecast(series[:70], 7, 30, seed=seed)
        assert coming is not None
        left = 1_000.0
        found = exhaustion(left, coming)
        truth, spent = 0.0, 0.0
        for day, value in enumerate(series[70:]):
            if spent + value >= left:
                truth = day + (left - spent) / value
                break
            spent += value
        early = found.early if found.early is not None else math.inf
        late = found.late if found.late is not None else math.inf
        inside += early <= truth <= late
    print("exhaustion", inside / 120)
    assert 0.65 <= inside / 120 <= 0.95
