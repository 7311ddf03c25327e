"""RetryBudget: retries are paid for by traffic, and a quiet route may retry a little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.routing.retries import UNLIMITED, Retries, RetryBudget


def test_a_quiet_route_has_the_floor() -> None:
    budget = RetryBudget(ratio=0.1, ttl_s=10, floor_per_s=1)
    assert sum(budget.spend(1, now=100.0) for _ in range(50)) == 10


def test_ten_first_attempts_pay_for_one_retry() -> None:
    budget = RetryBudget(ratio=0.1, ttl_s=10, floor_per_s=0)
    for _ in range(9):
        budget.deposit(5.0)
    assert not budget.allows(1, 5.0)
    budget.deposit(5.0)
    assert budget.spend(1, 5.0)
    assert not budget.spend(1, 5.0)


def test_a_retry_after_a_timeout_costs_two() -> None:
    budget = RetryBudget(ratio=0, floor_per_s=0.3)
    assert budget.spend(2, 0.0)
    assert not budget.allows(2, 0.0)
    assert budget.allows(1, 0.0)


def test_what_costs_nothing_is_always_allowed() -> None:
    budget = RetryBudget(ratio=0, floor_per_s=0)
    assert budget.spend(0, 0.0)
    assert not budget.spend(1, 0.0)


def test_deposits_and_withdrawals_are_forgotten_after_their_time() -> None:
    budget = RetryBudget(ratio=1, ttl_s=10, floor_per_s=0.1)
    for _ in range(5):
        budget.deposit(0.0)
    assert budget.balance(9.9) == 6.0
    assert budget.balance(10.0) == 1.0
    assert budget.spend(1, 10.0)
    assert budget.balance(19.9) == 0.0
    assert budget.balance(20.0) == 1.0


def test_the_unlimited_budget_never_says_no() -> None:
    retries: Retries = UNLIMITED
    retries.deposit(0.0)
    assert retries.allows(9e9, 0.0) and retries.spend(9e9, 0.0)
    assert repr(retries) == "UNLIMITED"


def test_a_budget_shows_what_is_left() -> None:
    assert repr(RetryBudget()) == "RetryBudget(10.0 left, 10% over 10 s)"


@pytest.mark.parametrize("wrong", [{"ratio": -1.0}, {"ttl_s": 0.0}, {"floor_per_s": -1.0}])
def test_a_budget_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="RetryBudget needs"):
        RetryBudget(**wrong)


@given(
    st.lists(st.tuples(st.sampled_from("drt"), st.floats(0, 1.5)), max_size=300),
    st.sampled_from([(0.1, 10.0, 1.0), (0.2, 5.0, 0.0), (0.0, 10.0, 0.5)]),
)
def test_retries_never_exceed_their_share_of_the_requests_and_the_floor(
    events: list[tuple[str, float]], settings: tuple[float, float, float]
) -> None:
    """In no window of `ttl_s` minus one slot more than ratio * first attempts + floor."""
    ratio, ttl_s, floor = settings
    budget = RetryBudget(ratio, ttl_s, floor)
    now = 0.0
    firsts: list[float] = []
    paid: list[tuple[float, float]] = []
    for event, wait in events:
        now += wait
        if event == "d":
            firsts.append(now)
            budget.deposit(now)
            continue
        cost = 2.0 if event == "t" else 1.0
        if budget.spend(cost, now):
            paid.append((now, cost))
            begin = now - 0.9 * ttl_s
            spent = sum(each for at, each in paid if at > begin)
            deposits = ratio * sum(1 for at in firsts if at > now - ttl_s)
            assert spent <= deposits + floor * ttl_s + 1e-6
