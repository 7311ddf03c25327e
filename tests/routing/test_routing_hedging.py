"""When to hedge: the rules alone, as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.deployment import Deployment
from pointsman.domain.request import RouteOptions
from pointsman.domain.usage import FREE
from pointsman.errors import ProviderFailure
from pointsman.routing.decision import Candidate, Decision
from pointsman.routing.hedging import (
    HedgeSpend,
    Track,
    hedge_after_s,
    objection,
    second_choice,
)
from pointsman.routing.plan import AMPLE, Failed, Means, Plan, plan_of
from pointsman.routing.signals import DeploymentState
from pointsman.routing.spec import FallbackSpec, HedgeSpec

A, B, C = (Deployment(name, "p", name, "local", "openai", FREE) for name in "abc")


def plan(*deployments: Deployment, **spec: object) -> Plan:
    candidates = tuple(Candidate(each, 1.0) for each in deployments)
    decision = Decision("auto", "tiers", candidates, (), 1.0, "best")
    return plan_of(decision, FallbackSpec(**spec), RouteOptions())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("p95", "after"), [(None, None), (0.1, 1.0), (2.0, 3.0), (0.5, 1.0), (0.7, 1.05)]
)
def test_a_hedge_waits_for_the_models_own_tail(p95: float | None, after: float | None) -> None:
    assert hedge_after_s(HedgeSpec(enabled=True), p95) == pytest.approx(after)


WELL = Track("b", DeploymentState())


@pytest.mark.parametrize(
    ("first", "second", "out", "says"),
    [
        (Track("a", DeploymentState()), WELL, 0, None),
        (Track("a", DeploymentState()), WELL, 1, None),
        (Track("a", DeploymentState()), WELL, 2, "2 deployments are out"),
        (Track("a", DeploymentState(), calm_s=29.0), WELL, 0, "a was throttled lately"),
        (WELL, Track("b", DeploymentState(), calm_s=-3.0), 0, "b was throttled lately"),
        (WELL, Track("b", DeploymentState(), calm_s=31.0), 0, None),
        (WELL, Track("b", DeploymentState(breaker="open", share=0)), 1, "b's breaker is open"),
        (WELL, Track("b", DeploymentState(breaker="ramping", share=0.5)), 0, "b's breaker is"),
        (WELL, Track("b", DeploymentState(headroom=0.0)), 0, "b has no slot left"),
        (WELL, Track("b", DeploymentState(), success=0.9), 0, "only 90% of b's answers succeed"),
    ],
)
def test_what_speaks_against_a_hedge(
    first: Track, second: Track, out: int, says: str | None
) -> None:
    said = objection(HedgeSpec(enabled=True), first, second, out)
    assert said is None if says is None else said is not None and said.startswith(says)


def chosen(plan: Plan, *failed: str, means: Means = AMPLE, now: float = 0.0) -> str | None:
    failures = [Failed(name, ProviderFailure("malformed", ""), 0.0) for name in failed]
    second = second_choice(plan, failures, plan.chain[len(failed)], means, now=now, deadline=10.0)
    return None if second is None else second.name


def test_the_second_is_the_next_of_the_plan() -> None:
    assert chosen(plan(A, B, C)) == "b"
    assert chosen(plan(A, B, C), "a") == "c"
    assert chosen(plan(A)) is None
    assert chosen(plan(A, B, C), "a", "b") is None


def test_both_count_as_attempts() -> None:
    assert chosen(plan(A, B, max_attempts=2)) == "b"
    assert chosen(plan(A, B, max_attempts=1)) is None
    assert chosen(plan(A, B, C, max_attempts=2), "a") is None


def test_who_does_not_fit_is_not_the_second() -> None:
    assert chosen(plan(A, B, C), means=Means(first_content_s={"b": 20.0})) == "c"
    worst: dict[str, int | None] = {"b": 50, "c": 5}
    assert chosen(plan(A, B, C), means=Means(worst_nano=worst, left_nano=10)) == "c"
    assert chosen(plan(A, B, C), now=9.96) is None


def test_there_is_no_allowance_for_a_cold_start() -> None:
    spend = HedgeSpend(0.02)
    assert not spend.allows("t", 1, 0.0)
    assert spend.allows("t", 0, 0.0), "what costs nothing may be hedged"
    for second in range(50):
        spend.pay("t", 100, float(second))
    assert spend.allows("t", 100, 60.0)
    assert not spend.allows("t", 101, 60.0)
    assert not spend.allows("other", 100, 60.0)


def test_an_hour_later_it_is_forgotten() -> None:
    spend = HedgeSpend(0.5)
    spend.pay("t", 1000, 0.0)
    assert spend.allows("t", 500, 3599.0)
    assert not spend.allows("t", 1, 3600.0)


def test_tenants_are_bounded_in_number() -> None:
    spend = HedgeSpend(0.5, most=3)
    for name in "abcab":
        spend.pay(name, 100, 0.0)
    spend.pay("d", 100, 0.0)
    assert len(spend) == 3
    assert not spend.allows("c", 1, 0.0), "the one unused for longest is forgotten"
    assert spend.allows("a", 1, 0.0)


@given(
    st.lists(st.tuples(st.floats(0, 900), st.integers(0, 1000), st.integers(0, 200)), max_size=200),
    st.sampled_from([0.0, 0.02, 0.5]),
)
def test_hedges_cost_at_most_their_share_of_the_trailing_hour(
    events: list[tuple[float, int, int]], share: float
) -> None:
    spend = HedgeSpend(share)
    now = 0.0
    paid: list[tuple[float, int]] = []
    extra: list[tuple[float, int]] = []
    for wait, cost, hedge in events:
        now += wait
        spend.pay("t", cost, now)
        paid.append((now, cost))
        if spend.allows("t", hedge, now):
            spend.hedge("t", hedge, now)
            extra.append((now, hedge))
            # Whole minutes: what is counted began up to an hour ago, and at least 59 minutes.
            lately = sum(each for at, each in extra if at > now - 59 * 60)
            assert lately <= share * sum(each for at, each in paid if at > now - 3600)
