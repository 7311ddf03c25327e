"""Compile the offline snapshot of genai-prices into our own integer price table.

    python tools/compile_prices.py --date 2026-11-09

genai-prices (MIT, Pydantic) is a development dependency only: at run time we read the table.
`--date` is the day up to which the snapshot is current; it becomes part of every price's
version. The output is deterministic: same package and date, same bytes; a test holds us to it.

What the table says of a model
    id        the snapshot's own name
    match     clauses over the lower-cased name: "=exact", "^prefix", "$suffix", "*contains",
              "~regex", ["|", clause…], ["&", clause…]; the first matching model wins
    context   longest input in tokens
    prices    [[effective from or null, rates]…]: the last one that has begun holds
    peak      rates of the dearest daily window, where prices change with the hour
    lanes     tier: [[effective from or null, partial rates]…]: per line, the first that has begun
    other     what the provider charges besides, and we do not count
rates: input, output, cached, write, write_1h, reasoning, audio_in, audio_cached, audio_out,
image_in, image_out in nano-USD per million tokens; search, request in nano-USD each; `steps` are
[[input tokens above which they hold for the whole request, rates]…].
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import version
from pathlib import Path

from genai_prices import types as source
from genai_prices.data import providers

TABLE = Path(__file__).parent.parent / "src/pointsman/providers/data/models.json"

LINES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "write",
    "cache_write_1h_mtok": "write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_in",
    "cache_audio_read_mtok": "audio_cached",
    "output_audio_mtok": "audio_out",
    "input_image_mtok": "image_in",
    "output_image_mtok": "image_out",
}
"""The snapshot's price keys that are lines of ours."""

FEES = {"web_searches_kcount": "search", "requests_kcount": "request"}
"""Fees a thousand, which become fees for each."""

LANES = (
    ("batch", {"processing": "batch"}),
    ("flex", {"service_tier": "flex"}),
    ("priority", {"service_tier": "priority"}),
    ("fast", {"service_tier": "fast"}),
    ("fast", {"speed": "fast"}),
)
"""Tiers of service, and how the snapshot's variants name them."""

CLAUSES = (
    (source.ClauseEquals, "=", "equals"),
    (source.ClauseStartsWith, "^", "starts_with"),
    (source.ClauseEndsWith, "$", "ends_with"),
    (source.ClauseContains, "*", "contains"),
)

Json = dict[str, object]


def nano(usd: Decimal) -> int:
    return int((usd * 10**9).to_integral_value(rounding=ROUND_HALF_EVEN))


def match_of(clause: object) -> object:
    """Turn a match clause into ours; texts are lower-cased as the snapshot's matching does."""
    for kind, mark, field in CLAUSES:
        if isinstance(clause, kind):
            return mark + str(getattr(clause, field)).lower()
    if isinstance(clause, source.ClauseRegex):
        return "~" + clause.regex
    if isinstance(clause, source.ClauseOr):
        return ["|", *map(match_of, clause.or_)]
    if isinstance(clause, source.ClauseAnd):
        return ["&", *map(match_of, clause.and_)]
    raise SystemExit(f"a match clause this tool does not know: {clause!r}")


def rates_of(prices: source.ModelPrice) -> Json:
    """The lines of a price we count, with its steps by context."""
    base: Json = {}
    steps: dict[int, Json] = {}
    for key, line in LINES.items():
        price = prices.__dict__.get(key)
        if isinstance(price, source.TieredPrices):
            base[line] = nano(price.base)
            for tier in price.tiers:
                steps.setdefault(tier.start, {})[line] = nano(tier.price)
        elif price is not None:
            base[line] = nano(price)
    for key, fee in FEES.items():
        each = prices.__dict__.get(key)
        if each is not None:
            base[fee] = nano(each / 1000)
    if steps:
        base["steps"] = [[start, steps[start]] for start in sorted(steps)]
    return base


def other_charges(every: Sequence[source.ModelPrice]) -> list[str]:
    names = {key for prices in every for key, price in prices.__dict__.items() if price is not None}
    return sorted(names - LINES.keys() - FEES.keys())


def start_of(constraint: object) -> str | None:
    return (
        constraint.start_date.isoformat()
        if isinstance(constraint, source.StartDateConstraint)
        else None
    )


def model_of(model: source.ModelInfo) -> Json:
    conditional = (
        [source.ConditionalPrice(prices=model.prices)]
        if isinstance(model.prices, source.ModelPrice)
        else model.prices
    )
    daily = [
        rates_of(each.prices)
        for each in conditional
        if isinstance(each.constraint, source.TimeOfDateConstraint)
    ]
    dated = [
        [start_of(each.constraint), rates_of(each.prices)]
        for each in conditional
        if not isinstance(each.constraint, source.TimeOfDateConstraint)
    ]
    lanes: dict[str, list[object]] = {}
    for variant in model.price_variants or ():
        for tier, when in LANES:
            if variant.when == when and (rates := rates_of(variant.prices)):
                lanes.setdefault(tier, []).append([start_of(variant.constraint), rates])
    row: Json = {
        "id": model.id,
        "match": match_of(model.match),
        "context": model.context_window,
        "prices": dated if any(rates for _, rates in dated) else [],
        "peak": max(daily, key=lambda rates: str(rates.get("output")).zfill(20), default=None),
        "lanes": lanes,
        "other": other_charges([each.prices for each in conditional]),
    }
    return {name: value for name, value in row.items() if value not in (None, [], {})}


def lines_of(date: str) -> Iterator[str]:
    """The table as JSON with a model a line, so that a new snapshot reads as a diff."""
    header = {
        "source": "genai-prices",
        "version": version("genai-prices"),
        "date": date,
        "licence": "MIT, Copyright (c) Pydantic Services Inc.",
        "unit": "nano-USD per million tokens",
    }
    yield json.dumps(header, separators=(",", ":"))[:-1] + ',"providers":{'
    ordered = sorted(providers, key=lambda each: each.id)
    for provider in ordered:
        fallback = json.dumps(provider.fallback_model_providers or [], separators=(",", ":"))
        yield f'"{provider.id}":{{"fallback":{fallback},"models":['
        rows = [
            json.dumps(model_of(each), separators=(",", ":"), ensure_ascii=False)
            for each in provider.models
        ]
        yield ",\n".join(rows)
        yield "]}" + ("" if provider is ordered[-1] else ",")
    yield "}}"


def compiled(date: str) -> bytes:
    """The whole table, as it is committed."""
    return ("\n".join(lines_of(date)) + "\n").encode()


def main() -> None:
    arguments = argparse.ArgumentParser(description="Compile genai-prices into our price table.")
    arguments.add_argument("--date", required=True, help="YYYY-MM-DD the snapshot is current to")
    table = compiled(arguments.parse_args().date)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_bytes(table)
    print(f"{TABLE}: {len(table):,} bytes")


if __name__ == "__main__":
    main()
