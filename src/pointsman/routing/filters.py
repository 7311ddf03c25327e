"""Hard constraints: who may not answer this request, and why, in words for a person.

A filter is a pure function that returns a reason to keep a deployment out, or None. No score
ever buys a rejected deployment back. To add one: write the function, put its name into FILTERS
and, if it is often of no interest, a question into ASKED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pointsman.domain.deployment import CAPABILITIES, TIERS, Deployment, Tier
from pointsman.domain.money import format_usd
from pointsman.routing.estimate import (
    expected_cost,
    first_content_s,
    longest_answer,
    model_tokens,
    worst_cost,
)
from pointsman.routing.signals import DeploymentState, RequestFeatures

CONTEXT_SAFETY: Final = 1.15
"""The estimate's allowance near the limit: twice its mean error of 7.2 % (tokens.py)."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What the operator demands, after rules. Empty and None demand nothing.

    `sensitive_tiers` are where detected secrets and personal data may go, None for anywhere;
    `declared_tiers` where a request may go whose caller said it is sensitive.
    """

    require: frozenset[str] = frozenset()
    residency: str | None = None
    max_cost_nano: int | None = None
    max_first_content_s: float | None = None
    sensitive_tiers: tuple[Tier, ...] | None = None
    declared_tiers: tuple[Tier, ...] = TIERS
    rule: str = ""
    rule_tiers: tuple[Tier, ...] | None = None
    rule_deployments: frozenset[str] | None = None


NO_CONSTRAINTS: Final = Constraints()

Filter = Callable[[RequestFeatures, Deployment, DeploymentState, Constraints], str | None]
Asked = Callable[[RequestFeatures, Constraints], bool]


def matches(pattern: str, deployment: Deployment) -> bool:
    """Does `pattern` mean this deployment: its name, `provider/model` or `provider/*`?"""
    if pattern == deployment.name:
        return True
    provider, slash, model = pattern.partition("/")
    return bool(slash) and provider == deployment.provider and model in ("*", deployment.model)


def allowed(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Keep to the deployments that the caller named."""
    patterns = features.allow
    if patterns is None or any(matches(pattern, deployment) for pattern in patterns):
        return None
    return f"the caller allows only {', '.join(patterns) or 'nothing'}"


def ruled(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Keep to the tiers and deployments of the content rule that applies."""
    tiers, names = constraints.rule_tiers, constraints.rule_deployments
    if tiers is not None and deployment.tier not in tiers:
        return f"rule {constraints.rule} keeps it to tier {' or '.join(tiers)}"
    if names is not None and deployment.name not in names:
        return f"rule {constraints.rule} keeps it to {', '.join(sorted(names))}"
    return None


def healthy(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out deployments whose breaker lets nothing through."""
    if state.share > 0:
        return None
    if state.reopens_in_s > 0 and state.breaker == "closed":
        return f"cools down after a 429, tried again in {state.reopens_in_s:.1f} s"
    if state.reopens_in_s > 0:
        return f"{_breaker(state)}, tried again in {state.reopens_in_s:.1f} s"
    return f"{_breaker(state)} and waits for its probe"


def _breaker(state: DeploymentState) -> str:
    why = f" ({state.reason})" if state.reason else ""
    return f"its breaker is {state.breaker}{why}"


def capable(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out deployments that lack what the content, the caller or the route needs."""
    if deployment.capabilities >= features.needs and not constraints.require:
        return None
    missing = (features.needs | constraints.require) - deployment.capabilities
    if not missing:
        return None
    words = (f"{name} ({CAPABILITIES[name]})" if name in CAPABILITIES else name for name in missing)
    return f"lacks {', '.join(sorted(words))}"


def context(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out context windows that the input and the answer do not fit into.

    The answer counts with what the client allows, or, where it states nothing, with what is
    expected. Far from the limit the estimate decides; within CONTEXT_SAFETY of it, the estimate
    with that allowance, or the upper bound where that is smaller (short texts, plain ASCII).
    """
    limits = deployment.limits
    answer = features.max_output_tokens
    if limits.output_tokens is not None and answer > limits.output_tokens:
        return f"answers {limits.output_tokens:,} tokens at most, {answer:,} asked for"
    window = limits.context_tokens
    if window is None:
        return None
    tokens = model_tokens(features, state)
    answer = answer or min(features.output_tokens, longest_answer(features, deployment))
    if tokens * CONTEXT_SAFETY + answer <= window:
        return None
    upper = features.upper_tokens
    if upper is not None and upper + answer <= window:
        return None
    return f"holds {window:,} tokens: about {tokens:,} (± 15 %) in and {answer:,} out do not fit"


def residency(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Keep the data where the caller and the route both want it."""
    for wanted in (features.residency, constraints.residency):
        if wanted is not None and deployment.residency != wanted:
            return (
                f"data must stay in {wanted}, it is in {deployment.residency or 'no stated place'}"
            )
    return None


def sensitive(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Keep secrets and personal data to the tiers that may see them."""
    declared = features.sensitive == "declared"
    tiers = constraints.declared_tiers if declared else constraints.sensitive_tiers
    if not features.sensitive or tiers is None or deployment.tier in tiers:
        return None
    found = "the caller declared it sensitive" if declared else f"{features.sensitive} found"
    return f"{found}, only tier {' or '.join(tiers)} may see it"


def max_cost(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out what could cost more than the caller or the route allows.

    The longest allowed answer counts, not the expected one: a limit that holds on average only
    is none. An unknown price passes no limit.
    """
    limits = [n for n in (features.max_cost_nano, constraints.max_cost_nano) if n is not None]
    if not limits:
        return None
    limit = min(limits)
    worst = worst_cost(features, deployment, state)
    if worst is None:
        return f"its price is unknown and {format_usd(limit)} is the most it may cost"
    if worst <= limit:
        return None
    expected = expected_cost(features, deployment, state) or 0
    return (
        f"may cost {format_usd(worst)} with {longest_answer(features, deployment):,} tokens out "
        f"(expected {format_usd(expected)}), the limit is {format_usd(limit)}"
    )


def budget(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out what could cost more than is left in a budget that asks for cheaper answers."""
    left = features.budget_nano
    if left is None:
        return None
    worst = worst_cost(features, deployment, state)
    if worst is None:
        return f"its price is unknown and {format_usd(left)} are left in a budget"
    if worst <= left:
        return None
    return (
        f"may cost {format_usd(worst)} with {longest_answer(features, deployment):,} tokens out, "
        f"{format_usd(left)} are left in a budget"
    )


def deadline(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out measured deployments that would not begin before the deadline."""
    if features.remaining_s <= 0:
        return "the deadline has passed"
    if state.ttft_s is None or state.ttft_s <= features.remaining_s:
        return None
    return f"begins after {state.ttft_s:.1f} s, {features.remaining_s:.1f} s are left"


def max_first_content(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out deployments expected to begin later than the route wants."""
    limit = constraints.max_first_content_s
    if limit is None:
        return None
    expected = first_content_s(features, deployment, state)
    if expected <= limit:
        return None
    how = "expected of its tier" if state.ttft_s is None else "measured"
    return f"begins after {expected:.1f} s ({how}), the limit is {limit:.1f} s"


def slots(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> str | None:
    """Leave out deployments that have no slot, request or token of their limits left: declared,
    said by the provider, or learnt."""
    most = deployment.limits.max_in_flight
    if most is not None and state.in_flight >= most:
        return f"all {most} of its slots are taken"
    if state.headroom > 0:
        return None
    if state.free_in_s > 0:
        return f"its requests or tokens a minute are used up, free again in {state.free_in_s:.1f} s"
    if state.bears is not None and state.in_flight >= state.bears:
        return f"it bears {state.bears} attempts at once just now (learnt), all are under way"
    return "its requests or tokens a minute are used up"


FILTERS: Final[Mapping[str, Filter]] = {
    "allowed": allowed,
    "rule": ruled,
    "capable": capable,
    "context": context,
    "residency": residency,
    "sensitive": sensitive,
    "max_cost": max_cost,
    "budget": budget,
    "max_first_content": max_first_content,
    "healthy": healthy,
    "slots": slots,
    "deadline": deadline,
}
"""In this order: what can never work before what does not work now, so that a rejection names
the lasting reason."""


ASKED: Final[Mapping[str, Asked]] = {
    "allowed": lambda features, _: features.allow is not None,
    "rule": lambda _, demands: (
        demands.rule_tiers is not None or demands.rule_deployments is not None
    ),
    "residency": lambda features, demands: bool(features.residency or demands.residency),
    "sensitive": lambda features, _: bool(features.sensitive),
    "max_cost": lambda features, demands: (
        features.max_cost_nano is not None or demands.max_cost_nano is not None
    ),
    "budget": lambda features, _: features.budget_nano is not None,
    "max_first_content": lambda _, demands: demands.max_first_content_s is not None,
}
"""Filters that only some requests need; the others always run."""


def is_usual(features: RequestFeatures, demands: Constraints) -> bool:
    """Are none of ASKED needed, nor capabilities that the route itself demands?"""
    return (
        features.allow is None
        and not features.sensitive
        and not features.residency
        and features.max_cost_nano is None
        and features.budget_nano is None
        and demands.max_cost_nano is None
        and demands.max_first_content_s is None
        and demands.rule_tiers is None
        and demands.rule_deployments is None
        and not demands.residency
        and not demands.require
    )


TRANSIENT: Final = frozenset({"healthy", "slots"})
"""Filters whose reason may be gone a moment later: the caller may come back."""
