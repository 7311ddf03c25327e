"""Which hours of the week are expected to have traffic."""

from __future__ import annotations

from pointsman.providers.habits import FORGET_S, WEEK_S, Habits

MONDAY_NINE = 9
TUESDAY_NINE = 24 + 9
NOW = 1_700_000_000.0


def test_an_hour_with_traffic_last_week_is_expected_again() -> None:
    habits = Habits()
    habits.observe("m", MONDAY_NINE, 2, NOW)
    later = NOW + WEEK_S
    assert habits.expects("m", MONDAY_NINE, later)
    assert not habits.expects("m", MONDAY_NINE + 1, later)
    assert not habits.expects("m", TUESDAY_NINE, later)
    assert not habits.expects("other", MONDAY_NINE, later)


def test_a_single_request_makes_no_habit_but_two_weeks_of_them_do() -> None:
    habits = Habits()
    habits.observe("m", MONDAY_NINE, 1, NOW)
    assert not habits.expects("m", MONDAY_NINE, NOW + WEEK_S)
    habits.observe("m", MONDAY_NINE, 1, NOW + WEEK_S)
    assert habits.expects("m", MONDAY_NINE, NOW + 2 * WEEK_S)


def test_within_the_first_week_the_same_hour_of_any_day_counts() -> None:
    habits = Habits()
    habits.observe("m", MONDAY_NINE, 2, NOW)
    assert habits.expects("m", TUESDAY_NINE, NOW + 24 * 3600)
    assert not habits.expects("m", TUESDAY_NINE + 1, NOW + 24 * 3600)
    assert not habits.expects("m", TUESDAY_NINE, NOW + WEEK_S + 24 * 3600)


def test_habits_are_forgotten() -> None:
    habits = Habits()
    habits.observe("m", MONDAY_NINE, 50, NOW)
    assert habits.expects("m", MONDAY_NINE, NOW + 3 * FORGET_S)
    assert not habits.expects("m", MONDAY_NINE, NOW + 4 * FORGET_S)


def test_the_order_of_telling_makes_no_difference() -> None:
    one, other = Habits(), Habits()
    told = [(NOW, 1.0), (NOW + WEEK_S, 0.4), (NOW + 3 * WEEK_S, 0.3)]
    for wall, count in told:
        one.observe("m", MONDAY_NINE, count, wall)
    for wall, count in reversed(told):
        other.observe("m", MONDAY_NINE, count, wall)
    for week in range(3, 12):
        wall = NOW + week * WEEK_S
        assert one.expects("m", 9, wall) == other.expects("m", 9, wall)
