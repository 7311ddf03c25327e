"""Laws of deciding and failing over that hold for any pool, any state and any request."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.domain.deployment import TIERS, Deployment, Limits
from pointsman.domain.request import RouteOptions
from pointsman.domain.usage import Price, Rates
from pointsman.errors import FailureKind, ProviderFailure, Rejected
from pointsman.routing.decision import Candidate, Decision
from pointsman.routing.estimate import worst_cost
from pointsman.routing.failover import (
    Failed,
    GiveUp,
    RetryBudget,
    Try,
    Wait,
    next_step,
    plan_of,
    retry_cost,
)
from pointsman.routing.policy import STRATEGIES, compile_policy, decide
from pointsman.routing.signals import COLD, DeploymentState, RequestFeatures
from pointsman.routing.spec import FallbackSpec, PickerName, PolicySpec

KINDS: tuple[FailureKind, ...] = (
    "throttled",
    "overloaded",
    "unavailable",
    "timeout",
    "refused",
    "malformed",
    "content_filter",
    "context_length",
)
rates = st.builds(Rates.of, st.integers(0, 10**11), st.integers(0, 10**12))
capabilities = st.frozensets(st.sampled_from(["tools", "vision", "json", "x-own"])).map(
    lambda found: found | {"chat"}
)
maybe = st.none()


@st.composite
def pools(draw: st.DrawFn) -> tuple[Deployment, ...]:
    size = draw(st.integers(1, 7))
    return tuple(
        Deployment(
            name=f"d{i}",
            provider=f"p{i % 2}",
            model=f"m{i}",
            tier=draw(st.sampled_from(TIERS)),
            dialect="openai",
            price=draw(maybe | st.builds(Price, rates, st.just("law"))),
            limits=draw(
                st.builds(
                    Limits,
                    maybe | st.integers(1, 50_000),
                    maybe | st.integers(1, 5_000),
                    maybe | st.integers(1, 5),
                )
            ),
            capabilities=draw(capabilities),
            residency=draw(st.sampled_from([None, "eu", "us"])),
            weight=draw(st.floats(0, 50)),
            quality=draw(maybe | st.floats(0, 1)),
        )
        for i in range(size)
    )


states = st.builds(
    DeploymentState,
    in_flight=st.integers(0, 6),
    ttft_s=maybe | st.floats(0, 100),
    per_token_s=maybe | st.floats(0, 5),
    samples=st.integers(0, 10),
    headroom=st.floats(0, 1),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.0, 1.0]),
    token_scale=st.floats(0.25, 4),
)
requests = st.builds(
    RequestFeatures,
    input_tokens=st.integers(0, 60_000),
    output_tokens=st.integers(0, 5_000),
    max_output_tokens=st.integers(0, 6_000),
    needs=capabilities,
    sensitive=st.sampled_from(["", "", "pii", "secret", "declared"]),
    prefer=st.sampled_from([None, "cost", "speed", "quality", "balanced"]),
    residency=st.sampled_from([None, None, "eu"]),
    allow=st.sampled_from([None, None, ("p0/*",), ("d1", "p1/m3")]),
    max_cost_nano=maybe | st.integers(0, 10**10),
    remaining_s=st.floats(0.1, 200),
    session=st.sampled_from([None, "s"]),
)
pickers: list[PickerName | None] = [
    None,
    "best",
    "weighted",
    "random",
    "round_robin",
    "power_of_two",
    "sticky",
]


@st.composite
def worlds(
    draw: st.DrawFn,
) -> tuple[PolicySpec, tuple[Deployment, ...], dict[str, DeploymentState], RequestFeatures]:
    pool = draw(pools())
    spec = PolicySpec(
        strategy=draw(st.sampled_from(sorted(STRATEGIES))),
        picker=draw(st.sampled_from(pickers)),
        explore=draw(st.floats(0, 1)),
        residency=draw(st.sampled_from([None, None, "eu"])),
        max_cost_nano=draw(maybe | st.integers(0, 10**11)),
    )
    seen = {each.name: draw(states) for each in pool if draw(st.booleans())}
    return spec, pool, seen, draw(requests)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.integers(0, 1000))
def test_a_hard_constraint_is_never_traded_against_a_score(
    world: tuple[PolicySpec, tuple[Deployment, ...], dict[str, DeploymentState], RequestFeatures],
    seed: int,
    turn: int,
) -> None:
    spec, pool, seen, features = world
    policy = compile_policy(spec, pool)
    decision = decide(policy, "r", features, pool, seen, random.Random(seed), turn)
    for candidate in decision.candidates:
        each = candidate.deployment
        state = seen.get(each.name, COLD)
        assert state.share > 0 and state.headroom > 0
        assert each.capabilities >= features.needs
        for place in (features.residency, spec.residency):
            assert place is None or each.residency == place
        if each.limits.max_in_flight is not None:
            assert state.in_flight < each.limits.max_in_flight
        if each.limits.context_tokens is not None:
            fits = features.input_tokens * state.token_scale + features.max_output_tokens
            assert fits <= each.limits.context_tokens
        for limit in (features.max_cost_nano, spec.max_cost_nano):
            worst = worst_cost(features, each, state)
            assert limit is None or (worst is not None and worst <= limit)
        if features.sensitive == "declared":
            assert each.tier == "local"
        if features.sensitive and any(other.tier == "local" for other in pool):
            assert each.tier == "local"
        if features.allow == ("p0/*",):
            assert each.provider == "p0"
    chosen = [candidate.deployment.name for candidate in decision.candidates]
    left = [rejection.deployment.name for rejection in decision.rejected]
    assert sorted(chosen + left) == sorted(each.name for each in pool)
    assert decision.why


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.integers(0, 1000))
def test_scores_parts_and_propensity_are_in_range_and_the_rest_is_ranked(
    world: tuple[PolicySpec, tuple[Deployment, ...], dict[str, DeploymentState], RequestFeatures],
    seed: int,
    turn: int,
) -> None:
    spec, pool, seen, features = world
    policy = compile_policy(spec, pool)
    decision = decide(policy, "r", features, pool, seen, random.Random(seed), turn)
    if not decision.candidates:
        assert decision.propensity == 0
        return
    assert 0 < decision.propensity <= 1 + 1e-9
    for candidate in decision.candidates:
        assert 0 <= candidate.score <= 1
        assert all(0 <= score <= 1 + 1e-9 for score in candidate.parts)
        total = sum(
            weight * score
            for (_, weight), score in zip(decision.scorers, candidate.parts, strict=True)
        )
        assert candidate.score == pytest.approx(total, abs=1e-6)
    rest = [candidate.score for candidate in decision.candidates[1:]]
    assert rest == sorted(rest, reverse=True)
    again = decide(policy, "r", features, pool, seen, random.Random(seed), turn)
    assert again == decision


class Point:
    """A source of chance that says one number."""

    def __init__(self, value: float) -> None:
        self._value = value

    def random(self) -> float:
        return self._value


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(worlds())
def test_propensities_of_all_possible_choices_sum_to_one(
    world: tuple[PolicySpec, tuple[Deployment, ...], dict[str, DeploymentState], RequestFeatures],
) -> None:
    """Every choice that a fine comb of random numbers finds, with its own propensity."""
    spec, pool, seen, features = world
    policy = compile_policy(spec, pool)
    found: dict[str, float] = {}
    for tooth in range(400):
        point = Point((tooth + 0.5) / 400)
        decision = decide(policy, "r", features, pool, seen, point, turn=tooth)
        if decision.candidates:
            found[decision.candidates[0].deployment.name] = decision.propensity
    if found:
        # What the comb may miss is rarer than a tooth, for each of up to seven candidates.
        assert 1 - 7 / 400 <= sum(found.values()) <= 1 + 1e-9


failures_of = st.tuples(
    st.sampled_from([*KINDS, None]),
    maybe | st.floats(0, 100),
    st.floats(0, 20),
    st.booleans(),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(maybe | st.integers(1, 100), min_size=1, max_size=5),
    st.lists(failures_of, min_size=40, max_size=40),
    st.integers(1, 6),
    st.integers(0, 3),
    st.booleans(),
    st.dictionaries(st.sampled_from(KINDS), st.just(("d0", "d2"))),
    st.floats(0, 120),
)
def test_failing_over_always_ends_and_never_repeats_a_throttled_one_at_once(
    windows: list[int | None],
    ends: list[tuple[FailureKind | None, float | None, float, bool]],
    max_attempts: int,
    retry_same: int,
    filtered: bool,
    by_kind: dict[FailureKind, tuple[str, ...]],
    deadline: float,
) -> None:
    pool = [
        Deployment(f"d{i}", "p", f"m{i}", "local", "openai", None, Limits(context_tokens=window))
        for i, window in enumerate(windows)
    ]
    plan = plan_of(
        Decision("r", "tiers", tuple(Candidate(each, 1.0) for each in pool), (), 1.0, "best"),
        FallbackSpec(True, max_attempts, None, by_kind, retry_same, filtered),
        RouteOptions(),
    )
    now, script = 0.0, iter(ends)
    failures: list[Failed] = []
    throttled: dict[str, float] = {}
    called = 0
    for _ in range(40):
        kind, hint, seconds, allowed = next(script)
        step = next_step(plan, failures, now=now, deadline=deadline, retry_allowed=allowed)
        if isinstance(step, GiveUp):
            assert step.error.status in (400, 429, 502, 503, 504)
            return
        if isinstance(step, Wait):
            assert step.seconds > 0 and now + step.seconds <= deadline
            now += step.seconds
            continue
        assert isinstance(step, Try)
        name = step.deployment.name
        assert now >= throttled.get(name, 0.0) - 1e-9
        assert allowed or step.cost == 0
        assert now + step.backoff_s <= deadline
        now += seconds
        if kind is None:
            failures.append(Failed(name, Rejected("busy"), now))
            continue
        called += 1
        assert called <= max_attempts
        failures.append(Failed(name, ProviderFailure(kind, "", retry_after_s=hint), now))
        if kind == "throttled":
            throttled[name] = float("inf") if hint is None else now + hint
    raise AssertionError("failing over did not end")


@pytest.mark.parametrize("kind", ["unavailable", "timeout", "throttled", "overloaded"])
def test_a_total_outage_is_not_amplified(kind: FailureKind) -> None:
    """1,000 requests over 100 s, every attempt fails: attempts <= 1.1 times and the floor."""
    pool = [Deployment(f"d{i}", "p", f"m{i}", "local", "openai", None) for i in range(3)]
    plan = plan_of(
        Decision("r", "tiers", tuple(Candidate(each, 1.0) for each in pool), (), 1.0, "best"),
        FallbackSpec(),
        RouteOptions(),
    )
    budget = RetryBudget(ratio=0.1, ttl_s=10, floor_per_s=1)
    attempts: Counter[str] = Counter()
    for number in range(1000):
        now = number / 10
        budget.deposit(now)
        failures: list[Failed] = []
        while True:
            cost = retry_cost(failures)
            step = next_step(
                plan, failures, now=now, deadline=1e9, retry_allowed=budget.allows(cost, now)
            )
            if not isinstance(step, Try):
                break
            assert budget.spend(step.cost, now)
            attempts[step.deployment.name] += 1
            failures.append(Failed(step.deployment.name, ProviderFailure(kind, ""), now))
    floor = 1 * (100 + 10)
    assert 1000 < sum(attempts.values()) <= 1.1 * 1000 + floor
