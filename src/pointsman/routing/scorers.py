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
"""Stands for a weight of 0, or of less than this: only the last choice, and no infinite load."""
SPAN: Final = log(2)
"""Costs or times within a factor of two share the scale; wider ones are stretched over it."""
QUALITY_SPAN: Final = 0.2

QUALITY_PRIORS: Final[Mapping[Tier, float]] = {"frontier": 0.9, "workhorse": 0.7, "local": 0.4}
"""Of deployments without a declared quality: the order of the tiers, our own placement."""

TASKS: Final = frozenset(get_args(Task))
"""Tags that say what a deployment is good at."""


class Lineup(NamedTuple):
    """The deployments that passed the filters, with what is expected of each; by columns, since
    every scorer reads one or two of them for every request."""

    deployments: Sequence[Deployment]
    states: Sequence[DeploymentState]
    costs: Sequence[int | None]
    """Nano-USD, None for an unknown price."""
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Ranks:
    """The operator's own order, in [0, 1]: of tiers, and of deployments by name."""

    tiers: Mapping[str, float] = field(default_factory=dict)
    order: Mapping[str, float] = field(default_factory=dict)


Scorer = Callable[[RequestFeatures, Lineup, Ranks], list[float]]


def cost(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer the cheaper: 1 - ln(cost / cheapest) / span. An unknown price scores 0."""
    known = [log(nano + COST_FLOOR) for nano in lineup.costs if nano is not None]
    if not known:
        return [0.0] * len(lineup.costs)
    least = min(known)
    span = max(max(known) - least, SPAN)
    if len(known) == len(lineup.costs):
        return [1 - (value - least) / span for value in known]
    return [
        0.0 if nano is None else 1 - (log(nano + COST_FLOOR) - least) / span
        for nano in lineup.costs
    ]


def latency(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer the sooner done: 1 - ln(seconds / fewest) / span, seconds = first content +
    E[output] * seconds per token; priors where nothing was measured; and the penalty for recent
    failures on top."""
    logs = [
        log(seconds + state.penalty_s + SECONDS_FLOOR)
        for seconds, state in zip(lineup.seconds, lineup.states, strict=False)
    ]
    least = min(logs)
    span = max(max(logs) - least, SPAN)
    return [1 - (value - least) / span for value in logs]


def load(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer the idle: least load / own load * headroom, load = (in flight + waiting + 1) / weight.
    After Finagle's least-loaded balancer; headroom is the share of its limits still free."""
    loads = [
        (state.in_flight + state.waiting + 1) / max(deployment.weight, TINY_WEIGHT)
        for state, deployment in zip(lineup.states, lineup.deployments, strict=False)
    ]
    return _least_first(loads, lineup.states)


def balance(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer who would be through with its work the soonest: least work / own work * headroom,
    work = (seconds + penalty) * (in flight + waiting + 1) / weight.

    After Finagle's peak-EWMA balancer: who is twice as slow gets half as many. The penalty for
    recent failures stands in the time, so that failing fast is not taken for being fast."""
    work = [
        (seconds + state.penalty_s + SECONDS_FLOOR)
        * (state.in_flight + state.waiting + 1)
        / max(deployment.weight, TINY_WEIGHT)
        for seconds, state, deployment in zip(
            lineup.seconds, lineup.states, lineup.deployments, strict=False
        )
    ]
    return _least_first(work, lineup.states)


def _least_first(work: Sequence[float], states: Sequence[DeploymentState]) -> list[float]:
    least = min(work)
    return [least / own * state.headroom for own, state in zip(work, states, strict=False)]


def quality(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer the better: declared quality, else the tier's prior; 1 - (best - own) / span."""
    known = [
        QUALITY_PRIORS[deployment.tier] if deployment.quality is None else deployment.quality
        for deployment in lineup.deployments
    ]
    best = max(known)
    span = max(best - min(known), QUALITY_SPAN)
    return [1 - (best - own) / span for own in known]


def weight(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer the greater declared weight, as a share of the greatest."""
    weights = [deployment.weight for deployment in lineup.deployments]
    most = max(weights)
    return [own / most for own in weights] if most > 0 else [1.0] * len(weights)


def capability(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer the specialist: half for its tags, half for few idle capabilities.

    Tags: 1 where one names the task, 0 where they name other tasks only, 1/2 where they name
    none. Needed capabilities are a filter, so all candidates have them; more of them never raise
    the score, (1 + needed) / (1 + all): an all-rounder does not win for what nobody asked for.
    """
    task, needed = features.task, 1 + len(features.needs)
    scores = []
    for deployment in lineup.deployments:
        tags = deployment.tags
        skill = 1.0 if task in tags else 0.5 if TASKS.isdisjoint(tags) else 0.0
        idle = min(1.0, needed / (1 + len(deployment.capabilities)))
        scores.append(0.5 * skill + 0.5 * idle)
    return scores


def tier(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer tiers in the route's order: 1 for the first, evenly down; 0 for one not named."""
    tiers = ranks.tiers
    return [tiers.get(deployment.tier, 0.0) for deployment in lineup.deployments]


def order(features: RequestFeatures, lineup: Lineup, ranks: Ranks) -> list[float]:
    """Prefer deployments in the route's order: 1 for the first, evenly down."""
    places = ranks.order
    return [places.get(deployment.name, 0.0) for deployment in lineup.deployments]


SCORERS: Final[Mapping[str, Scorer]] = {
    "cost": cost,
    "latency": latency,
    "load": load,
    "balance": balance,
    "quality": quality,
    "weight": weight,
    "capability": capability,
    "tier": tier,
    "order": order,
}

MEASURED: Final = frozenset({"latency", "balance"})
"""Scorers that know a deployment only once it has been tried: what exploration is for."""
