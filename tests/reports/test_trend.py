"""Trends from the ledger, and how long limits last."""

from __future__ import annotations

import math
import random

import pytest
from tests.reports.conftest import DAY, MAY, write

from pointsman.domain.budgets import Budget, Scope
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.domain.windows import Window
from pointsman.errors import InvalidRequest
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.reports import EVERYONE, Question, report, total
from pointsman.reports.trend import filters_of, runway, trend
from pointsman.store.database import Database

DOLLAR = 10**9


def spent(name: str, at: float, nano: int, tenant: str = "north") -> LedgerEntry:
    one = Attempt("p/m", "p", "m", "workhorse", "ok", Usage(input=10, output=5), nano, id=name)
    return LedgerEntry(
        request_id=name,
        decision_id="d",
        at=at,
        operation="chat",
        route="auto",
        requested_model="auto",
        caller=Caller("k", tenant=tenant),
        stream=False,
        status=200,
        outcome="ok",
        attempts=(one,),
        usage=one.usage,
        cost_nano=nano,
    )


def daily(days: int, amount: float, noise: float = 0.0) -> list[LedgerEntry]:
    draw = random.Random(5)
    return [
        spent(
            f"d{day}", MAY + day * DAY + 60, round(amount * DOLLAR * math.exp(draw.gauss(0, noise)))
        )
        for day in range(days)
    ]


def test_a_trend_knows_its_days_and_what_is_still_going_on(ledger: Database) -> None:
    write(ledger, daily(41, 10.0, 0.1))
    now = MAY + 40 * DAY + 3_600
    found = trend(ledger, EVERYONE, now, ahead=5)
    assert [found.points[0].period, found.points[-1].period] == ["2026-05-01", "2026-06-09"]
    assert len(found.points) == 40
    assert [each.period for each in found.ahead] == [f"2026-06-{day}" for day in range(10, 15)]
    going_on = total(report(ledger, Question.of(EVERYONE, since=MAY + 40 * DAY))).cost_nano
    assert found.ahead[0].low_nano >= going_on
    assert found.ahead[1].middle_nano == pytest.approx(10 * DOLLAR, rel=0.15)
    assert found.shifts == ()
    assert trend(ledger, "south", now).points == ()


def test_a_shift_is_told_with_its_day(ledger: Database) -> None:
    later = [
        spent(f"x{day}", MAY + (30 + day) * DAY, round(30 * DOLLAR * (1 + day % 3 / 20)))
        for day in range(20)
    ]
    write(ledger, [*daily(30, 10.0, 0.05), *later])
    [shift] = trend(ledger, EVERYONE, MAY + 50 * DAY).shifts
    assert shift.period == "2026-05-31"
    assert shift.after_nano == pytest.approx(3 * shift.before_nano, rel=0.15)


def test_a_limit_lasts_as_long_as_its_spending_says(ledger: Database) -> None:
    """Ten dollars a day: on the 21st of June, at midnight, 200 are spent; 250 last five days."""
    write(ledger, daily(51, 10.0))
    now = MAY + 51 * DAY
    found = runway(ledger, EVERYONE, now, 250 * DOLLAR, Window())
    assert (found.spent_nano, found.likelihood) == (200 * DOLLAR, 1.0)
    assert found.middle == pytest.approx(now + 5 * DAY)
    assert found.early is not None
    assert found.late is not None
    lasting = runway(ledger, EVERYONE, now, 1_000 * DOLLAR, Window())
    assert (lasting.likelihood, lasting.middle) == (0.0, None)
    gone = runway(ledger, EVERYONE, now, 200 * DOLLAR, Window())
    assert (gone.likelihood, gone.middle) == (1.0, now)
    nothing = runway(ledger, "south", now, 200 * DOLLAR, Window())
    assert (nothing.spent_nano, nothing.likelihood) == (0, None)


def test_a_short_window_is_looked_at_by_the_hour(ledger: Database) -> None:
    write(ledger, [spent(f"h{n}", MAY + n * 3_600 + 5, DOLLAR) for n in range(60)])
    now = MAY + 60 * 3_600
    found = runway(ledger, EVERYONE, now, 20 * DOLLAR, Window(period="day"))
    assert found.spent_nano == 12 * DOLLAR
    assert found.middle == pytest.approx(now + 8 * 3_600)
    rolling = runway(ledger, EVERYONE, now, 100 * DOLLAR, Window(period="day", rolling=True))
    assert rolling.spent_nano == 24 * DOLLAR


def test_an_account_is_filters_or_what_the_ledger_does_not_tell_is_refused(
    ledger: Database,
) -> None:
    expected: dict[tuple[Scope, str], tuple[tuple[str, str], ...]] = {
        ("team", "north/web"): (("tenant", "north"), ("team", "web")),
        ("app", "north%2F1/100%25"): (("tenant", "north/1"), ("app", "100%")),
        ("tag", "prod"): (("tenant", ""), ("tag:env", "prod")),
        ("tenant", "north"): (("tenant", "north"),),
        ("model", "openai/small"): (("model", "openai/small"),),
        ("everyone", ""): (),
    }
    for (scope, subject), filters in expected.items():
        assert filters_of(Budget("b", scope, 5, tag="env"), subject) == filters
    own = Budget("b", "route", 5, tenant="north")
    assert filters_of(own, "auto") == (("route", "auto"), ("tenant", "north"))
    for budget in (Budget("b", "run", 5), Budget("b", "named", 5), Budget("b", "key", 5, "tokens")):
        with pytest.raises(InvalidRequest):
            filters_of(budget, "x")
    with pytest.raises(InvalidRequest):
        runway(ledger, EVERYONE, MAY, 5, Window(period="total"))
    with pytest.raises(InvalidRequest):
        trend(ledger, EVERYONE, MAY, ahead=401)
