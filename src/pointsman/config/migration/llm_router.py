"""The snake_case file of the TypeScript router `reaatech/llm-router` to a file of ours.

Facts about the format are from its schema, configuration loader and sample files, read in
November 2026. Camel-case keys, which its loader takes as well, are read too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pointsman.config.known import Known
from pointsman.config.migration.draft import ALL_TIERS, Draft, Entry
from pointsman.config.migration.source import Journal, Source
from pointsman.config.yaml_marks import Node
from pointsman.domain.deployment import CAPABILITIES

PROVIDERS: Mapping[str, str] = {"google": "gemini", "alibaba": "qwen", "x-ai": "xai"}
STRATEGIES: Mapping[str, str] = {
    "cost-optimized": "cost",
    "latency-optimized": "latency",
    "judgment-based": "tiers",
    "capability-based": "capability",
}

OTHER = "Pointsman has no such setting"
REASONS: Mapping[str, str] = {
    "budgets": "write `budgets`: a name, a scope, limit_usd and a window",
    "default_budget": "write `budgets`: a name, a scope, limit_usd and a window",
    "observability": "logs, metrics and traces are not set in this file",
    "eval": "answers are not scored",
    "priority": "a client asks for a route by its name, so routes do not compete",
    "max_tokens": "a strategy bounds no answers: set `default_max_tokens` at a deployment",
    "target_p99_ms": "compared with a median there; `max_first_content_s` bounds the wait",
    "escalation_threshold": "no judge is asked: tiers decide, and rules by content",
    "max_judge_invocations": "no judge is asked: tiers decide, and rules by content",
    "consensus_required": "no judge is asked: tiers decide, and rules by content",
    "half_open_max_calls": "one probe at a time goes to a deployment that is coming back",
    "half_open_timeout_ms": "a probe has the route's own timeouts",
    "config": "free-form settings of a client library",
}


def carry_llm_router(
    root: Node, draft: Draft, journal: Journal, known: Known, urls: Mapping[str, str]
) -> None:
    """Carry the whole file over into `draft`; `urls` are addresses of providers it does not
    state and the catalogue does not know."""
    file = Source(root, (), journal)
    models = file.section("models")
    carried: dict[str, str] = {}
    for key, tier in (("workhorses", "workhorse"), ("judges", "frontier")):
        for model in models.each(key):
            name = _deployment(model, tier, draft, known, urls)
            if name is not None:
                carried[name] = tier
    chains = _chains(file, carried, draft)
    strategies = file.section("strategies")
    for name in strategies:
        _route(name, strategies.section(name), carried, chains, draft)
    if not draft.routes and carried:
        draft.routes.append({"name": "auto", "sensitive_tiers": ALL_TIERS})
    elif draft.routes and all(route["name"] != "auto" for route in draft.routes):
        first = next((r for r in draft.routes if r["name"] == "default"), draft.routes[0])
        first["aliases"] = ["auto"]
        draft.routes = [_ordered(route) for route in draft.routes]
    for chain in chains:
        if not chain.used:
            chain.source.note("dropped", "no strategy's pool has a model of it", "models")


def _ordered(route: Entry) -> Entry:
    """Put name and aliases first."""
    first = {key: route[key] for key in ("name", "aliases") if key in route}
    return first | route


# Models.


def _deployment(
    model: Source, tier: str, draft: Draft, known: Known, urls: Mapping[str, str]
) -> str | None:
    name, provider = model.text("id"), model.text("provider")
    if name is None or provider is None:
        model.drop("no id or no provider")
        return None
    if model.take("enabled") is False:
        model.drop("it was not enabled")
        return None
    reached = _provider(model, provider, draft, known, urls)
    if reached is None:
        return None
    row = known.providers.get(PROVIDERS.get(provider, provider))
    facts = known.facts_of(row.name if row else provider, name)
    prices = [model.number(model.spelt(f"cost_per_million_{side}")) for side in ("input", "output")]
    entry: Entry = {"name": re.sub(r"[\s*]+", "-", name), "provider": reached, "model": name}
    entry["tier"] = "local" if row is not None and row.is_local else tier
    if prices[0] is not None and prices[1] is not None:
        free = not any(prices)
        entry["price"] = "free" if free else {"input_usd": prices[0], "output_usd": prices[1]}
    elif facts is None:
        entry["price"] = "unknown"
    tokens = model.whole(model.spelt("max_tokens"))
    if tokens is not None and tokens > 0:
        entry["context_tokens"] = tokens
        text = "it meant both the context and the answer: taken as context_tokens"
        model.note("changed", text, model.spelt("max_tokens"))
    words = model.words("capabilities")
    if words:
        # Their words are about subjects: what the model is known to do stays.
        able = sorted(facts.capabilities) if facts else ()
        entry["capabilities"] = list(dict.fromkeys((*able, *_capabilities(words))))
    draft.deployments.append(entry)
    return str(entry["name"])


def _capabilities(words: Sequence[str]) -> list[str]:
    """Keep our own words, mark the others as the operator's."""
    return ["chat", *(word if word in CAPABILITIES else f"x-{word}" for word in words)]


def _provider(
    model: Source,
    provider: str,
    draft: Draft,
    known: Known,
    urls: Mapping[str, str],
) -> str | None:
    """Name the provider, with another entry for each key of its own."""
    ours = PROVIDERS.get(provider, provider)
    row = known.providers.get(ours)
    if row is None and provider not in urls:
        text = f"the address of provider {provider} is not in the file: give --url {provider}=…"
        model.drop(text)
        return None
    variable = model.text(model.spelt("api_key_env"))
    entry: Entry = {}
    if provider in urls:
        entry["url"] = urls[provider]
    if row is None:
        entry["dialect"] = "openai"
    if variable is not None:
        entry["key"] = draft.env(variable)
    elif row is None:
        entry["key"] = "none"
    elif row.needs_key and row.key_env:
        draft.variables.add(row.key_env[0])
    for number in range(1, len(draft.providers) + 3):
        name = ours if number == 1 else f"{ours}-{number}"
        wanted = entry if number == 1 or row is None else {"like": ours, **entry}
        if draft.providers.setdefault(name, wanted) == wanted:
            return name
    return None


# Chains and strategies.


class _Chain:
    """A fallback chain; `used` once a route has taken it."""

    def __init__(self, source: Source, models: list[str]) -> None:
        self.source = source
        self.models = models
        self.used = False


def _chains(file: Source, carried: Mapping[str, str], draft: Draft) -> list[_Chain]:
    found: list[_Chain] = []
    for source in file.each(file.spelt("fallback_chains")):
        source.text("name")
        names = source.words("models")
        missing = [name for name in names if name not in carried]
        if missing:
            source.note("dropped", f"not carried over: {', '.join(missing)}", "models")
        found.append(_Chain(source, [name for name in names if name in carried]))
        _breaker(source.section(source.spelt("circuit_breaker")), draft)
    return found


def _breaker(source: Source, draft: Draft) -> None:
    """Ours is one setting for all deployments: the first chain's is taken."""
    streak = source.whole(source.spelt("failure_threshold"))
    reset_ms = source.number(source.spelt("reset_timeout_ms"))
    stated: Entry = {}
    if streak is not None and streak > 0:
        stated["streak"] = streak
    if reset_ms is not None and reset_ms > 0:
        stated["base_s"] = reset_ms / 1000
        stated["max_s"] = max(60.0, reset_ms / 1000)
    if not draft.breaker:
        draft.breaker.update(stated)
    elif stated and stated != draft.breaker:
        source.drop("one breaker setting holds for all: the first chain's was taken")


def _route(
    name: str, source: Source, carried: Mapping[str, str], chains: Sequence[_Chain], draft: Draft
) -> None:
    kind = source.text("type") or ""
    judges = source.words(source.spelt("judge_pool"))
    pool = [*source.words(source.spelt("workhorse_pool")), *judges]
    preferred = source.words(source.spelt("preferred_models"))
    pool = list(dict.fromkeys(pool or preferred))
    missing = [model for model in pool if model not in carried]
    if missing:
        source.note("dropped", f"not carried over: {', '.join(missing)}")
    members = [model for model in pool if model in carried]
    if pool and not members:
        source.drop("none of its models is carried over")
        return
    route: Entry = {"name": re.sub(r"[\s*]+", "-", name)}
    if members:
        route["deployments"] = members
    if kind not in STRATEGIES:
        source.note("changed", f"{kind or 'no type'} has no counterpart: tiers", "type")
    route["strategy"] = STRATEGIES.get(kind, "tiers")
    if kind == "judgment-based":
        text = "no judge compares answers: the workhorses are tried first, then the judges"
        source.note("changed", text, "type")
    required = source.words(source.spelt("required_capabilities"))
    if required:
        route |= _require(source, _capabilities(required)[1:], members, draft)
    most = source.number(source.spelt("budget_per_request"))
    if most is not None and most > 0:
        route["max_cost_usd"] = most
    chain = next((c for c in chains if set(c.models) & set(members or carried)), None)
    if chain is not None and chain.models:
        chain.used = True
        route["fallback"] = {"chain": chain.models, "max_attempts": max(3, len(chain.models))}
        chain.source.note(
            "changed", "falls back by itself, not only when a request names it", "name"
        )
    timeout_ms = source.number(source.spelt("timeout_ms"))
    if timeout_ms is not None and timeout_ms > 0:
        route["timeouts"] = {"total_s": timeout_ms / 1000}
    route["sensitive_tiers"] = ALL_TIERS
    draft.routes.append(route)


def _require(source: Source, words: list[str], members: list[str], draft: Draft) -> Entry:
    """Require them where some model of the route has them: theirs were never looked at."""
    able = [set(e.get("capabilities", ())) for e in draft.deployments if e["name"] in members]
    if any(set(words) <= each for each in able):
        return {"require": words}
    key = source.spelt("required_capabilities")
    source.note("dropped", "no model of the route has them all, so none could answer", key)
    return {}
