"""RetryBudget: retries are paid for by traffic, and a quiet route may retry a little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.routing.retries import UNLIMITED, Retries, RetryBudget, RetryBudgets


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


def test_a_tenant_that_uses_up_its_retries_leaves_those_of_others() -> None:
    budgets = RetryBudgets(ratio=0.1, ttl_s=10, floor_per_s=0.1)
    for _ in range(1000):
        budgets.of("loud", "auto").deposit(0.0)
    loud, quiet = budgets.of("loud", "fast"), budgets.of("quiet", "auto")
    assert loud.spend(1, 0.0)
    assert not loud.spend(1, 0.0)
    assert quiet.spend(1, 0.0)


def test_many_tenants_together_have_no_more_than_everybodys_budget() -> None:
    budgets = RetryBudgets(ratio=0.0, ttl_s=10, floor_per_s=1)
    spent = sum(budgets.of(f"t{i}", "auto").spend(1, 0.0) for i in range(100))
    assert spent == 10
    refused = budgets.of("t99", "auto")
    assert not refused.allows(1, 0.0)
    assert refused._own.balance(0.0) == 10, "what everybody's refuses is not charged"


def test_budgets_are_bounded_in_number() -> None:
    budgets = RetryBudgets(most=3)
    kept = [budgets.of(name, "auto") for name in "abc"]
    assert budgets.of("a", "auto") is kept[0]
    budgets.of("d", "auto")
    assert len(budgets) == 3
    assert budgets.of("a", "auto") is kept[0]
    assert budgets.of("b", "auto") is not kept[1], "the one unused for longest was forgotten"
    assert "3 of tenants and routes" in repr(budgets)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.5)), max_size=300))
def test_retries_of_all_tenants_stay_within_a_tenth_and_the_floor(
    firsts: list[tuple[str, float]],
) -> None:
    """Every request fails and is retried as often as is allowed."""
    budgets = RetryBudgets(ratio=0.1, ttl_s=10, floor_per_s=1)
    now = 0.0
    retries = 0
    for tenant, wait in firsts:
        now += wait
        budget = budgets.of(tenant, "auto")
        budget.deposit(now)
        while budget.spend(1, now):
            retries += 1
    assert retries <= 0.1 * len(firsts) + 1 * (now + 2 * 10)
