"""List prices, limits and abilities of models, from the table compiled into the package.

`data/models.json` is made by `tools/compile_prices.py`; nothing is fetched, and nothing is
looked up per request: configuration asks once for each deployment. A name that the snapshot
does not match has no known price (None), never a guess and never 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import msgspec

from pointsman.domain.billing import billing_of
from pointsman.domain.deployment import Tier
from pointsman.domain.usage import Lane, Price, Rates
from pointsman.providers.catalog import CATALOG
from pointsman.providers.model_facts import (
    DEFAULT_CAPABILITIES,
    EMBEDDINGS,
    LOCAL_CAPABILITIES,
    bare_name,
    family_of,
)

Clause: TypeAlias = "str | list[Clause]"


class _Rates(msgspec.Struct, frozen=True):
    input: int | None = None
    output: int | None = None
    cached: int | None = None
    write: int | None = None
    write_1h: int | None = None
    reasoning: int | None = None
    audio_in: int | None = None
    audio_cached: int | None = None
    audio_out: int | None = None
    image_in: int | None = None
    image_out: int | None = None
    search: int = 0
    request: int = 0
    steps: tuple[tuple[int, dict[str, int]], ...] = ()


Dated: TypeAlias = tuple[tuple[str | None, _Rates], ...]
"""Rates with the day from which they hold, None for always."""


class _Model(msgspec.Struct, frozen=True):
    id: str
    match: msgspec.Raw
    context: int | None = None
    prices: Dated = ()
    peak: _Rates | None = None
    lanes: dict[str, Dated] = {}
    other: tuple[str, ...] = ()


class _Provider(msgspec.Struct, frozen=True):
    fallback: tuple[str, ...]
    models: tuple[_Model, ...]


class _Table(msgspec.Struct, frozen=True):
    source: str
    version: str
    date: str
    providers: dict[str, _Provider]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model at a provider, before the operator's own word.

    price: None where the list has none. context_tokens: input plus output. output_tokens:
    longest answer. version: the price table and its date. uncounted: what the provider also
    charges and `price` leaves out ("audio_hours", "storage_searches_kcount"; "off_peak" says
    that the price is that of the dearest hours).
    """

    price: Price | None
    context_tokens: int | None
    output_tokens: int | None
    capabilities: frozenset[str]
    version: str
    uncounted: tuple[str, ...] = ()


@cache
def _table() -> _Table:
    data = files("pointsman.providers").joinpath("data/models.json").read_bytes()
    return msgspec.json.decode(data, type=_Table)


def table_version() -> str:
    """Name the price table: its source, version and date."""
    table = _table()
    return f"{table.source} {table.version} {table.date}"


def facts_of(provider: str, model: str, *, on: date | None = None) -> ModelFacts | None:
    """Return what is known of `model` at `provider`; None for a model nobody knows.

    `provider` is a name of the catalogue or of the price table. `on` is the day (UTC) whose
    price is asked for, today's by default: lists announce changes ahead.
    """
    return _facts(provider, model, on or datetime.now(UTC).date())


@cache
def _facts(provider: str, model: str, day: date) -> ModelFacts | None:
    row = CATALOG.get(provider)
    listed = _find(row.price_provider if row else provider, model)
    family = family_of(model)
    if listed is None and family is None:
        return None
    by_bill = row is not None and billing_of(row.name).cost != ""
    price = _price_of(listed, day, by_bill=by_bill) if listed else None
    if family is not None:
        capabilities = family.capabilities
    else:
        capabilities = DEFAULT_CAPABILITIES if price and price.rates.output else EMBEDDINGS
        if price is None:
            capabilities = DEFAULT_CAPABILITIES
    if row is not None and "chat" in capabilities:
        capabilities |= LOCAL_CAPABILITIES.get(row.kind, frozenset())
    uncounted = listed.other if listed else ()
    if listed and listed.peak:
        uncounted += ("off_peak",)
    return ModelFacts(
        price=price,
        context_tokens=listed.context if listed else None,
        output_tokens=family.output_tokens if family else None,
        capabilities=capabilities,
        version=table_version(),
        uncounted=uncounted,
    )


def guess_tier(provider: str, model: str, facts: ModelFacts | None) -> Tier:
    """Guess which tier a model belongs to where nobody said so.

    1. a local server: local; 2. the catalogue's own default models; 3. a word in the name that
    makers use for their small models: workhorse; 4. output at 10 USD a million tokens or more:
    frontier; 5. otherwise workhorse.
    """
    row = CATALOG.get(provider)
    if row is not None:
        if row.is_local:
            return "local"
        for name, tier in row.default_models:
            if bare_name(name) == bare_name(model):
                return tier
    if _SMALL.search(bare_name(model)):
        return "workhorse"
    if facts is not None and facts.price and facts.price.rates.output >= _FRONTIER_OUTPUT:
        return "frontier"
    return "workhorse"


_SMALL = re.compile(
    r"(^|[-_.])(mini|nano|lite|flash\w*|haiku|small|air|luna|instant|\d{1,2}b)($|[-_.])"
)
_FRONTIER_OUTPUT = 10_000_000_000
"""10 USD a million output tokens: in November 2026 the flagships of OpenAI, Anthropic, Google
and Moonshot are at 10 to 50, their second models at 0.4 to 7.5."""


# Finding a model by its name, as the snapshot's own rules do.

_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def _find(provider: str, model: str) -> _Model | None:
    """Match `model` at `provider`, then at those whose models it resells; then with a compact
    date ("-20251211") written out."""
    table = _table().providers
    entry = table.get(provider)
    if entry is None:
        return None
    sources = (entry, *(table[name] for name in entry.fallback if name in table))
    name = model.lower()
    for spelling in dict.fromkeys((name, _COMPACT_DATE.sub(_dashed, name))):
        for source in sources:
            for candidate in source.models:
                if _matches(_clause(candidate.match), spelling):
                    return candidate
    return None


def _dashed(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return match.group(0)
    return f"-{year}-{month}-{day}"


def _clause(raw: msgspec.Raw) -> Clause:
    clause: Clause = msgspec.json.decode(raw)
    return clause


def _matches(clause: Clause, name: str) -> bool:
    """Tell whether a match clause of the table holds for a lower-case name."""
    if isinstance(clause, list):
        mark, *parts = clause
        hold = all if mark == "&" else any
        return hold(_matches(part, name) for part in parts)
    mark, text = clause[0], clause[1:]
    if mark == "=":
        return name == text
    if mark == "^":
        return name.startswith(text)
    if mark == "$":
        return name.endswith(text)
    if mark == "*":
        return text in name
    return re.search(text, name) is not None


# From the table's lines to a Price.


def _price_of(model: _Model, day: date, *, by_bill: bool = False) -> Price | None:
    """The price of `model` on `day`: the last dated line that has begun, or the first."""
    if not model.prices:
        return None
    start, rates = model.prices[0]
    for since, later in reversed(model.prices):
        if since is None or since <= day.isoformat():
            start, rates = since, later
            break
    if model.peak is not None and _dearness(model.peak) > _dearness(rates):
        rates = model.peak
    if rates.input is None and rates.output is None:
        return None
    base, steps = _steps_of(_lines(rates), rates.steps)
    lanes = {
        tier: lane
        for tier, variants in model.lanes.items()
        if (lane := _lane(tier, variants, rates, day)) is not None
    }
    batch = lanes.pop("batch", None)
    return Price(
        rates=base,
        version=table_version() + (f" from {start}" if start else ""),
        steps=steps,
        batch=None if batch is None else batch.rates,
        batch_steps=() if batch is None else batch.steps,
        lanes=tuple(lanes[tier] for tier in sorted(lanes)),
        search_nano=rates.search,
        request_nano=rates.request,
        by_bill=by_bill,
        source=table_version(),
        since=start or "",
        until=_next_change(model, day),
    )


def _next_change(model: _Model, day: date) -> str:
    """The first later day on which any of the model's prices changes, "" for none announced."""
    dated = (model.prices, *model.lanes.values())
    later = {since for each in dated for since, _ in each if since and since > day.isoformat()}
    return min(later, default="")


def _lane(tier: str, variants: Dated, rates: _Rates, day: date) -> Lane | None:
    """A tier's rates on `day`, its own lines over the standard ones; None before it has begun."""
    lines, steps = _lane_lines(variants, day)
    if not lines:
        return None
    own, own_steps = _steps_of(_lines(rates) | lines, _merged_steps(rates.steps, steps, lines))
    return Lane(tier, own, own_steps)


def _dearness(rates: _Rates) -> int:
    return (rates.input or 0) + (rates.output or 0)


_PARTS = {
    "reasoning": "reasoning",
    "audio_in": "audio_input",
    "audio_cached": "audio_cached",
    "audio_out": "audio_output",
    "image_in": "image_input",
    "image_out": "image_output",
}
"""The table's lines for parts, and the rates they are."""

_LINES = ("input", "output", "cached", "write", "write_1h", *_PARTS)


def _lines(rates: _Rates) -> dict[str, int]:
    return {line: amount for line in _LINES if (amount := getattr(rates, line)) is not None}


Steps: TypeAlias = Sequence[tuple[int, Mapping[str, int]]]


def _lane_lines(variants: Dated, day: date) -> tuple[dict[str, int], Steps]:
    """A lane's own lines on `day`: for each line the first variant that has it."""
    lines: dict[str, int] = {}
    steps: dict[int, dict[str, int]] = {}
    for since, variant in variants:
        if since is not None and since > day.isoformat():
            continue
        new = _lines(variant).keys() - lines.keys()
        lines |= {line: amount for line, amount in _lines(variant).items() if line in new}
        for above, amounts in variant.steps:
            mine = {line: amount for line, amount in amounts.items() if line in new}
            steps.setdefault(above, {}).update(mine)
    return lines, sorted(steps.items())


def _merged_steps(standard: Steps, batch: Steps, overridden: Mapping[str, int]) -> Steps:
    """Steps of a lane: its own, and the standard ones of lines it does not override."""
    merged: dict[int, dict[str, int]] = {}
    for above, amounts in standard:
        kept = {line: amount for line, amount in amounts.items() if line not in overridden}
        if kept:
            merged.setdefault(above, {}).update(kept)
    for above, amounts in batch:
        if amounts:
            merged.setdefault(above, {}).update(amounts)
    return sorted(merged.items())


def _steps_of(base: Mapping[str, int], steps: Steps) -> tuple[Rates, tuple[tuple[int, Rates], ...]]:
    """Rates and their steps; a line that a step does not name stays as it was below it."""
    lines = dict(base)
    result: list[tuple[int, Rates]] = []
    for above, amounts in steps:
        lines |= amounts
        result.append((above, _rates(lines)))
    return _rates(base), tuple(result)


def _rates(lines: Mapping[str, int]) -> Rates:
    return Rates.of(
        lines.get("input", 0),
        lines.get("output", 0),
        lines.get("cached"),
        lines.get("write"),
        lines.get("write_1h"),
        **{rate: lines.get(line) for line, rate in _PARTS.items()},
    )
