"""Prices, limits and abilities as LiteLLM's deployments state them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from pointsman.config.migration.draft import Entry
from pointsman.config.migration.source import Source
from pointsman.domain.money import to_usd
from pointsman.domain.usage import Price
from pointsman.providers.prices import ModelFacts

ABILITIES: Mapping[str, str] = {
    "supports_vision": "vision",
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "parallel_tools",
    "supports_response_schema": "json_schema",
    "supports_pdf_input": "documents",
    "supports_audio_input": "audio",
    "supports_reasoning": "reasoning",
}

_LINES: Mapping[str, str] = {
    "input_cost_per_token": "input_usd",
    "output_cost_per_token": "output_usd",
    "cache_read_input_token_cost": "cached_input_usd",
    "cache_creation_input_token_cost": "cache_write_usd",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_usd",
}
_ABOVE = re.compile(r"^(.*)_above_(\d+)k_tokens$")


def price_of(params: Source, info: Source) -> object:
    """USD per token in either place to USD per million; None where none is stated."""
    usd: Entry = {}
    steps: dict[int, Entry] = {}
    batch: Entry = {}
    for source in (info, params):
        for key in source:
            above = _ABOVE.match(key)
            if key in _LINES:
                usd[_LINES[key]] = _per_million(source, key)
            elif above and above[1] in _LINES:
                step = steps.setdefault(int(above[2]) * 1000, {})
                step[_LINES[above[1]]] = _per_million(source, key)
            elif key.removesuffix("_batches") in ("input_cost_per_token", "output_cost_per_token"):
                batch[_LINES[key.removesuffix("_batches")]] = _per_million(source, key)
    if not usd:
        return None
    usd = {"input_usd": 0.0, "output_usd": 0.0, **usd}
    if not any(usd.values()) and not steps:
        return "free"
    if steps:
        usd["above"] = [{"input_tokens": n, **_plain(usd), **steps[n]} for n in sorted(steps)]
    if batch:
        usd["batch"] = {"input_usd": usd["input_usd"], "output_usd": usd["output_usd"], **batch}
    return usd


def _plain(usd: Entry) -> Entry:
    return {key: value for key, value in usd.items() if key.endswith("_usd")}


def _per_million(source: Source, key: str) -> float:
    return float(Decimal(str(source.number(key) or 0)) * 1_000_000)


def listed(price: Price) -> Entry:
    rates = price.rates
    return {
        "input_usd": float(to_usd(rates.input)),
        "output_usd": float(to_usd(rates.output)),
        "cached_input_usd": float(to_usd(rates.cached)),
    }


def limits_of(item: Source, params: Source, info: Source) -> Entry:
    """Only positive numbers; the place nearer to the request wins."""
    found: Entry = {}

    def put(name: str, *values: Callable[[], int | None]) -> None:
        for value in values:
            number = value()
            if number is not None and number > 0:
                found[name] = number

    put("context_tokens", lambda: info.whole("max_input_tokens"))
    put(
        "output_tokens",
        lambda: info.whole("max_tokens"),
        lambda: info.whole("max_output_tokens"),
    )
    context, output = found.get("context_tokens"), found.get("output_tokens")
    if context is not None and output is not None and output > context:
        found["context_tokens"] = context + output
    put("max_in_flight", lambda: params.whole("max_parallel_requests"))
    for name, key in (("requests_per_minute", "rpm"), ("tokens_per_minute", "tpm")):
        put(
            name,
            *(lambda source=source, key=key: source.whole(key) for source in (info, item, params)),
        )
    put("default_max_tokens", lambda: params.whole("max_tokens"))
    if "default_max_tokens" in found:
        params.note("changed", "asked for only where the caller names no max_tokens", "max_tokens")
    weight = params.number("weight")
    if weight is not None and weight >= 0:
        found["weight"] = weight
    return found


def abilities_of(info: Source, facts: ModelFacts | None) -> list[str] | None:
    """The stated abilities over the known ones; None where nothing is stated."""
    stated = {key: info.take(key) for key in ABILITIES if key in info}
    if not stated:
        return None
    known = set(facts.capabilities) if facts else {"chat"}
    for key, value in stated.items():
        (known.add if value is True else known.discard)(ABILITIES[key])
    return sorted(known)
