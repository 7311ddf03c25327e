"""Soft preferences: how good each candidate is for this request, in [0, 1], higher is better.

A scorer sees all candidates of one decision and scores them against each other: the best gets 1,
and all get the same where they are the same. Costs and times are compared by their logarithm,
since twice as dear matters as much at a cent as at a dollar. A span below SPAN is not stretched
to [0, 1]: where all are about as cheap, price should not decide. To add one: write the function
and put its name into SCORERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Final, NamedTuple, get_args

from pointsman.domain.deployment import Deployment, Tier
from pointsman.routing.signals import DeploymentState, RequestFeatures, Task

COST_FLOOR: Final = 10_000
"""A hundred-thousandth of a dollar, in nano-USD: below that, costs are not worth comparing, and
a free model does not stretch the scale until all others look alike."""
SECONDS_FLOOR: Final = 0.01
TINY_WEIGHT: Final = 1e-6
"""Stands for a weight of 0: such a deployment is only ever the last choice."""
SPAN: Final = log(2)
"""Costs or times within a factor of two share the scale; wider ones are stretched over it."""
QUALITY_SPAN: Final = 0.2

QUALITY_PRIORS: Final[Mapping[Tier, float]] = {"frontier": 0.9, "workhorse": 0.7, "local": 0.4}
"""Of deployments without a declared quality: the order of the tiers, our own placement."""

TASKS: Final = frozenset(get_args(Task))
"""Tags that say what a deployment is good at."""


class Option(NamedTuple):
    """A deployment that passed the filters, with what is expected of it."""

    deployment: Deployment
    state: DeploymentState
    cost_nano: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Ranks:
    """The operator's own order, in [0, 1]: of tiers, and of deployments by name."""

    tiers: Mapping[str, float] = field(default_factory=dict)
    order: Mapping[str, float] = field(default_factory=dict)


Scorer = Callable[[RequestFeatures, Sequence[Option], Ranks], list[float]]


def cost(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer the cheaper: 1 - ln(cost / cheapest) / span. An unknown price scores 0."""
    costs = [nano for _, _, nano, _ in options]
    known = [log(nano + COST_FLOOR) for nano in costs if nano is not None]
    if not known:
        return [0.0] * len(options)
    least = min(known)
    span = max(max(known) - least, SPAN)
    if len(known) == len(costs):
        return [1 - (value - least) / span for value in known]
    return [0.0 if nano is None else 1 - (log(nano + COST_FLOOR) - least) / span for nano in costs]


def latency(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer the sooner done: 1 - ln(seconds / fewest) / span, seconds = first content +
    E[output] * seconds per token; priors where nothing was measured; and the penalty for recent
    failures on top."""
    logs = [log(option.seconds + option.state.penalty_s + SECONDS_FLOOR) for option in options]
    least = min(logs)
    span = max(max(logs) - least, SPAN)
    return [1 - (value - least) / span for value in logs]


def load(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer the idle: least load / own load * headroom, load = (in flight + 1) / weight.
    After Finagle's least-loaded balancer; headroom is the share of its limits still free."""
    loads = [
        (option.state.in_flight + 1) / max(option.deployment.weight, 1e-6) for option in options
    ]
    least = min(loads)
    return [least / own * option.state.headroom for own, option in zip(loads, options, strict=True)]


def quality(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer the better: declared quality, else the tier's prior; 1 - (best - own) / span."""
    known = [
        QUALITY_PRIORS[option.deployment.tier]
        if option.deployment.quality is None
        else option.deployment.quality
        for option in options
    ]
    best = max(known)
    span = max(best - min(known), QUALITY_SPAN)
    return [1 - (best - own) / span for own in known]


def weight(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer the greater declared weight, as a share of the greatest."""
    most = max(option.deployment.weight for option in options)
    if most <= 0:
        return [1.0] * len(options)
    return [option.deployment.weight / most for option in options]


def capability(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer the specialist: half for its tags, half for few idle capabilities.

    Tags: 1 where one names the task, 0 where they name other tasks only, 1/2 where they name
    none. Needed capabilities are a filter, so all candidates have them; more of them never raise
    the score, (1 + needed) / (1 + all): an all-rounder does not win for what nobody asked for.
    """
    task, needed = features.task, 1 + len(features.needs)
    scores = []
    for option in options:
        tags = option.deployment.tags
        skill = 1.0 if task in tags else 0.5 if TASKS.isdisjoint(tags) else 0.0
        idle = min(1.0, needed / (1 + len(option.deployment.capabilities)))
        scores.append(0.5 * skill + 0.5 * idle)
    return scores


def tier(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer tiers in the route's order: 1 for the first, evenly down; 0 for one not named."""
    return [ranks.tiers.get(deployment.tier, 0.0) for deployment, _, _, _ in options]


def order(features: RequestFeatures, options: Sequence[Option], ranks: Ranks) -> list[float]:
    """Prefer deployments in the route's order: 1 for the first, evenly down."""
    return [ranks.order.get(option.deployment.name, 0.0) for option in options]


SCORERS: Final[Mapping[str, Scorer]] = {
    "cost": cost,
    "latency": latency,
    "load": load,
    "quality": quality,
    "weight": weight,
    "capability": capability,
    "tier": tier,
    "order": order,
}

MEASURED: Final = frozenset({"latency"})
"""Scorers that know a deployment only once it has been tried: what exploration is for."""
