"""Filters: one table, situation and reason. A reason names what is missing and by how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.domain.deployment import Deployment, Limits
from pointsman.domain.usage import Price, Rates
from pointsman.routing.estimate import expect
from pointsman.routing.filters import ASKED, FILTERS, Constraints, is_usual, matches
from pointsman.routing.sift import sift, terms_of
from pointsman.routing.signals import COLD, DeploymentState, RequestFeatures

USD = 10**9
DEPLOYMENT = Deployment(
    name="eu-large",
    provider="acme",
    model="large-1",
    tier="workhorse",
    dialect="openai",
    price=Price(Rates.of(1 * USD, 10 * USD), "test"),
    limits=Limits(context_tokens=8_000, output_tokens=2_000, max_in_flight=4),
    capabilities=frozenset({"chat", "tools"}),
    residency="eu",
)
ASKS = RequestFeatures(
    input_tokens=1_000,
    output_tokens=200,
    max_output_tokens=500,
    needs=frozenset({"chat"}),
    remaining_s=30.0,
    upper_tokens=4_000,
)
FREE_OF_LIMITS = Limits()

CASES: list[tuple[str, dict[str, object], dict[str, object], DeploymentState, Constraints, str]] = [
    # filter, changes of the request, of the deployment, state, constraints, words of the reason
    ("allowed", {"allow": ("eu-large",)}, {}, COLD, Constraints(), ""),
    ("allowed", {"allow": ("acme/large-1",)}, {}, COLD, Constraints(), ""),
    ("allowed", {"allow": ("other/*", "acme/*")}, {}, COLD, Constraints(), ""),
    ("allowed", {"allow": ("acme/large",)}, {}, COLD, Constraints(), "allows only acme/large"),
    ("allowed", {"allow": ()}, {}, COLD, Constraints(), "allows only nothing"),
    ("healthy", {}, {}, DeploymentState(share=0.1), Constraints(), ""),
    (
        "healthy",
        {},
        {},
        DeploymentState(share=0.0, breaker="open", reopens_in_s=4.2),
        Constraints(),
        "open, tried again in 4.2 s",
    ),
    (
        "healthy",
        {},
        {},
        DeploymentState(share=0.0, breaker="half_open"),
        Constraints(),
        "half_open and waits for its probe",
    ),
    ("capable", {"needs": frozenset({"chat", "tools"})}, {}, COLD, Constraints(), ""),
    (
        "capable",
        {"needs": frozenset({"chat", "vision"})},
        {},
        COLD,
        Constraints(),
        "lacks vision (reads images)",
    ),
    (
        "capable",
        {},
        {},
        COLD,
        Constraints(require=frozenset({"x-legal"})),
        "lacks x-legal",
    ),
    ("context", {"input_tokens": 6_000}, {}, COLD, Constraints(), ""),
    ("context", {"input_tokens": 7_400, "upper_tokens": 30_000}, {}, COLD, Constraints(), "8,000"),
    # Near the limit the upper bound may still vouch for it.
    ("context", {"input_tokens": 7_400, "upper_tokens": 7_500}, {}, COLD, Constraints(), ""),
    ("context", {"input_tokens": 7_400, "upper_tokens": 7_501}, {}, COLD, Constraints(), "8,000"),
    ("context", {"input_tokens": 1_000_000}, {"limits": FREE_OF_LIMITS}, COLD, Constraints(), ""),
    # This model's own tokens count, not the estimator's.
    (
        "context",
        {"input_tokens": 5_500, "upper_tokens": 30_000},
        {},
        DeploymentState(token_scale=1.4),
        Constraints(),
        "about 7,700",
    ),
    # Unstated: what is expected must fit, not the longest answer there is.
    ("context", {"input_tokens": 5_000, "max_output_tokens": 0}, {}, COLD, Constraints(), ""),
    (
        "context",
        {"max_output_tokens": 2_001},
        {},
        COLD,
        Constraints(),
        "answers 2,000 tokens at most, 2,001 asked for",
    ),
    ("residency", {"residency": "eu"}, {}, COLD, Constraints(residency="eu"), ""),
    ("residency", {"residency": "us"}, {}, COLD, Constraints(), "must stay in us, it is in eu"),
    ("residency", {"residency": "eu"}, {}, COLD, Constraints(residency="de"), "stay in de"),
    (
        "residency",
        {"residency": "eu"},
        {"residency": None},
        COLD,
        Constraints(),
        "no stated place",
    ),
    ("sensitive", {"sensitive": "pii"}, {}, COLD, Constraints(), ""),
    (
        "sensitive",
        {"sensitive": "secret"},
        {},
        COLD,
        Constraints(sensitive_tiers=("local",)),
        "secret found, only tier local may see it",
    ),
    (
        "sensitive",
        {"sensitive": "pii"},
        {"tier": "local"},
        COLD,
        Constraints(sensitive_tiers=("local",)),
        "",
    ),
    (
        "sensitive",
        {"sensitive": "declared"},
        {},
        COLD,
        Constraints(declared_tiers=("local",)),
        "the caller declared it sensitive",
    ),
    # At most 4,000 and 64 in, and 500 out: $0.004064 + $0.005.
    ("max_cost", {"max_cost_nano": 9_064_000}, {}, COLD, Constraints(), ""),
    ("max_cost", {"max_cost_nano": 9_063_999}, {}, COLD, Constraints(), "with 500 tokens out"),
    ("max_cost", {}, {}, COLD, Constraints(max_cost_nano=5_000_000), "the limit is $0.005"),
    # The smaller of both limits holds.
    (
        "max_cost",
        {"max_cost_nano": 9_000_000},
        {},
        COLD,
        Constraints(max_cost_nano=5_000_000),
        "the limit is $0.005",
    ),
    # Unstated: the deployment's longest answer counts, 2,000 tokens.
    (
        "max_cost",
        {"max_cost_nano": 20_999_999, "max_output_tokens": 0},
        {},
        COLD,
        Constraints(),
        "with 2,000 tokens out",
    ),
    (
        "max_cost",
        {"max_cost_nano": 10**12},
        {"price": None},
        COLD,
        Constraints(),
        "its price is unknown",
    ),
    ("budget", {"budget_nano": 20_000_000}, {}, COLD, Constraints(), ""),
    ("budget", {"budget_nano": 5_999_999}, {}, COLD, Constraints(), "are left in a budget"),
    (
        "budget",
        {"budget_nano": 10**12},
        {"price": None},
        COLD,
        Constraints(),
        "its price is unknown",
    ),
    ("deadline", {}, {}, DeploymentState(ttft_s=29.9, samples=9), Constraints(), ""),
    (
        "deadline",
        {},
        {},
        DeploymentState(ttft_s=31.0, samples=9),
        Constraints(),
        "begins after 31.0 s, 30.0 s are left",
    ),
    ("deadline", {"remaining_s": 0.01}, {}, COLD, Constraints(), ""),
    ("deadline", {"remaining_s": 0.0}, {}, COLD, Constraints(), "the deadline has passed"),
    ("max_first_content", {}, {}, COLD, Constraints(max_first_content_s=0.6), ""),
    (
        "max_first_content",
        {},
        {},
        COLD,
        Constraints(max_first_content_s=0.5),
        "0.6 s (expected of its tier)",
    ),
    (
        "max_first_content",
        {},
        {},
        DeploymentState(ttft_s=0.9),
        Constraints(max_first_content_s=0.8),
        "0.9 s (measured), the limit is 0.8 s",
    ),
    ("slots", {}, {}, DeploymentState(in_flight=3), Constraints(), ""),
    ("slots", {}, {}, DeploymentState(in_flight=4), Constraints(), "all 4 of its slots"),
    ("slots", {}, {}, DeploymentState(headroom=0.0), Constraints(), "a minute are used up"),
    (
        "slots",
        {},
        {},
        DeploymentState(headroom=0.0, free_in_s=4.2),
        Constraints(),
        "free again in 4.2 s",
    ),
    (
        "slots",
        {},
        {},
        DeploymentState(in_flight=3, headroom=0.0, bears=3),
        Constraints(),
        "bears 3 attempts at once",
    ),
    ("rule", {}, {}, COLD, Constraints(rule="r", rule_tiers=("workhorse",)), ""),
    (
        "rule",
        {},
        {},
        COLD,
        Constraints(rule="big", rule_tiers=("frontier", "local")),
        "rule big keeps it to tier frontier or local",
    ),
    (
        "rule",
        {},
        {},
        COLD,
        Constraints(rule="own", rule_deployments=frozenset({"b", "a"})),
        "rule own keeps it to a, b",
    ),
]


@pytest.mark.parametrize(("name", "asks", "changes", "state", "constraints", "words"), CASES)
def test_a_filter_rejects_with_a_reason_or_not_at_all(
    name: str,
    asks: dict[str, object],
    changes: dict[str, object],
    state: DeploymentState,
    constraints: Constraints,
    words: str,
) -> None:
    features = replace(ASKS, **asks)
    deployment = replace(DEPLOYMENT, **changes)
    reason = FILTERS[name](features, deployment, state, constraints)
    if words:
        assert reason is not None and words in reason
    else:
        assert reason is None
    # A filter that says it is not asked never has a reason.
    if name in ASKED and not ASKED[name](features, constraints):
        assert reason is None


def test_every_filter_stands_in_the_table_with_a_yes_and_a_no() -> None:
    for name in FILTERS:
        reasons = [words for case, *_, words in CASES if case == name]
        assert "" in reasons and any(reasons), name


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("eu-large", True),
        ("acme/large-1", True),
        ("acme/*", True),
        ("acme", False),
        ("*", False),
        ("acme/", False),
        ("other/large-1", False),
        ("large-1", False),
    ],
)
def test_a_pattern_is_a_name_a_model_or_a_provider(pattern: str, fits: bool) -> None:
    assert matches(pattern, DEPLOYMENT) is fits


@given(
    window=st.none() | st.integers(1, 3000),
    longest=st.none() | st.integers(1, 3000),
    slots=st.none() | st.integers(1, 3),
    tokens=st.integers(0, 3000),
    upper=st.none() | st.integers(0, 9000),
    answer=st.integers(0, 3000),
    expected=st.integers(0, 3000),
    scale=st.floats(0.25, 4),
    share=st.sampled_from([0.0, 0.1, 1.0]),
    headroom=st.sampled_from([0.0, 0.5, 1.0]),
    ttft=st.none() | st.floats(0, 3),
    remaining=st.floats(-1, 3),
    needs=st.sampled_from([frozenset({"chat"}), frozenset({"chat", "vision"})]),
    require=st.sampled_from([frozenset[str](), frozenset({"chat"})]),
)
def test_sifting_says_what_the_filters_and_the_estimate_say(
    window: int | None,
    longest: int | None,
    slots: int | None,
    tokens: int,
    upper: int | None,
    answer: int,
    expected: int,
    scale: float,
    share: float,
    headroom: float,
    ttft: float | None,
    remaining: float,
    needs: frozenset[str],
    require: frozenset[str],
) -> None:
    features = replace(
        ASKS,
        input_tokens=tokens,
        upper_tokens=upper,
        max_output_tokens=answer,
        output_tokens=expected,
        remaining_s=remaining,
        needs=needs,
    )
    limits = Limits(context_tokens=window, output_tokens=longest, max_in_flight=slots)
    deployment = replace(DEPLOYMENT, limits=limits)
    state = DeploymentState(
        in_flight=1, share=share, headroom=headroom, ttft_s=ttft, token_scale=scale
    )
    demands = Constraints(require=require)
    lineup, rejected = sift(demands, features, [deployment], [terms_of(deployment)], [state])
    always = [(name, check) for name, check in FILTERS.items() if name not in ASKED]
    reasons = [(name, check(features, deployment, state, demands)) for name, check in always]
    objections = [(name, reason) for name, reason in reasons if reason is not None]
    if objections:
        assert [(each.filter, each.reason) for each in rejected] == objections[:1]
        assert not lineup.deployments
    else:
        assert not rejected
        assert lineup.deployments == [deployment]
        cost, seconds = expect(features, deployment, state)
        assert lineup.costs == [cost]
        assert lineup.seconds == pytest.approx([seconds])


SPECIAL: list[tuple[dict[str, object], Constraints]] = [
    ({"allow": ("a",)}, Constraints()),
    ({"allow": ()}, Constraints()),
    ({"residency": "eu"}, Constraints()),
    ({"sensitive": "pii"}, Constraints()),
    ({"max_cost_nano": 0}, Constraints()),
    ({"budget_nano": 0}, Constraints()),
    ({}, Constraints(residency="eu")),
    ({}, Constraints(max_cost_nano=0)),
    ({}, Constraints(max_first_content_s=0.0)),
    ({}, Constraints(rule="r", rule_tiers=("local",))),
    ({}, Constraints(rule="r", rule_deployments=frozenset())),
]


def test_a_usual_request_is_one_that_no_special_filter_is_asked_for() -> None:
    assert is_usual(ASKS, Constraints())
    assert not any(asked(ASKS, Constraints()) for asked in ASKED.values())
    for asks, demands in SPECIAL:
        features = replace(ASKS, **asks)
        assert any(asked(features, demands) for asked in ASKED.values())
        assert not is_usual(features, demands)
    reached = {
        name
        for asks, demands in SPECIAL
        for name, asked in ASKED.items()
        if asked(replace(ASKS, **asks), demands)
    }
    assert reached == set(ASKED)
