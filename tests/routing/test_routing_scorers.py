"""Scorers: the better one gets more, equal ones the same, and nobody wins by being unknown."""

from __future__ import annotations

import pytest

from pointsman.domain.deployment import Deployment, Tier
from pointsman.domain.usage import FREE, Price, Rates
from pointsman.routing.estimate import expect, expected_cost
from pointsman.routing.scorers import SCORERS, Lineup, Ranks
from pointsman.routing.signals import COLD, DeploymentState, RequestFeatures, Task

USD = 10**9
ASKS = RequestFeatures(1_000, 200, 500, needs=frozenset({"chat"}))
Option = tuple[Deployment, DeploymentState, int | None, float]
RANKS = Ranks(tiers={"workhorse": 1.0, "frontier": 0.5, "local": 0.0}, order={"a": 1.0, "b": 0.5})


def option(
    name: str = "a",
    tier: Tier = "workhorse",
    usd: tuple[float, float] | None = (1, 2),
    state: DeploymentState = COLD,
    capabilities: frozenset[str] = frozenset({"chat"}),
    tags: frozenset[str] = frozenset(),
    weight: float = 1.0,
    quality: float | None = None,
    features: RequestFeatures = ASKS,
) -> Option:
    price = None if usd is None else Price(Rates.of(*(int(each * USD) for each in usd)), "test")
    deployment = Deployment(
        name,
        "acme",
        name,
        tier,
        "openai",
        price,
        capabilities=capabilities,
        tags=tags,
        weight=weight,
        quality=quality,
    )
    return deployment, state, *expect(features, deployment, state)


def score(name: str, *options: Option, task: Task = "chat") -> list[float]:
    features = RequestFeatures(1_000, 200, 500, needs=frozenset({"chat"}), task=task)
    deployments, states, costs, seconds = zip(*options, strict=True)
    return SCORERS[name](features, Lineup(deployments, states, costs, seconds), RANKS)


@pytest.mark.parametrize("name", SCORERS)
def test_equal_candidates_score_the_same_in_range(name: str) -> None:
    scores = score(name, option(), option(), option())
    assert len(set(scores)) == 1
    assert 0 <= scores[0] <= 1


def test_the_cheapest_gets_one_and_the_dearest_nothing() -> None:
    cheap, middle, dear = score(
        "cost", option(usd=(0.1, 0.2)), option(usd=(1, 2)), option(usd=(10, 20))
    )
    assert cheap == 1.0
    assert dear == pytest.approx(0.0)
    assert middle == pytest.approx(0.5, abs=0.02)


def test_an_unknown_price_is_never_taken_for_free() -> None:
    free = (option()[0], COLD, 0, 1.0)
    assert score("cost", option(usd=None), option(usd=(15, 75)), free) == [
        0.0,
        pytest.approx(0.0),
        1.0,
    ]
    assert score("cost", option(usd=None), option(usd=None)) == [0.0, 0.0]


def test_a_small_difference_in_price_makes_a_small_difference() -> None:
    one, other = score("cost", option(usd=(1, 2)), option(usd=(1.05, 2.1)))
    assert one == 1.0 and 0.9 < other < 1.0


def test_an_untried_model_is_not_instant() -> None:
    """The trap of a known router: no samples counted as 0 ms, and won."""
    measured = DeploymentState(ttft_s=0.2, per_token_s=0.004, samples=50)
    cold, fast = score("latency", option(), option(state=measured))
    assert fast == 1.0 and cold < 0.7


def test_time_grows_with_the_expected_answer() -> None:
    quick_start = DeploymentState(ttft_s=0.1, per_token_s=0.1, samples=9)
    quick_flow = DeploymentState(ttft_s=2.0, per_token_s=0.001, samples=9)
    start, flow = score("latency", option(state=quick_start), option(state=quick_flow))
    assert flow == 1.0 and start < 0.5


def test_a_half_measured_deployment_takes_the_rest_from_its_tier() -> None:
    half = option(state=DeploymentState(ttft_s=0.1, samples=1))
    assert half[3] == pytest.approx(0.1 + 200 * 0.008)


def test_the_idle_one_with_headroom_scores_more() -> None:
    idle, busy, nearly_out = score(
        "load",
        option(),
        option(state=DeploymentState(in_flight=3)),
        option(state=DeploymentState(headroom=0.1)),
    )
    assert idle == 1.0
    assert busy == pytest.approx(0.25)
    assert nearly_out == pytest.approx(0.1)


def test_a_greater_weight_bears_more_load() -> None:
    light, heavy = score(
        "load",
        option(state=DeploymentState(in_flight=1)),
        option(weight=4, state=DeploymentState(in_flight=3)),
    )
    assert heavy == 1.0 and light == pytest.approx(0.5)


def test_declared_quality_counts_before_the_tiers() -> None:
    frontier, tuned = score("quality", option(tier="frontier"), option(tier="local", quality=0.95))
    assert tuned == 1.0 and frontier == pytest.approx(0.75)
    ranked = score("quality", *(option(tier=t) for t in ("frontier", "workhorse", "local")))
    assert ranked == sorted(ranked, reverse=True)


def test_a_dear_all_rounder_does_not_win_for_what_nobody_asked() -> None:
    """The trap of a known router: capabilities beyond the need outweighed price and fit."""
    many = frozenset({"chat", "tools", "vision", "audio", "documents", "json", "reasoning"})
    all_rounder = option(usd=(15, 75), capabilities=many)
    coder = option(usd=(0.5, 1), tags=frozenset({"code"}))
    general, special = score("capability", all_rounder, coder, task="code")
    assert special > general
    assert score("capability", coder, option(), task="math") == [0.5, 0.75]
    bare = option(capabilities=frozenset({"chat"}))
    assert score("capability", bare, all_rounder)[0] > score("capability", bare, all_rounder)[1]


def test_tiers_and_order_follow_the_operator() -> None:
    assert score("tier", option(tier="local"), option(tier="frontier")) == [0.0, 0.5]
    assert score("order", option("b"), option("a"), option("c")) == [0.5, 1.0, 0.0]


def test_weights_are_shares_of_the_greatest() -> None:
    assert score("weight", option(weight=1), option(weight=4)) == [0.25, 1.0]
    assert score("weight", option(weight=0), option(weight=0)) == [1.0, 1.0]


def test_the_estimate_uses_the_models_own_tokens_and_price_steps() -> None:
    rates = Rates.of(1 * USD, 10 * USD)
    stepped = Price(rates, "test", steps=((1_200, Rates.of(2 * USD, 20 * USD)),))
    deployment = Deployment("a", "acme", "a", "workhorse", "openai", stepped)
    assert expected_cost(ASKS, deployment, COLD) == 1_000_000 + 2_000_000
    scaled = DeploymentState(token_scale=1.3)
    assert expected_cost(ASKS, deployment, scaled) == 2 * 1_301_000 + 4_000_000
    assert expected_cost(ASKS, Deployment("b", "b", "b", "local", "openai", FREE), COLD) == 0


def test_who_is_twice_as_slow_counts_as_twice_as_busy() -> None:
    slow = DeploymentState(ttft_s=2.0, per_token_s=0.0, samples=9)
    quick = DeploymentState(ttft_s=1.0, per_token_s=0.0, samples=9)
    busy = DeploymentState(ttft_s=1.0, per_token_s=0.0, samples=9, in_flight=1)
    assert score("balance", option(state=slow), option(state=busy)) == pytest.approx([1, 1], 0.01)
    idle, half = score("balance", option(state=quick), option(state=busy))
    assert idle == 1.0
    assert half == pytest.approx(0.5)
    light, heavy = score("balance", option(state=quick), option(weight=4, state=busy))
    assert light == pytest.approx(0.5)
    assert heavy == 1.0


@pytest.mark.parametrize("name", ["load", "balance"])
def test_requests_that_wait_at_a_server_count_as_much_as_our_own(name: str) -> None:
    queued = DeploymentState(in_flight=1, waiting=2)
    assert score(name, option(state=queued), option()) == [pytest.approx(0.25), 1.0]


@pytest.mark.parametrize("name", ["latency", "balance"])
def test_failing_fast_does_not_look_fast(name: str) -> None:
    failing = DeploymentState(ttft_s=0.01, per_token_s=0.0, samples=9, penalty_s=5.0)
    well = DeploymentState(ttft_s=1.0, per_token_s=0.01, samples=9)
    bad, good = score(name, option(state=failing), option(state=well))
    assert bad < good


def test_a_long_prompt_is_expected_to_begin_later_where_nothing_was_measured() -> None:
    long = RequestFeatures(30_000, 200, 500, needs=frozenset({"chat"}))
    deployment = option()[0]
    short_s, long_s = (expect(asked, deployment, COLD)[1] for asked in (ASKS, long))
    assert long_s > short_s + 1
    measured = DeploymentState(ttft_s=0.5, per_token_s=0.0)
    assert expect(long, deployment, measured)[1] == 0.5
