"""From the file's deployments to the domain's, with the shipped facts filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pointsman.config.desk import Desk
from pointsman.config.problems import Path, shown, suggest
from pointsman.config.resolve_providers import Found
from pointsman.config.schema_models import DeploymentBlock, PriceBlock, RatesBlock
from pointsman.config.word_checks import check_capabilities
from pointsman.domain.billing import BillingRule, billing_of
from pointsman.domain.deployment import Deployment, Limits
from pointsman.domain.money import from_usd
from pointsman.domain.usage import FREE, Price, Rates
from pointsman.providers.prices import ModelFacts


@dataclass(frozen=True, slots=True)
class Named:
    """A deployment's block with its names made out; provider "" where none is said."""

    block: DeploymentBlock
    path: Path
    provider: str
    model: str
    name: str


def name_deployments(blocks: Sequence[DeploymentBlock], desk: Desk) -> tuple[Named, ...]:
    """Make out provider, model and name of each; complain of names that cannot be used."""
    named: list[Named] = []
    taken: dict[str, Path] = {}
    for index, block in enumerate(blocks):
        path = desk.path("deployments", index)
        provider, model = block.provider or "", block.model
        if not provider:
            provider, slash, model = block.model.partition("/")
            if not slash or not model:
                remedy = f"write `provider:`, or `model: provider/{block.model}`"
                desk.complain((*path, "model"), f"{shown(block.model)} names no provider", remedy)
                provider, model = "", block.model
        name = block.name or (f"{provider}/{model}" if provider else model)
        if block.name and (name.startswith("tier:") or "*" in name or " " in name):
            what = f"{shown(name)} cannot name a deployment"
            desk.complain((*path, "name"), what, "leave out blanks, `*` and `tier:`")
        elif name in taken:
            at = (*path, "name") if block.name else path
            first = "[" + str(taken[name][1]) + "]"
            what = f"{shown(name)} is already the name of deployments{first}"
            desk.complain(at, what, "give one of them another `name:`")
        taken.setdefault(name, path)
        named.append(Named(block, path, provider, model, name))
    return tuple(named)


def resolve_deployments(
    named: Iterable[Named],
    declared: Iterable[str],
    providers: Mapping[str, Found | None],
    desk: Desk,
) -> tuple[Deployment, ...]:
    """Resolve all whose provider is in order. `declared` are the names of the file."""
    choices = frozenset(declared) | frozenset(desk.known.providers)
    deployments: list[Deployment] = []
    for item in named:
        found = providers.get(item.provider)
        if found is not None:
            deployments.append(_resolve(item, found, desk))
        elif item.provider and item.provider not in providers:
            if desk.may_exist("providers", item.provider):
                continue
            at = (*item.path, "provider" if item.block.provider else "model")
            remedy = suggest(item.provider, choices)
            if not remedy.startswith("did you"):
                remedy = (
                    f"declare it: `providers: {{{item.provider}: {{url: …, dialect: openai}}}}`"
                )
            desk.complain(at, f"unknown provider {shown(item.provider)}", remedy)
    return tuple(deployments)


def _resolve(item: Named, found: Found, desk: Desk) -> Deployment:
    block, path = item.block, item.path
    facts = desk.known.facts_of(found.facts_as, item.model)
    tier = block.tier or found.tier
    if tier is None:
        local = found.is_local
        tier = "local" if local else desk.known.guess_tier(found.facts_as, item.model, facts)
    return Deployment(
        name=item.name,
        provider=item.provider,
        model=item.model,
        tier=tier,
        dialect=found.settings.dialect,
        price=_price(item, found, facts, desk),
        limits=_limits(block, facts, path, desk),
        capabilities=_capabilities(item, found, facts, desk),
        residency=block.residency or found.residency,
        weight=block.weight,
        quality=block.quality,
        default_max_tokens=block.default_max_tokens,
        adaptive=block.adaptive,
        refuses=found.settings.refuses,
        tags=frozenset(block.tags),
        billing=_billing(found, facts),
    )


def _billing(found: Found, facts: ModelFacts | None) -> BillingRule:
    """How its provider bills. What was seen of an answer bounds its cost only where the model is
    known to make nothing else, whatever the file says that it can do."""
    rule = billing_of(found.facts_as)
    if facts is None or "reasoning" in facts.capabilities:
        return replace(rule, on_cancel="unknown") if rule.on_cancel == "stops" else rule
    return rule


def _price(item: Named, found: Found, facts: ModelFacts | None, desk: Desk) -> Price | None:
    """1. the file's word; 2. the shipped list; 3. free on a local server; else complain."""
    price = item.block.price
    if price == "free":
        return FREE
    if price == "unknown":
        return None
    if isinstance(price, PriceBlock):
        return _stated(price, (*item.path, "price"), desk)
    if facts is not None and facts.price is not None:
        return facts.price
    if found.is_local:
        return FREE
    desk.complain(
        (*item.path, "price"),
        f"no price is known for {item.provider}/{item.model}",
        "write `price: {input_usd: …, output_usd: …}` per million tokens, `price: free` or "
        "`price: unknown`",
    )
    return None


def _stated(block: PriceBlock, path: Path, desk: Desk) -> Price:
    """Turn USD into nano-USD; the version is a digest, so a changed price has another one."""
    steps = tuple((step.input_tokens, _rates(step)) for step in block.above)
    floors = [floor for floor, _ in steps]
    if floors != sorted(set(floors)):
        desk.complain((*path, "above"), "thresholds do not rise", "sort them by `input_tokens`")
    rates = _rates(block)
    batch = _rates(block.batch) if block.batch is not None else None
    digest = hashlib.sha256(repr((rates, steps, batch)).encode()).hexdigest()[:12]
    return Price(rates, version=f"config {digest}", steps=steps, batch=batch)


def _rates(block: RatesBlock) -> Rates:
    def nano(usd: float | None) -> int | None:
        return None if usd is None else from_usd(usd)

    return Rates.of(
        from_usd(block.input_usd),
        from_usd(block.output_usd),
        nano(block.cached_input_usd),
        nano(block.cache_write_usd),
        nano(block.cache_write_1h_usd),
    )


def _limits(block: DeploymentBlock, facts: ModelFacts | None, path: Path, desk: Desk) -> Limits:
    context = block.context_tokens or (facts.context_tokens if facts else None)
    output = block.output_tokens
    if output is None and facts is not None and facts.output_tokens is not None:
        output = min(facts.output_tokens, context) if context else facts.output_tokens
    if output is not None and context is not None and output > context:
        what = f"{output} is more than the whole context of {context}"
        desk.complain((*path, "output_tokens"), what, "answer and input share the context")
    if output is not None and (block.default_max_tokens or 0) > output:
        what = f"{block.default_max_tokens} is above output_tokens, {output}"
        desk.complain((*path, "default_max_tokens"), what, "lower it")
    return Limits(
        context_tokens=context,
        output_tokens=output,
        max_in_flight=block.max_in_flight,
        requests_per_minute=block.requests_per_minute,
        tokens_per_minute=block.tokens_per_minute,
    )


def _capabilities(
    item: Named, found: Found, facts: ModelFacts | None, desk: Desk
) -> frozenset[str]:
    """What the file says, else what is shipped, else what such a server is believed to do."""
    at = (*item.path, "capabilities")
    words = item.block.capabilities
    if words is None:
        known = facts.capabilities if facts else desk.known.believed(found.settings.kind)
        if not known:
            what = f"{item.model} is not known to chat or to embed"
            desk.complain(item.path, what, "if it does, write `capabilities: [chat]`")
        return known or frozenset({"chat"})
    check_capabilities(words, at, desk)
    said = frozenset(words)
    return said if said & {"chat", "embeddings"} else said | {"chat"}
