"""Thresholds, burn rate and forecast: what is said of how an account stands."""

from __future__ import annotations

import pytest
from tests.alerts.conftest import BUDGET, NOW, USD, stands

from pointsman.alerts.accounts import Stands
from pointsman.alerts.alert import Alert
from pointsman.alerts.pace import Pace
from pointsman.alerts.thresholds import amount_at, reached, tenant_of
from pointsman.domain.budgets import Budget, Scope
from pointsman.domain.windows import Window

DAY = 86_400.0


def told(alerts: list[Alert]) -> list[float]:
    return [float(each.facts["threshold"] or 0) for each in alerts if not each.is_quiet]


@pytest.mark.parametrize(
    ("usd", "expected", "quiet"),
    [
        (49.999999999, [], 0),
        (50, [0.5], 0),
        (79.99, [0.5], 0),
        (80, [0.8], 1),
        (99.9, [0.8], 1),
        (100, [1.0], 2),
        (250, [1.0], 2),
    ],
)
def test_the_highest_threshold_is_told_and_those_below_are_noted(
    usd: float, expected: list[float], quiet: int
) -> None:
    alerts = reached(stands(usd), NOW)
    assert told(alerts) == expected
    assert sum(each.is_quiet for each in alerts) == quiet


def test_a_budget_that_refuses_is_used_up_though_not_to_the_last_cent() -> None:
    alerts = reached(stands(99.7), NOW, is_refused=True)
    assert told(alerts) == [1.0]
    assert alerts[-1].severity == "critical"
    assert "refused" in alerts[-1].text


def test_one_request_that_is_too_large_uses_up_no_threshold() -> None:
    """Else anybody could have the thresholds of a whole month count as told."""
    early = reached(stands(1), NOW, is_refused=True)
    assert [(each.severity, each.facts["threshold"]) for each in early] == [("warning", None)]
    assert "refused" in early[0].text
    later = reached(stands(85), NOW, is_refused=True)
    assert [each.key for each in later].count(early[0].key) == 1
    assert told(later) == [0, 0.8]
    assert early[0].key not in [each.key for each in reached(stands(99.7), NOW, is_refused=True)]


def test_a_window_that_is_over_says_nothing_more() -> None:
    late = stands(100)
    assert reached(late, late.until) == []


def test_each_window_is_told_anew_and_a_rolling_one_once_a_length() -> None:
    first = reached(stands(80), NOW)[-1]
    later = reached(stands(80, now=NOW + 31 * DAY), NOW + 31 * DAY)[-1]
    assert first.key != later.key
    rolling = Budget("day", "everyone", 100 * USD, window=Window("day", rolling=True))
    before = reached(stands(80, rolling, ""), NOW)[-1]
    after = reached(stands(80, rolling, "", NOW + 7200), NOW + 7200)[-1]
    assert before.key == after.key
    assert before.stands_s == DAY


def test_thresholds_are_exact_and_never_early() -> None:
    assert amount_at(0.8, 1_000) == 800
    assert amount_at(0.1, 3) == 1
    assert amount_at(0.8, 2**60 + 1) == (2**60 + 1) * 4 // 5 + 1


@pytest.mark.parametrize(
    ("scope", "subject", "tenant"),
    [
        ("team", "north/web", "north"),
        ("key", "a%2Fb/k", "a/b"),
        ("key", "k", None),
        ("tenant", "north", "north"),
        ("model", "acme/small", None),
        ("everyone", "", None),
    ],
)
def test_an_alert_belongs_to_the_tenant_of_its_account(
    scope: Scope, subject: str, tenant: str | None
) -> None:
    assert tenant_of(Budget("b", scope, 1), subject) == tenant
    assert tenant_of(Budget("b", scope, 1, tenant="own"), subject) == "own"


# Pace.


class Course:
    """An account of $100 a month, from the beginning of a window."""

    def __init__(self, budget: Budget = BUDGET) -> None:
        self.budget = budget
        self.pace = Pace()
        self.now = budget.window.slice_at(NOW)[0]
        self.usd = 0.0

    def spend(self, usd: float, over_s: float, step_s: float = 60.0) -> Stands:
        for _ in range(int(over_s / step_s)):
            self.now += step_s
            self.usd += usd * step_s / over_s
            now = stands(self.usd, self.budget, now=self.now)
            self.pace.see(now, self.now)
        return now

    def burning(self, now: Stands) -> bool:
        return self.pace.burning(now, 6.0, self.now) is not None

    def forecast(self, now: Stands) -> Alert | None:
        return self.pace.forecast(now, self.now)


def test_spending_at_the_allowed_speed_burns_nothing() -> None:
    course = Course()
    assert not course.burning(course.spend(100 * 2 / 720, over_s=7_200))  # 1/720 of it an hour


def test_seven_times_the_allowed_speed_is_told_while_it_lasts() -> None:
    course = Course()
    course.spend(0.14, over_s=7_200)
    assert course.burning(course.spend(7 * 100 / 720, over_s=3_600))
    assert not course.burning(course.spend(0.01, over_s=600))  # the five minutes are good again


def test_a_short_burst_is_no_burn_rate() -> None:
    course = Course()
    course.spend(0.14, over_s=7_200)
    assert not course.burning(course.spend(0.5, over_s=300))  # 43 times too fast, for 5 minutes


def test_what_was_spent_before_anybody_looked_is_not_fast() -> None:
    now = NOW
    pace = Pace()
    pace.see(stands(90), now)
    pace.see(stands(90.01, now=now + 60), now + 60)
    assert pace.burning(stands(90.01), 6.0, now + 60) is None


def test_an_account_that_will_not_last_is_told_and_one_that_will_is_not() -> None:
    course = Course()
    alert = course.forecast(course.spend(30, over_s=5 * DAY, step_s=600))  # $180 a month
    assert alert is not None
    left = 70 / 30 * 5 * DAY
    assert alert.facts["used_up_at"] == pytest.approx(course.now + left, rel=0.01)
    steady = Course()
    assert steady.forecast(steady.spend(15, over_s=5 * DAY, step_s=600)) is None


def test_one_large_request_forecasts_nothing() -> None:
    course = Course()
    course.spend(0.5, over_s=4 * DAY, step_s=3_600)
    assert course.forecast(course.spend(40, over_s=60)) is None  # of the third before: nothing


def test_nothing_is_forecast_in_the_first_tenth_of_a_window() -> None:
    course = Course()
    assert course.forecast(course.spend(90, over_s=2 * DAY, step_s=600)) is None


def test_a_new_window_begins_anew() -> None:
    course = Course()
    course.spend(30, over_s=5 * DAY, step_s=600)
    course.now, course.usd = course.budget.window.slice_at(NOW)[1], 0.0
    assert course.forecast(course.spend(12, over_s=3_600)) is None


def test_short_and_endless_windows_and_rates_have_no_pace() -> None:
    for window in (Window("hour"), Window("total")):
        course = Course(Budget("b", "team", 100 * USD, window=window))
        now = course.spend(50, over_s=1_800)
        assert not course.burning(now)
        assert course.forecast(now) is None
