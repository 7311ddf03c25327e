"""Warnings about one route: rules that cannot fire, fallbacks that cannot be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pointsman.config.problems import Path
from pointsman.config.resolve_routes import REASONING_FIRST_CONTENT_S
from pointsman.config.settings import Route, Timeouts
from pointsman.domain.deployment import TIERS
from pointsman.routing.spec import Condition, PolicySpec

Finding = tuple[Path, str, str]
"""Where below the route, what, and what to do."""

_PLAIN = PolicySpec()


def implies(narrow: Condition, wide: Condition) -> bool:
    """Tell whether every request that `narrow` matches is matched by `wide` too."""
    above, below = wide.input_tokens_above, wide.input_tokens_below
    return (
        (not wide.task or (bool(narrow.task) and narrow.task <= wide.task))
        and (not wide.language or (bool(narrow.language) and narrow.language <= wide.language))
        and wide.sensitive in (None, narrow.sensitive)
        and wide.needs <= narrow.needs
        and (above is None or (narrow.input_tokens_above or -1) >= above)
        and (
            below is None
            or (narrow.input_tokens_below is not None and narrow.input_tokens_below <= below)
        )
        and wide.tags.items() <= narrow.tags.items()
    )


def _shadowed_rules(route: Route) -> Iterator[Finding]:
    rules = route.policy.rules
    for place, rule in enumerate(rules):
        earlier = next((other for other in rules[:place] if implies(rule.when, other.when)), None)
        if earlier is not None:
            what = f"never fires: rule {earlier.name} above it takes every such request"
            yield ("rules", place), what, "put it first, or make the other narrower"


def _hopeless_rules(route: Route) -> Iterator[Finding]:
    """Rules under which no deployment of the route could answer."""
    for place, rule in enumerate(route.policy.rules):
        allowed = [
            deployment
            for deployment in route.deployments
            if (rule.tiers is None or deployment.tier in rule.tiers)
            and (rule.deployments is None or deployment.name in rule.deployments)
        ]
        if rule.when.needs and not any(rule.when.needs <= d.capabilities for d in allowed):
            needs = ", ".join(sorted(rule.when.needs))
            what = f"none of its deployments can {needs}: such requests are refused"
            yield ("rules", place), what, "let others answer too"
        guarded = {d.tier for d in route.deployments} & set(route.policy.sensitive_tiers)
        kept = [d for d in allowed if d.tier in route.policy.sensitive_tiers]
        if rule.when.sensitive and guarded and not kept:
            tiers = ", ".join(route.policy.sensitive_tiers)
            what = f"sensitive requests stay on tier {tiers}, which it leaves out: all are refused"
            yield ("rules", place), what, "add the tier to the rule, or to `sensitive_tiers`"


def _unguarded_content(route: Route) -> Iterator[Finding]:
    tiers = route.policy.sensitive_tiers
    if len(tiers) < len(TIERS) and not any(d.tier in tiers for d in route.deployments):
        what = (
            f"no deployment of tier {' or '.join(tiers) or '(none)'}: secrets and personal data "
            "found in requests are not kept from any tier"
        )
        remedy = "add one, or say so: `sensitive_tiers: [frontier, workhorse, local]`"
        yield ("sensitive_tiers",), what, remedy


def _no_way_out(route: Route) -> Iterator[Finding]:
    others = set(route.fallback.chain or ()) | {d.name for d in route.deployments}
    if len(others) == 1 and route.fallback.enabled:
        what = f"only {next(iter(others))}: when it fails, nothing else can answer"
        yield ("deployments",), what, "add a second one, or a `fallback.chain`"


def _dead_chains(route: Route) -> Iterator[Finding]:
    fallback = route.fallback
    chains: dict[str, tuple[str, ...]] = {str(kind): c for kind, c in fallback.by_kind.items()}
    if fallback.chain is not None:
        chains["chain"] = fallback.chain
    only = route.deployments[0].name if len(route.deployments) == 1 else None
    for key, chain in chains.items():
        if chain and (not fallback.enabled or fallback.max_attempts == 1):
            why = "max_attempts is 1" if fallback.enabled else "falling back is off"
            yield ("fallback", key), f"never used: {why}", "leave it out, or allow attempts"
            continue
        tried = [name for name in chain if name != only]
        unreached = tried[fallback.max_attempts - 1 :]
        if unreached:
            what = (
                f"{', '.join(unreached)}: reached only where an earlier one is passed over, since "
                f"max_attempts is {fallback.max_attempts}"
            )
            yield ("fallback", key), what, f"write `max_attempts: {len(tried) + 1}`, or shorten it"


def _idle_keys(route: Route) -> Iterator[Finding]:
    """Keys that the strategy does not look at."""
    policy = route.policy
    strategies = {policy.strategy} | {rule.strategy for rule in policy.rules if rule.strategy}
    weighed = set(policy.weights) | {w for rule in policy.rules for w in rule.weights or ()}
    if policy.order and "static" not in strategies and "order" not in weighed:
        yield ("order",), f"not looked at by strategy {policy.strategy}", "write `strategy: static`"
    if policy.tiers != _PLAIN.tiers and "tiers" not in strategies and "tier" not in weighed:
        yield ("tiers",), f"not looked at by strategy {policy.strategy}", "write `strategy: tiers`"
    quality = policy.weights.get("quality", 0) > 0
    known = {deployment.quality or deployment.tier for deployment in route.deployments}
    if quality and len(known) == 1 and len(route.deployments) > 1:
        what = "quality has weight, but all deployments of the route have the same"
        yield ("weights",), what, "state it, in [0, 1]"


def _idle_limit(route: Route) -> Iterator[Finding]:
    expected, enforced = route.policy.max_first_content_s, route.timeouts.first_content_s
    if expected is not None and expected > enforced:
        what = f"above timeouts.first_content_s, {enforced:g} s, so it excludes nobody"
        yield ("max_first_content_s",), what, "lower it"


def _hasty(route: Route) -> Iterator[Finding]:
    """A stated wait that is short for models that think before they speak."""
    seconds = route.timeouts.first_content_s
    thinking = [d.name for d in route.deployments if "reasoning" in d.capabilities]
    if thinking and seconds < Timeouts().first_content_s:
        what = f"{', '.join(thinking)} may reason for longer than {seconds:g} s before any content"
        remedy = f"the default is {REASONING_FIRST_CONTENT_S:g} for them; or give them a route"
        yield ("timeouts", "first_content_s"), what, remedy


def _priceless(route: Route) -> Iterator[Finding]:
    """A bound on cost keeps out what has no known price."""
    unknown = [deployment.name for deployment in route.deployments if deployment.price is None]
    if route.policy.max_cost_nano is not None and unknown:
        what = f"keeps out {', '.join(unknown)}, whose price is unknown"
        yield ("max_cost_usd",), what, "state the price, or leave the bound out"


def _idle_affinity(route: Route) -> Iterator[Finding]:
    if route.affinity and len(route.deployments) == 1:
        what = "has no effect: there is one deployment"
        yield ("affinity",), what, "leave it out"


ROUTE_LINTS: tuple[Callable[[Route], Iterator[Finding]], ...] = (
    _shadowed_rules,
    _hopeless_rules,
    _unguarded_content,
    _no_way_out,
    _dead_chains,
    _idle_keys,
    _idle_limit,
    _hasty,
    _priceless,
    _idle_affinity,
)
