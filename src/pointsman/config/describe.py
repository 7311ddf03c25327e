"""Say what a configuration will do, as plain data: what `check` prints and `--json` gives.

Candidates and fallbacks are not described but tried out: the route's compiled policy decides on
a typical request, and the failover's own `next_step` is played for each kind of failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from random import Random
from typing import Any, get_args

from msgspec import structs

from pointsman.config.describe_money import describe_money
from pointsman.config.lints import Examined, lint
from pointsman.config.problems import Problem
from pointsman.config.settings import PreloadSettings, Route, Settings
from pointsman.domain.deployment import Deployment
from pointsman.domain.money import format_usd, to_usd
from pointsman.domain.request import RouteOptions
from pointsman.domain.usage import FREE, Price, Rates
from pointsman.errors import FailureKind, ProviderFailure
from pointsman.routing.compile import compile_policy
from pointsman.routing.decision import Decision
from pointsman.routing.failover import Failed, Plan, Try, next_step, plan_of
from pointsman.routing.policy import decide, screen
from pointsman.routing.signals import RequestFeatures
from pointsman.routing.spec import Condition

TYPICAL = RequestFeatures(input_tokens=1000, output_tokens=300, max_output_tokens=1000)
"""The request that candidates are shown for."""

BY_LOT = frozenset({"weighted", "random", "round_robin", "power_of_two", "sticky"})

Description = dict[str, Any]


def describe(examined: Examined, key_sources: Mapping[str, str]) -> Description:
    """Describe everything; `key_sources` says where each provider's key came from."""
    settings = examined.settings
    server = settings.server
    return {
        "origin": settings.origin,
        "server": {
            "address": f"http://{server.host}:{server.port}",
            "workers": server.workers,
            "keys": [
                {
                    "name": key.caller.key,
                    "app": key.caller.app,
                    "user": key.caller.user,
                    "team": key.caller.team,
                    "tenant": key.caller.tenant,
                    "routes": None if key.caller.routes is None else sorted(key.caller.routes),
                }
                for key in server.keys
            ],
        },
        **describe_money(settings),
        "providers": [
            {
                "name": name,
                "url": provider.endpoint.base_url,
                "dialect": provider.dialect,
                "kind": provider.kind,
                "key": key_sources.get(name, "none"),
            }
            for name, provider in settings.providers.items()
        ],
        "deployments": [
            {**_deployment(each), "preload": preload_text(settings.preloads.get(each.name))}
            for each in settings.deployments
        ],
        "routes": [_route(route, settings) for route in settings.routes],
        "breaker": asdict(settings.breaker),
        "retry": asdict(settings.retry),
        "warnings": [_warning(problem) for problem in lint(examined)],
    }


def _warning(problem: Problem) -> Description:
    return asdict(problem)


def price_text(price: Price | None) -> str:
    """Show a price in USD per million input / output tokens."""
    if price is None:
        return "unknown"
    if price == FREE:
        return "free"
    text = f"{format_usd(price.rates.input)} / {format_usd(price.rates.output)}"
    for above, rates in price.steps:
        text += f", above {above:,}: {format_usd(rates.input)} / {format_usd(rates.output)}"
    return text


def _deployment(deployment: Deployment) -> Description:
    limits = deployment.limits
    price = deployment.price
    return {
        "name": deployment.name,
        "tier": deployment.tier,
        "provider": deployment.provider,
        "model": deployment.model,
        "price": price_text(price),
        "price_usd_per_million": None if price is None else _usd(price.rates),
        "price_version": None if price is None else price.version,
        **structs.asdict(limits),
        "capabilities": sorted(deployment.capabilities),
        "residency": deployment.residency,
        "quality": deployment.quality,
        "weight": deployment.weight,
    }


def preload_text(preload: PreloadSettings | None) -> str | None:
    """Say what is made ready and when; None where nothing is."""
    if preload is None or not (preload.connection or preload.model):
        return None
    parts = {"connection": preload.connection, "model": preload.model}
    what = " and ".join(name for name, is_made in parts.items() if is_made)
    spans = list(preload.hours)
    if preload.predict:
        spans.append("the hours that had traffic")
    return f"{what}, {' and '.join(spans) or 'always'}"


def _usd(rates: Rates) -> dict[str, float]:
    lines = structs.asdict(rates).items()
    return {name: float(to_usd(nano)) for name, nano in lines if nano is not None}


def _route(route: Route, settings: Settings) -> Description:
    policy = compile_policy(replace(route.policy, explore=0.0), route.deployments)
    decision = decide(policy, route.name, TYPICAL, route.deployments, {}, Random(0))
    names = {deployment.name for deployment in route.deployments}
    outside = [deployment for deployment in settings.deployments if deployment.name not in names]
    others, refused = screen(policy, TYPICAL, outside, {})
    plan = plan_of(decision, route.fallback, RouteOptions(), others, refused)
    spec = route.policy
    most = spec.max_cost_nano
    return {
        "name": route.name,
        "aliases": list(route.aliases),
        "strategy": spec.strategy,
        "picker": decision.picker,
        "by_lot": decision.picker in BY_LOT,
        "candidates": _candidates(decision),
        "rejected": [
            {"deployment": each.deployment.name, "filter": each.filter, "reason": each.reason}
            for each in decision.rejected
        ],
        "rules": [
            {
                "name": rule.name,
                "when": condition_text(rule.when),
                "tiers": rule.tiers,
                "deployments": rule.deployments,
                "strategy": rule.strategy,
                "weights": rule.weights,
            }
            for rule in spec.rules
        ],
        "fallback": {
            "enabled": route.fallback.enabled,
            "max_attempts": route.fallback.max_attempts,
            "after": after_each_kind(plan, route.timeouts.total_s),
            "skipped": dict(plan.skipped),
        },
        "limits": {
            "require": sorted(spec.require),
            "residency": spec.residency,
            "max_cost_usd": None if most is None else float(to_usd(most)),
            "max_first_content_s": spec.max_first_content_s,
            "sensitive_tiers": list(spec.sensitive_tiers),
        },
        "timeouts": structs.asdict(route.timeouts),
        "baseline": route.baseline,
    }


def _candidates(decision: Decision) -> list[Description]:
    return [
        {
            "deployment": candidate.deployment.name,
            "tier": candidate.deployment.tier,
            "score": round(candidate.score, 4),
            "cost_usd": None if candidate.cost_nano is None else float(to_usd(candidate.cost_nano)),
            "parts": {
                name: round(score, 4)
                for (name, _), score in zip(decision.scorers, candidate.parts, strict=True)
            },
        }
        for candidate in decision.candidates
    ]


def after_each_kind(plan: Plan, total_s: float) -> dict[FailureKind, list[str]]:
    """Play every kind of failure to its end: who is asked after the first, in order."""
    return {kind: _played(plan, kind, total_s) for kind in get_args(FailureKind)}


def _played(plan: Plan, kind: FailureKind, total_s: float) -> list[str]:
    failures: list[Failed] = []
    asked: list[str] = []
    while isinstance(step := _step(plan, failures, total_s), Try):
        asked.append(step.deployment.name)
        failures.append(Failed(step.deployment.name, ProviderFailure(kind, "played"), 0.0))
    return asked[1:]


def _step(plan: Plan, failures: list[Failed], total_s: float) -> object:
    return next_step(plan, failures, now=0.0, deadline=total_s, retry_allowed=True)


def condition_text(when: Condition) -> str:
    """Put a condition into words."""
    parts: list[str] = []
    if when.task:
        parts.append(f"task is {' or '.join(sorted(when.task))}")
    if when.language:
        parts.append(f"language is {' or '.join(sorted(when.language))}")
    if when.sensitive is not None:
        parts.append("it is sensitive" if when.sensitive else "it is not sensitive")
    if when.needs:
        parts.append(f"it needs {' and '.join(sorted(when.needs))}")
    if when.input_tokens_above is not None:
        parts.append(f"input is above {when.input_tokens_above:,} tokens")
    if when.input_tokens_below is not None:
        parts.append(f"input is below {when.input_tokens_below:,} tokens")
    parts += [f"tag {name} is {value}" for name, value in sorted(when.tags.items())]
    return ", ".join(parts) or "always"
