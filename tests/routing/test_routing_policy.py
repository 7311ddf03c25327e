"""Policies: what each strategy chooses, what compiling refuses, and what a decision tells."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from pointsman.domain.deployment import TIERS, Deployment, Limits
from pointsman.domain.request import Preference
from pointsman.domain.usage import FREE, Price, Rates
from pointsman.errors import ConfigError
from pointsman.routing.decision import Decision
from pointsman.routing.policy import (
    STRATEGIES,
    compile_policy,
    decide,
    explain,
    screen,
)
from pointsman.routing.signals import DeploymentState, RequestFeatures
from pointsman.routing.spec import Condition, PolicySpec, RuleSpec

USD = 10**9
FRONTIER = Deployment(
    "big",
    "acme",
    "big-1",
    "frontier",
    "openai",
    Price(Rates.of(5 * USD, 25 * USD), "t"),
    Limits(context_tokens=200_000),
    capabilities=frozenset({"chat", "tools", "vision", "json", "json_schema", "reasoning"}),
    residency="us",
)
WORKHORSE = Deployment(
    "mid",
    "acme",
    "mid-1",
    "workhorse",
    "openai",
    Price(Rates.of(USD // 2, 2 * USD), "t"),
    Limits(context_tokens=32_000),
    capabilities=frozenset({"chat", "tools", "json"}),
    residency="eu",
)
CODER = Deployment(
    "coder",
    "smith",
    "coder-1",
    "workhorse",
    "openai",
    Price(Rates.of(USD, 3 * USD), "t"),
    Limits(context_tokens=32_000),
    capabilities=frozenset({"chat"}),
    tags=frozenset({"code"}),
    weight=3.0,
)
LOCAL = Deployment(
    "own",
    "here",
    "own-1",
    "local",
    "openai",
    FREE,
    Limits(context_tokens=4_000, max_in_flight=2),
    residency="eu",
)
POOL = (FRONTIER, WORKHORSE, CODER, LOCAL)
WARM = {
    "big": DeploymentState(ttft_s=0.9, per_token_s=0.02, samples=99),
    "mid": DeploymentState(ttft_s=0.3, per_token_s=0.006, samples=99),
    "coder": DeploymentState(ttft_s=0.4, per_token_s=0.01, samples=99),
    "own": DeploymentState(ttft_s=0.5, per_token_s=0.05, samples=99),
}
ASKS = RequestFeatures(800, 200, 400, needs=frozenset({"chat"}), remaining_s=60, upper_tokens=3_200)


def decided(
    spec: PolicySpec = PolicySpec(),  # noqa: B008
    features: RequestFeatures = ASKS,
    pool: Sequence[Deployment] = POOL,
    states: Mapping[str, DeploymentState] = WARM,
    seed: int = 1,
    turn: int = 0,
) -> Decision:
    policy = compile_policy(spec, pool)
    return decide(policy, "auto", features, pool, states, random.Random(seed), turn)


def names(decision: Decision) -> list[str]:
    return [candidate.deployment.name for candidate in decision.candidates]


def kept_out(decision: Decision) -> dict[str, str]:
    return {each.deployment.name: each.filter for each in decision.rejected}


@pytest.mark.parametrize(
    ("spec", "order"),
    [
        (PolicySpec("static", order=("coder", "big")), ["coder", "big", "mid", "own"]),
        (PolicySpec("static"), ["big", "mid", "coder", "own"]),
        (PolicySpec("static", order=("acme/*",)), ["big", "mid", "coder", "own"]),
        (PolicySpec("cost"), ["own", "mid", "coder", "big"]),
        # Three times the weight bears three times the work, which makes up for its 2.4 s to 1.5.
        (PolicySpec("latency", explore=0), ["coder", "mid", "big", "own"]),
        (
            PolicySpec("latency", {"latency": 1, "balance": 0}, explore=0),
            [
                "mid",
                "coder",
                "big",
                "own",
            ],
        ),
        (PolicySpec("tiers"), ["mid", "coder", "big", "own"]),
        (
            PolicySpec("tiers", tiers=("local", "frontier", "workhorse")),
            ["own", "big", "mid", "coder"],
        ),
        # A free model that is half as good is not chosen where quality counts alone.
        (PolicySpec("hybrid", weights={"quality": 1}), ["big", "mid", "coder", "own"]),
    ],
)
def test_a_strategy_ranks_the_pool(spec: PolicySpec, order: list[str]) -> None:
    decision = decided(spec)
    assert names(decision) == order
    assert decision.propensity == 1.0
    assert decision.strategy == spec.strategy


def test_capability_takes_the_specialist_for_its_task_and_the_cheap_one_else() -> None:
    pool = (FRONTIER, WORKHORSE, CODER)
    code = replace(ASKS, task="code")
    assert names(decided(PolicySpec("capability"), code, pool))[0] == "coder"
    assert names(decided(PolicySpec("capability"), ASKS, pool))[0] != "big"


def test_weighted_shares_traffic_by_weight() -> None:
    seen = Counter(names(decided(PolicySpec("weighted"), seed=seed))[0] for seed in range(1200))
    assert seen["coder"] / 1200 == pytest.approx(0.5, abs=0.04)
    assert decided(PolicySpec("weighted")).propensity in (
        pytest.approx(0.5),
        pytest.approx(1 / 6),
    )


def test_random_and_round_robin_share_evenly() -> None:
    seen = Counter(names(decided(PolicySpec("random"), seed=seed))[0] for seed in range(1200))
    assert all(count == pytest.approx(300, abs=70) for count in seen.values())
    turns = [names(decided(PolicySpec("round_robin"), turn=turn))[0] for turn in range(5)]
    assert turns == ["big", "mid", "coder", "own", "big"]


def test_load_prefers_the_less_busy_of_two() -> None:
    states = {
        **WARM,
        "mid": DeploymentState(0, 0.3, 0.006, 99),
        "coder": replace(WARM["coder"], in_flight=30),
    }
    spec = PolicySpec("load", explore=0)
    seen = {names(decided(spec, ASKS, (WORKHORSE, CODER), states, seed))[0] for seed in range(20)}
    assert seen == {"mid"}


def test_a_session_sticks() -> None:
    features = replace(ASKS, session="s-1")
    homes = {names(decided(PolicySpec("sticky"), features, seed=seed))[0] for seed in range(20)}
    assert len(homes) == 1


def test_a_decision_is_determined_by_its_arguments_and_the_seed() -> None:
    for strategy in STRATEGIES:
        assert decided(PolicySpec(strategy), seed=4) == decided(PolicySpec(strategy), seed=4)


@pytest.mark.parametrize(
    ("prefer", "first"), [("cost", "own"), ("speed", "mid"), ("quality", "big")]
)
def test_a_callers_preference_replaces_the_weights(prefer: Preference, first: str) -> None:
    assert names(decided(PolicySpec("tiers", explore=0), replace(ASKS, prefer=prefer)))[0] == first


def test_a_static_route_does_not_yield_to_a_preference_and_says_so() -> None:
    decision = decided(PolicySpec("static"), replace(ASKS, prefer="cost"))
    assert names(decision)[0] == "big"
    assert "does not yield to prefer cost" in decision.why


def test_cold_deployments_are_explored_at_the_stated_rate() -> None:
    """The untried one is neither believed to be instant nor left untried for ever."""
    states = {**WARM, "coder": DeploymentState(samples=4)}
    spec = PolicySpec("latency", explore=0.2)
    rounds = 1500
    pool = tuple(replace(each, weight=1.0) for each in POOL)
    chosen = [decided(spec, pool=pool, states=states, seed=seed) for seed in range(rounds)]
    seen = Counter(names(decision)[0] for decision in chosen)
    assert seen["coder"] / rounds == pytest.approx(0.2, abs=0.03)
    assert {names(each)[0]: round(each.propensity, 9) for each in chosen} == {
        "mid": 0.8,
        "coder": 0.2,
    }


def test_exploring_tiers_stays_in_the_tier_that_would_be_chosen() -> None:
    states = {"mid": WARM["mid"]}
    spec = PolicySpec("tiers", explore=1.0)
    seen = {names(decided(spec, states=states, seed=seed))[0] for seed in range(30)}
    assert seen == {"coder"}


@pytest.mark.parametrize("strategy", ["static", "cost", "weighted", "round_robin", "sticky"])
def test_what_is_not_measured_is_not_explored(strategy: str) -> None:
    policy = compile_policy(PolicySpec(strategy, explore=1.0), POOL)
    assert policy.variants[None].explore == 0


def test_hard_constraints_come_before_any_score() -> None:
    features = replace(ASKS, needs=frozenset({"chat", "vision"}), input_tokens=50_000)
    decision = decided(PolicySpec("cost"), features)
    assert names(decision) == ["big"]
    assert kept_out(decision) == {"mid": "capable", "coder": "capable", "own": "capable"}


def test_an_over_long_prompt_goes_to_nobody_whom_it_does_not_fit() -> None:
    """The trap of a known router: 1M tokens went to a model of 1,000."""
    decision = decided(features=replace(ASKS, input_tokens=1_000_000, upper_tokens=4_000_000))
    assert decision.candidates == ()
    assert set(kept_out(decision).values()) == {"context"}
    assert "200,000" in decision.why


def test_nobody_left_is_an_empty_decision_that_sums_up() -> None:
    decision = decided(PolicySpec(residency="mars"))
    assert decision.candidates == () and decision.propensity == 0.0
    assert decision.why.startswith("nobody passes the constraints: big: data must stay in mars")
    assert explain(decision)["chosen"] is None
    assert decided(pool=()).why == "the route has no deployments"


def test_secrets_and_personal_data_stay_local() -> None:
    spec = PolicySpec("hybrid", weights={"quality": 1})
    for found in ("secret", "pii", "declared"):
        assert names(decided(spec, replace(ASKS, sensitive=found))) == ["own"]
    assert names(decided(spec))[0] == "big"


def test_stating_all_tiers_turns_the_check_off_but_not_the_callers_word() -> None:
    spec = PolicySpec(sensitive_tiers=("local", "workhorse", "frontier"))
    assert not compile_policy(spec, POOL).needs.sensitivity
    assert len(names(decided(spec, replace(ASKS, sensitive="pii")))) == 4
    assert names(decided(spec, replace(ASKS, sensitive="declared"))) == ["own"]


def test_a_route_without_such_a_tier_says_so_and_keeps_the_callers_word() -> None:
    pool = (FRONTIER, WORKHORSE)
    policy = compile_policy(PolicySpec(), pool)
    assert "no deployment of tier local" in policy.notes[0]
    assert not policy.needs.sensitivity
    assert names(decided(features=replace(ASKS, sensitive="pii"), pool=pool)) == ["mid", "big"]
    assert decided(features=replace(ASKS, sensitive="declared"), pool=pool).candidates == ()


RULES = (
    RuleSpec(
        "german code",
        Condition(task=frozenset({"code"}), language=frozenset({"de"})),
        deployments=("smith/*",),
    ),
    RuleSpec("code", Condition(task=frozenset({"code"})), strategy="cost", tiers=("workhorse",)),
    RuleSpec("long", Condition(input_tokens_above=2_000), weights={"quality": 1}),
    RuleSpec("short", Condition(input_tokens_below=10), tiers=("local",)),
    RuleSpec("gold", Condition(tags={"plan": "gold"}), tiers=("frontier",)),
    RuleSpec("tools", Condition(needs=frozenset({"tools"})), deployments=("big",)),
    RuleSpec("clean", Condition(sensitive=True), tiers=("local",), strategy="static"),
)


@pytest.mark.parametrize(
    ("changes", "rule", "order"),
    [
        ({}, "", ["mid", "coder", "big", "own"]),
        ({"task": "code", "language": "de"}, "german code", ["coder"]),
        ({"task": "code"}, "code", ["mid", "coder"]),
        ({"input_tokens": 2_001}, "long", ["big", "mid", "coder", "own"]),
        ({"input_tokens": 9}, "short", ["own"]),
        ({"tags": {"plan": "gold"}}, "gold", ["big"]),
        ({"tags": {"plan": "tin"}}, "", ["mid", "coder", "big", "own"]),
        ({"needs": frozenset({"chat", "tools"})}, "tools", ["big"]),
        ({"sensitive": "pii"}, "clean", ["own"]),
    ],
)
def test_the_first_rule_that_applies_wins(
    changes: dict[str, object], rule: str, order: list[str]
) -> None:
    spec = PolicySpec("content", rules=RULES, explore=0, weights={"tier": 10})
    features = replace(ASKS, **changes)
    decision = decided(spec, features)
    assert decision.rule == rule
    assert names(decision)[0] == order[0]
    assert set(names(decision)) == set(order)


def test_a_policy_asks_only_what_it_uses() -> None:
    needs = compile_policy(PolicySpec("cost", sensitive_tiers=TIERS), POOL).needs
    assert (needs.task, needs.language, needs.sensitivity) == (False, False, False)
    needs = compile_policy(PolicySpec("content", rules=RULES), POOL).needs
    assert (needs.task, needs.language, needs.sensitivity) == (True, True, True)
    assert compile_policy(PolicySpec("capability"), POOL).needs.task
    assert compile_policy(PolicySpec("hybrid", weights={"capability": 1}), POOL).needs.task


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (PolicySpec("bogus"), ["policy.strategy", "'bogus'", "known are static, weighted"]),
        (PolicySpec("hybrid", weights={"luck": 1}), ["policy.weights", "scorer 'luck'", "cost"]),
        (PolicySpec(picker="dice"), ["policy.picker", "picker 'dice'", "power_of_two"]),  # type: ignore[arg-type]
        (PolicySpec(tiers=("middling",)), ["policy.tiers", "tier 'middling'"]),  # type: ignore[arg-type]
        (PolicySpec(require=frozenset({"telepathy"})), ["policy.require", "x-…"]),
        (PolicySpec("static", order=("big", "gone")), ["policy.order", "'gone'", "big, mid"]),
        (PolicySpec("hybrid", weights={"cost": -1}), ["policy.weights.cost is -1"]),
        (PolicySpec("hybrid", weights={"cost": float("nan")}), ["policy.weights.cost is nan"]),
        (PolicySpec("hybrid", weights={"cost": 0}), ["all weights are 0"]),
        (PolicySpec(explore=1.5), ["policy.explore is 1.5"]),
        (
            PolicySpec(rules=(RuleSpec("r", Condition(), deployments=("gone",)),)),
            ["policy.rules[r].deployments", "'gone'"],
        ),
        (
            PolicySpec(rules=(RuleSpec("r", Condition(task=frozenset({"poker"}))),)),
            ["policy.rules[r].when.task", "'poker'", "translation"],
        ),
        (
            PolicySpec(rules=(RuleSpec("r", Condition(language=frozenset({"tlh"}))),)),
            ["policy.rules[r].when.language", "'tlh'"],
        ),
        (
            PolicySpec(rules=(RuleSpec("r", Condition(needs=frozenset({"sight"}))),)),
            ["policy.rules[r].when.needs", "'sight'", "vision"],
        ),
        (
            PolicySpec(rules=(RuleSpec("r", Condition(), strategy="bogus"),)),
            ["policy.rules[r].strategy", "'bogus'"],
        ),
        (
            PolicySpec(rules=(RuleSpec("r", Condition(), weights={"luck": 1}),)),
            ["policy.rules[r].weights", "'luck'"],
        ),
    ],
)
def test_what_nobody_knows_is_refused_by_name(spec: PolicySpec, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        compile_policy(spec, POOL)
    for word in words:
        assert word in error.value.message


def test_an_operators_own_capability_is_understood() -> None:
    spec = PolicySpec(require=frozenset({"x-legal"}))
    lawyer = replace(CODER, capabilities=frozenset({"chat", "x-legal"}))
    assert names(decided(spec, pool=(WORKHORSE, lawyer, LOCAL))) == ["coder"]


def test_an_explanation_is_plain_json_with_parts_and_reasons() -> None:
    features = replace(ASKS, needs=frozenset({"chat", "tools"}))
    told = json.loads(json.dumps(explain(decided(PolicySpec("hybrid", explore=0), features))))
    assert told["chosen"] == told["candidates"][0]["deployment"] == "mid"
    assert told["propensity"] == 1.0
    first = told["candidates"][0]
    parts = first["parts"].values()
    assert sum(part["weight"] for part in parts) == pytest.approx(1)
    assert sum(part["weight"] * part["score"] for part in parts) == pytest.approx(
        first["score"], abs=0.001
    )
    assert first["estimated_cost_nano_usd"] == 800_000
    assert told["rejected"][0] == {
        "deployment": "coder",
        "tier": "workhorse",
        "filter": "capable",
        "reason": "lacks tools (calls functions)",
    }
    assert "mid" in told["why"]


def test_fallback_targets_from_outside_pass_the_same_filters() -> None:
    policy = compile_policy(PolicySpec(residency="eu"), (WORKHORSE,))
    passed, refused = screen(policy, ASKS, (FRONTIER, LOCAL), {})
    assert [deployment.name for deployment in passed] == ["own"]
    assert [each.filter for each in refused] == ["residency"]


def test_one_on_its_way_back_gets_about_its_share() -> None:
    states = {**WARM, "mid": replace(WARM["mid"], share=0.1, breaker="ramping")}
    spec = PolicySpec("tiers", explore=0)
    seen = Counter(names(decided(spec, states=states, seed=seed))[0] for seed in range(1000))
    assert seen["mid"] / 1000 == pytest.approx(0.1, abs=0.03)
    assert seen["coder"] == 1000 - seen["mid"]


def test_a_policy_shows_itself() -> None:
    assert repr(compile_policy(PolicySpec("content", rules=RULES), POOL)) == (
        "Policy(content, picks best, 7 rules)"
    )
