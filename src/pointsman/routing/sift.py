"""Sift: who may answer this request, and what is expected of each.

filters.py says it one demand at a time, in words; that is asked where a request or a route
demands something special, and for whoever is kept out, since somebody will want to know why. The
usual request, to the usual deployment, meets only the same few questions of numbers, and every
request meets them for every deployment: so these are asked here in one expression, of numbers
that were taken apart when the route was compiled. A test holds both ways to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from pointsman.domain.deployment import Deployment
from pointsman.domain.money import MILLION
from pointsman.routing.decision import Rejection
from pointsman.routing.estimate import SIZE_FACTORS, SPEED_PRIORS, expect
from pointsman.routing.filters import ASKED, CONTEXT_SAFETY, FILTERS, Constraints, is_usual
from pointsman.routing.scorers import Lineup
from pointsman.routing.signals import DeploymentState, RequestFeatures, size_of


class Terms(NamedTuple):
    """What is asked of a deployment and never changes. Without a limit: infinite."""

    capabilities: frozenset[str]
    window: float
    longest: float
    most: float
    first_s: float
    each_s: float
    rates: tuple[int, int] | None
    """Input and output in nano-USD a million tokens; None where the price is unknown or steps."""


def terms_of(deployment: Deployment) -> Terms:
    limits, price = deployment.limits, deployment.price
    prior = SPEED_PRIORS[deployment.tier]
    return Terms(
        deployment.capabilities,
        inf if limits.context_tokens is None else limits.context_tokens,
        inf if limits.output_tokens is None else limits.output_tokens,
        inf if limits.max_in_flight is None else limits.max_in_flight,
        prior.first_content_s,
        prior.per_token_s,
        None if price is None or price.steps else (price.rates.input, price.rates.output),
    )


def sift(
    constraints: Constraints,
    features: RequestFeatures,
    deployments: Sequence[Deployment],
    terms: Sequence[Terms],
    states: Sequence[DeploymentState],
) -> tuple[Lineup, list[Rejection]]:
    """Put `deployments` through the filters; `terms` and `states` in the same order."""
    remaining, needs, output = features.remaining_s, features.needs, features.output_tokens
    usual = is_usual(features, constraints) and remaining > 0
    answer, tokens = features.max_output_tokens, features.input_tokens
    # Rounded up where the filter counts exactly: what passes here passes there.
    padded, room = (tokens + 1) * CONTEXT_SAFETY, (answer or output) + 1
    factor = SIZE_FACTORS[size_of(tokens)]
    passed: list[Deployment] = []
    passed_states: list[DeploymentState] = []
    costs: list[int | None] = []
    times: list[float] = []
    rejected: list[Rejection] = []
    for deployment, own, state in zip(deployments, terms, states, strict=True):
        capabilities, window, longest, most, first_s, each_s, rates = own
        first, scale = state.ttft_s, state.token_scale
        if not (
            usual
            and state.share > 0
            and state.headroom > 0
            and state.in_flight < most
            and answer <= longest
            and padded * scale + room <= window
            and (first is None or first <= remaining)
            and needs <= capabilities
        ):
            objection = _objection(features, deployment, state, constraints)
            if objection is not None:
                rejected.append(objection)
                continue
        cost: int | None
        if rates is None:
            cost, seconds = expect(features, deployment, state)
        else:
            # As estimate.expect, with what does not change taken out of it.
            each = state.per_token_s
            seconds = (
                (first_s * factor if first is None else first)
                + state.cold_s
                + output * (each_s if each is None else each)
            )
            input_rate, output_rate = rates
            input_tokens = tokens if scale == 1.0 else int(tokens * scale) + 1
            cost = -(-input_tokens * input_rate // MILLION) - (-output * output_rate // MILLION)
        passed.append(deployment)
        passed_states.append(state)
        costs.append(cost)
        times.append(seconds)
    return Lineup(passed, passed_states, costs, times), rejected


def _objection(
    features: RequestFeatures,
    deployment: Deployment,
    state: DeploymentState,
    constraints: Constraints,
) -> Rejection | None:
    """The first filter that objects, if any does."""
    for name, check in FILTERS.items():
        asked = ASKED.get(name)
        if asked is None or asked(features, constraints):
            reason = check(features, deployment, state, constraints)
            if reason is not None:
                return Rejection(deployment, name, reason)
    return None
