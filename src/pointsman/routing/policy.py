"""Decide: filter, score, pick. Pure: values in, a Decision out.

deployments ──filters──▶ candidates ──scorers──▶ scores ──picker──▶ first, then by score
                 └─────▶ rejected, each with the filter and its reason
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import mul

from pointsman.domain.content import Json, JsonObject
from pointsman.domain.deployment import Deployment
from pointsman.domain.money import format_usd
from pointsman.routing.affinity import Read, kept, place_to_keep
from pointsman.routing.compile import COLD_BELOW, Policy, Rule, Variant, compile_policy
from pointsman.routing.decision import Decision, Ranking, Rejection
from pointsman.routing.pickers import Pool, Random, draw, explored, place_of
from pointsman.routing.scorers import Lineup
from pointsman.routing.sift import sift, terms_of
from pointsman.routing.signals import COLD, DeploymentState, RequestFeatures
from pointsman.routing.spec import Condition
from pointsman.routing.strategies import PREFERENCES, STRATEGIES

__all__ = [
    "PREFERENCES",
    "STRATEGIES",
    "Policy",
    "applies",
    "compile_policy",
    "decide",
    "decide_in_order",
    "explain",
    "screen",
]

AFFINITY = "affinity"
"""The picker of a decision that keeps a conversation where its beginning was read."""


def decide(
    policy: Policy,
    route_name: str,
    features: RequestFeatures,
    deployments: Sequence[Deployment],
    states: Mapping[str, DeploymentState],
    rng: Random,
    turn: int = 0,
) -> Decision:
    """Choose among `deployments`; `states` by name, COLD where one is missing.

    `turn` counts the route's requests (round robin). The decision is determined by the
    arguments and one number of `rng`. Nobody passes: empty candidates, `why` sums up.
    """
    in_order = [states.get(each.name, COLD) for each in deployments]
    return decide_in_order(policy, route_name, features, deployments, in_order, rng, turn)


def decide_in_order(
    policy: Policy,
    route_name: str,
    features: RequestFeatures,
    deployments: Sequence[Deployment],
    states: Sequence[DeploymentState],
    rng: Random,
    turn: int = 0,
) -> Decision:
    """As `decide`, with a state for each of `deployments` at its place."""
    rule = _rule_for(policy, features) if policy.rules else None
    variant = (rule or policy).variants[features.prefer]
    # A route's deployments are known; those of a test or of a part of the route are not.
    is_known = deployments is policy.deployments
    terms = policy.terms if is_known else [terms_of(each) for each in deployments]
    constraints = rule.constraints if rule else policy.constraints
    lineup, rejected = sift(constraints, features, deployments, terms, states)
    if not lineup.deployments:
        return Decision(
            route=route_name,
            strategy=variant.strategy,
            candidates=(),
            rejected=tuple(rejected),
            propensity=0.0,
            picker=variant.picker,
            rule=rule.name if rule else "",
            why=_nobody(rejected),
        )
    # By columns, not by candidates: one pass per scorer, and the rows fall out of a zip.
    columns = [scorer(features, lineup, policy.ranks) for _, _, scorer in variant.scorers]
    parts = list(zip(*columns, strict=True))
    scores = _weighed(variant.weights, parts)
    odds = _odds(variant, features, lineup, scores)
    picker: str = variant.picker
    if features.read_by is not None:
        read, names = Read(*features.read_by), variant.names
        place = place_to_keep(read, features, lineup, scores, names, columns)
        if place is not None:
            odds, picker = kept(odds, place, lineup.states[place].share), AFFINITY
    point = place_of(turn, odds) if variant.picker == "round_robin" else rng.random()
    first = draw(odds, point)
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    if order[0] != first:
        order.remove(first)
        order.insert(0, first)
    passed, _, costs, seconds = lineup
    return Decision(
        route=route_name,
        strategy=variant.strategy,
        candidates=Ranking(order, passed, scores, parts, costs, seconds),
        rejected=tuple(rejected),
        propensity=odds[first],
        picker=picker,
        scorers=variant.names,
        rule=rule.name if rule else "",
        why=_why(variant, picker, passed[first], scores, first, len(rejected), odds[first]),
    )


def screen(
    policy: Policy,
    features: RequestFeatures,
    deployments: Sequence[Deployment],
    states: Mapping[str, DeploymentState],
) -> tuple[tuple[Deployment, ...], tuple[Rejection, ...]]:
    """Put fallback targets from outside the route through the route's filters: (passed, not)."""
    rule = _rule_for(policy, features)
    constraints = rule.constraints if rule else policy.constraints
    terms = [terms_of(each) for each in deployments]
    in_order = [states.get(each.name, COLD) for each in deployments]
    lineup, rejected = sift(constraints, features, deployments, terms, in_order)
    return tuple(lineup.deployments), tuple(rejected)


def _rule_for(policy: Policy, features: RequestFeatures) -> Rule | None:
    return next((rule for rule in policy.rules if applies(rule.when, features)), None)


def applies(when: Condition, features: RequestFeatures) -> bool:
    """Does every stated part of the condition hold? Texts to embed have no task."""
    if when.task and "embeddings" in features.needs:
        return False
    return (
        (not when.task or features.task in when.task)
        and (not when.language or features.language in when.language)
        and (when.sensitive is None or when.sensitive == bool(features.sensitive))
        and when.needs <= features.needs
        and (when.input_tokens_above is None or features.input_tokens > when.input_tokens_above)
        and (when.input_tokens_below is None or features.input_tokens < when.input_tokens_below)
        and all(features.tags.get(name) == value for name, value in when.tags.items())
    )


def _weighed(weights: Sequence[float], parts: Sequence[tuple[float, ...]]) -> list[float]:
    """The weighted means of the parts. Written out for as many as the strategies have: a sum in
    a loop takes four times as long, and every request waits for it."""
    # Rounding may add a little to 1.
    match weights:
        case [_]:
            return [a if a < 1.0 else 1.0 for (a,) in parts]
        case [u, v]:
            scores = [u * a + v * b for a, b in parts]
        case [u, v, w]:
            scores = [u * a + v * b + w * c for a, b, c in parts]
        case [u, v, w, x]:
            scores = [u * a + v * b + w * c + x * d for a, b, c, d in parts]
        case many:
            scores = [sum(map(mul, many, row)) for row in parts]
    return scores if max(scores) <= 1.0 else [min(1.0, score) for score in scores]


def _odds(
    variant: Variant, features: RequestFeatures, lineup: Lineup, scores: Sequence[float]
) -> list[float]:
    odds = variant.odds(Pool(lineup, scores, features.session))
    if variant.explore <= 0:
        return odds
    cold = [
        i
        for i, state in enumerate(lineup.states)
        if state.samples < COLD_BELOW and state.share >= 1
    ]
    if cold and variant.explore_tier_only:
        tiers = [deployment.tier for deployment in lineup.deployments]
        top = tiers[max(range(len(scores)), key=scores.__getitem__)]
        cold = [i for i in cold if tiers[i] == top]
    return explored(odds, cold, variant.explore) if cold else odds


def _why(
    variant: Variant,
    picker: str,
    chosen: Deployment,
    scores: Sequence[float],
    first: int,
    kept_out: int,
    odds: float,
) -> str:
    score, best = scores[first], max(scores)
    place = "the highest score" if score >= best else f"a score (the best has {best:.2f})"
    note = f"; {variant.note}" if variant.note else ""
    if picker == AFFINITY:
        note += "; its beginning was read there before"
    return (
        f"{variant.strategy}: {chosen.name} has {place}, {score:.2f}, among "
        f"{len(scores)}; picked by {picker} with probability {odds:.2f}; "
        f"{kept_out} kept out{note}"
    )


def _nobody(rejected: Sequence[Rejection]) -> str:
    if not rejected:
        return "the route has no deployments"
    shown = [f"{each.deployment.name}: {each.reason}" for each in rejected[:8]]
    more = [f"and {len(rejected) - 8} more"] if len(rejected) > 8 else []
    return "nobody passes the constraints: " + "; ".join(shown + more)


def explain(decision: Decision) -> JsonObject:
    """Show a decision to people and the API: scores part by part, reasons, propensity."""
    candidates: list[Json] = [
        {
            "deployment": candidate.deployment.name,
            "provider": candidate.deployment.provider,
            "model": candidate.deployment.model,
            "tier": candidate.deployment.tier,
            "score": round(candidate.score, 4),
            "parts": {
                name: {"weight": round(weight, 4), "score": round(score, 4)}
                for (name, weight), score in zip(decision.scorers, candidate.parts, strict=True)
            },
            "estimated_cost_nano_usd": candidate.cost_nano,
            "estimated_cost": None
            if candidate.cost_nano is None
            else format_usd(candidate.cost_nano),
            "estimated_seconds": None if candidate.seconds is None else round(candidate.seconds, 3),
        }
        for candidate in decision.candidates
    ]
    rejected: list[Json] = [
        {
            "deployment": each.deployment.name,
            "tier": each.deployment.tier,
            "filter": each.filter,
            "reason": each.reason,
        }
        for each in decision.rejected
    ]
    return {
        "route": decision.route,
        "strategy": decision.strategy,
        "picker": decision.picker,
        "rule": decision.rule or None,
        "chosen": decision.candidates[0].deployment.name if decision.candidates else None,
        "propensity": round(decision.propensity, 6),
        "why": decision.why,
        "candidates": candidates,
        "rejected": rejected,
    }
