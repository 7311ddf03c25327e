"""Decide: filter, score, pick. Pure: values in, a Decision out.

deployments ──filters──▶ candidates ──scorers──▶ scores ──picker──▶ first, then by score
                 └─────▶ rejected, each with the filter and its reason
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pointsman.domain.content import Json, JsonObject
from pointsman.domain.deployment import Deployment
from pointsman.domain.money import format_usd
from pointsman.routing.compile import COLD_BELOW, Policy, Variant, compile_policy
from pointsman.routing.decision import Candidate, Decision, Rejection
from pointsman.routing.estimate import expect
from pointsman.routing.filters import ASKED, FILTERS, Constraints, is_plain
from pointsman.routing.pickers import Pool, Random, draw, explored, place_of
from pointsman.routing.scorers import Option
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
    "explain",
    "screen",
]

_STEPS = tuple((name, check, ASKED.get(name)) for name, check in FILTERS.items())
_ALWAYS = len(FILTERS) - len(ASKED)


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
    rule = next((r for r in policy.rules if applies(r.when, features)), None)
    variant = (rule or policy).variants[features.prefer]
    options, rejected = _sift(
        rule.constraints if rule else policy.constraints, features, deployments, states
    )
    if not options:
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
    sums = [0.0] * len(options)
    columns: list[list[float]] = []
    for _, weight, scorer in variant.scorers:
        column = scorer(features, options, policy.ranks)
        columns.append(column)
        sums = [total + weight * part for total, part in zip(sums, column, strict=True)]
    scores = [total if total < 1.0 else 1.0 for total in sums]  # rounding may add a little
    odds = _odds(variant, features, options, scores)
    point = place_of(turn, odds) if variant.picker == "round_robin" else rng.random()
    first = draw(odds, point)
    order = sorted(range(len(options)), key=scores.__getitem__, reverse=True)
    order.remove(first)
    order.insert(0, first)
    parts = list(zip(*columns, strict=True))
    candidates = tuple(
        [
            Candidate(deployment, scores[i], parts[i], cost, seconds)
            for i in order
            for deployment, _, cost, seconds in (options[i],)
        ]
    )
    return Decision(
        route=route_name,
        strategy=variant.strategy,
        candidates=candidates,
        rejected=tuple(rejected),
        propensity=odds[first],
        picker=variant.picker,
        scorers=variant.names,
        rule=rule.name if rule else "",
        why=_why(variant, candidates, rejected, odds[first]),
    )


def screen(
    policy: Policy,
    features: RequestFeatures,
    deployments: Sequence[Deployment],
    states: Mapping[str, DeploymentState],
) -> tuple[tuple[Deployment, ...], tuple[Rejection, ...]]:
    """Put fallback targets from outside the route through the route's filters: (passed, not)."""
    rule = next((r for r in policy.rules if applies(r.when, features)), None)
    constraints = rule.constraints if rule else policy.constraints
    options, rejected = _sift(constraints, features, deployments, states)
    return tuple(option.deployment for option in options), tuple(rejected)


def _sift(
    constraints: Constraints,
    features: RequestFeatures,
    deployments: Sequence[Deployment],
    states: Mapping[str, DeploymentState],
) -> tuple[list[Option], list[Rejection]]:
    steps = [
        (name, check)
        for name, check, asked in _STEPS
        if asked is None or asked(features, constraints)
    ]
    options: list[Option] = []
    rejected: list[Rejection] = []
    always_only = len(steps) == _ALWAYS
    for deployment in deployments:
        state = states.get(deployment.name, COLD)
        plain = always_only and is_plain(features, deployment, state, constraints)
        for name, check in () if plain else steps:
            reason = check(features, deployment, state, constraints)
            if reason is not None:
                rejected.append(Rejection(deployment, name, reason))
                break
        else:
            options.append(Option(deployment, state, *expect(features, deployment, state)))
    return options, rejected


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


def _odds(
    variant: Variant, features: RequestFeatures, options: Sequence[Option], scores: Sequence[float]
) -> list[float]:
    odds = variant.odds(Pool(options, scores, features.session))
    if variant.explore <= 0:
        return odds
    cold = [
        i
        for i, option in enumerate(options)
        if option.state.samples < COLD_BELOW and option.state.share >= 1
    ]
    if cold and variant.explore_tier_only:
        top = options[max(range(len(scores)), key=scores.__getitem__)].deployment.tier
        cold = [i for i in cold if options[i].deployment.tier == top]
    return explored(odds, cold, variant.explore)


def _why(
    variant: Variant, candidates: Sequence[Candidate], rejected: Sequence[Rejection], odds: float
) -> str:
    chosen = candidates[0]
    best = chosen.score if len(candidates) == 1 else max(chosen.score, candidates[1].score)
    place = "the highest score" if chosen.score >= best else f"a score (the best has {best:.2f})"
    note = f"; {variant.note}" if variant.note else ""
    return (
        f"{variant.strategy}: {chosen.deployment.name} has {place}, {chosen.score:.2f}, among "
        f"{len(candidates)}; picked by {variant.picker} with probability {odds:.2f}; "
        f"{len(rejected)} kept out{note}"
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
