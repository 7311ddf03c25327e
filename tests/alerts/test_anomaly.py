"""Spending out of the ordinary: found where it is, and not where it is not."""

from __future__ import annotations

import math

import pytest
from tests.alerts.conftest import NOW, USD, entry

from bench import anomaly as bench
from pointsman.alerts.anomaly import Oddity, Series
from pointsman.alerts.spending import MOST_SERIES, Local, Spending, Who
from pointsman.config.settings_money import AnomalySettings

LEAST = 100_000_000


def course(*usd: float, start: float = NOW) -> list[Oddity | None]:
    series = Series(300.0, LEAST)
    return [series.add(start + at * 300, round(each * USD), LEAST) for at, each in enumerate(usd)]


def test_a_spike_after_constant_costs_is_found() -> None:
    """Their standard deviation is 0."""
    found = course(*[0.01] * 50, 20.0)
    assert found[:-1] == [None] * 50
    assert found[-1] is not None
    assert found[-1].shape == "spike"
    assert found[-1].expected_nano == pytest.approx(0.01 * USD, rel=1e-3)


@pytest.mark.parametrize("factor", [1.01, 1.05, 1.2])
def test_a_small_change_of_constant_costs_is_not_told(factor: float) -> None:
    assert not any(course(*[100.0] * 50, *[100.0 * factor] * 30))


def test_what_is_odd_but_not_worth_a_word_is_not_told() -> None:
    assert not any(course(*[0.001] * 50, 0.09))


def test_less_is_never_odd() -> None:
    assert not any(course(*[5.0] * 50, *[0.1] * 30))


def test_nothing_is_judged_before_there_is_something_to_judge_by() -> None:
    assert not any(course(*[0.01] * 5, 50.0))


def test_a_level_that_stays_becomes_normal() -> None:
    found = course(*[1.0] * 100, *[3.0] * 150)
    assert any(found[100:106])
    assert not any(found[-60:])


def test_a_night_job_is_expected_from_the_third_night_on() -> None:
    day = [0.5] * 24 + [20.0] * 12 + [0.5] * 252
    midnight = NOW // 86_400 * 86_400
    found = course(*day * 5, start=midnight)
    assert any(found[:288])
    assert not any(found[2 * 288 :])


def test_hostile_amounts_harm_nobody() -> None:
    found = course(*[0.0] * 30, 9e9, -5.0, *[0.0] * 30)
    assert found[30] is not None
    assert all(each is None or math.isfinite(each.scales) for each in found)


@pytest.mark.slow
def test_precision_and_recall_on_made_up_faults() -> None:
    """The short form of `python -m bench.anomaly`; the floors are below what it prints."""
    hard, easy = bench.Score(), bench.Score()
    for name, shape in bench.SHAPES.items():
        for what, fault in bench.FAULTS.items():
            score = bench.measure(shape, fault, seed=7, warm=2 * bench.WEEK, end=bench.WEEK)
            is_hard = name == "few, dear" or what == "spike x4"
            (hard if is_hard else easy).add(score)
    assert easy.recall >= 0.9
    assert hard.recall >= 0.3
    assert (easy.found + hard.found) / (easy.found + easy.false + hard.found + hard.false) >= 0.9


# By whom.


def test_each_dimension_and_tenant_has_a_series_of_its_own() -> None:
    settings = AnomalySettings(by=("key",))
    spending = Spending(settings)
    for number in range(40):
        sums: dict[Who, int] = {("key", "a", "k"): USD, ("key", "b", "k"): USD}
        assert spending.judge(number, sums) == []
    alerts = spending.judge(40, {("key", "a", "k"): 30 * USD, ("key", "b", "k"): USD})
    assert [(each.tenant, each.facts["value"]) for each in alerts] == [("a", "k")]
    assert "$30.00" in alerts[0].text


def test_who_spends_nothing_has_spent_nothing_and_memory_is_bounded() -> None:
    spending = Spending(AnomalySettings(by=("user",)))
    for number in range(3):
        sums: dict[Who, int] = {("user", None, f"{number}-{n}"): USD for n in range(MOST_SERIES)}
        spending.judge(number, sums)
    assert repr(spending) == f"Spending({MOST_SERIES} series, 0 odd)"


def test_buckets_are_judged_once_when_they_are_over() -> None:
    spending = Spending(AnomalySettings(every_s=300.0))
    assert spending.due(3_000.0) == 8  # the bucket that ended just now has five seconds more
    assert spending.due(3_005.0) == 9
    spending.judge(9, {})
    assert spending.due(3_299.0) is None
    assert spending.due(3_305.0) == 10


def test_entries_are_summed_by_what_they_are_of() -> None:
    local = Local(("key", "tenant", "model", "route"), 300.0)
    local.add(entry(1_500.0, 7))
    local.add(entry(1_799.0, 8))
    local.add(entry(1_800.0, 100))
    assert local.take(5) == {
        ("key", "north", "k"): 15,
        ("tenant", "north", "north"): 15,
        ("model", None, "small"): 15,
        ("route", None, "auto"): 15,
    }
    assert local.take(5) == {}
    assert local.take(6)["key", "north", "k"] == 100
