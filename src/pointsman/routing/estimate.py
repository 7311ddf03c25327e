"""Expect what an attempt costs and how long it takes: for filters and scores.

One estimate everywhere: what `decide` compares is what tight budgets reserve and `explain` prints.
The bound that strict ones reserve is in `upper.py`, and may be had from here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pointsman.domain.deployment import Deployment, Tier
from pointsman.domain.money import MILLION
from pointsman.routing.signals import DeploymentState, RequestFeatures, size_of
from pointsman.routing.upper import UNSTATED_OUTPUT as UNSTATED_OUTPUT
from pointsman.routing.upper import left_cost as left_cost
from pointsman.routing.upper import longest_answer as longest_answer
from pointsman.routing.upper import model_tokens as model_tokens
from pointsman.routing.upper import upper_usage as upper_usage
from pointsman.routing.upper import worst_cost as worst_cost


@dataclass(frozen=True, slots=True)
class SpeedPrior:
    """Seconds expected of a deployment that was never measured."""

    first_content_s: float
    per_token_s: float


SPEED_PRIORS: Final[Mapping[Tier, SpeedPrior]] = {
    "frontier": SpeedPrior(first_content_s=1.2, per_token_s=0.015),
    "workhorse": SpeedPrior(first_content_s=0.6, per_token_s=0.008),
    "local": SpeedPrior(first_content_s=0.8, per_token_s=0.040),
}
"""Our own placement, near the 1 s that Finagle's and Linkerd's peak-EWMA start from: 65, 125 and
25 tokens/s. Never 0: an unmeasured model is not an instant one. One measurement replaces them."""

SIZE_FACTORS: Final = (1.0, 1.0, 1.2, 1.7, 3.7, 12.0)
"""Time to first content by size of input (signals.SIZES), as multiples of a short one's: half a
second and reading at some twenty thousand tokens a second; our own placement. They only bridge
sizes that were not measured, and hold for all deployments alike."""


def cost_of(deployment: Deployment, input_tokens: int, output_tokens: int) -> int | None:
    """Cost in nano-USD with nothing cached; None where the price is unknown."""
    price = deployment.price
    if price is None:
        return None
    rates = price.rates_for(input_tokens) if price.steps else price.rates
    # money.line_cost twice, written out: this runs for every deployment of every request.
    return -(-input_tokens * rates.input // MILLION) - (-output_tokens * rates.output // MILLION)


def expected_cost(
    features: RequestFeatures, deployment: Deployment, state: DeploymentState
) -> int | None:
    """Cost in nano-USD of the expected answer; None where the price is unknown."""
    return expect(features, deployment, state)[0]


def first_content_s(
    features: RequestFeatures, deployment: Deployment, state: DeploymentState
) -> float:
    """Expected seconds to the first content: measured, else the tier's prior for this size."""
    measured = state.ttft_s
    if measured is not None:
        return measured
    prior = SPEED_PRIORS[deployment.tier].first_content_s
    return prior * SIZE_FACTORS[size_of(features.input_tokens)]


def expect(
    features: RequestFeatures, deployment: Deployment, state: DeploymentState
) -> tuple[int | None, float]:
    """Return the cost (nano-USD, None for an unknown price) and the seconds of the expected answer:
    time to first content + E[output] * time per token.

    Both in one go and written out: every decision asks this of every deployment."""
    prior = SPEED_PRIORS[deployment.tier]
    first, each = state.ttft_s, state.per_token_s
    output = features.output_tokens
    if first is None:
        first = prior.first_content_s * SIZE_FACTORS[size_of(features.input_tokens)]
    seconds = first + state.cold_s + output * (prior.per_token_s if each is None else each)
    price = deployment.price
    if price is None:
        return None, seconds
    scale = state.token_scale
    tokens = features.input_tokens
    if scale != 1.0:
        tokens = int(tokens * scale) + 1
    rates = price.rates_for(tokens) if price.steps else price.rates
    cost = -(-tokens * rates.input // MILLION) - (-output * rates.output // MILLION)
    return cost, seconds
