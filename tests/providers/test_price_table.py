"""The committed price table against the snapshot it was compiled from."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.domain.usage import Usage
from pointsman.providers.catalog import ROWS
from pointsman.providers.prices import facts_of, table_version

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "src/pointsman/providers/data/models.json"

DAYS = (date(2025, 6, 1), date(2026, 10, 25), date(2026, 11, 22), date(2027, 2, 1))
PEAK = time(2, 0)
"""An hour at which every provider with prices by the hour charges its dearest."""

USAGES = (
    Usage(input=1, output=1),
    Usage(input=1_234, output=567),
    Usage(input=90_001, output=3_333, cached=80_000),
    Usage(input=250_001, output=999, cached=100_000, cache_write=50_000),
    Usage(input=900_001, output=64_000, cached=7, cache_write=11, cache_write_1h=400_013),
    Usage(input=5_000, output=2_000, cached=1_000, audio_input=900, audio_output=700),
    Usage(input=5_000, output=2_000, cached=1_000, audio_input=900, audio_cached=301),
    Usage(input=5_000, output=2_000, image_input=1_290, image_output=1_120, reasoning=333),
    Usage(input=5_000, output=2_000, searches=3, reasoning=1_999),
)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "compile_prices", ROOT / "tools/compile_prices.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


def test_the_table_is_what_the_tool_makes_of_the_installed_snapshot(tool: ModuleType) -> None:
    """If this fails after an update of genai-prices: run tools/compile_prices.py and commit."""
    committed = TABLE.read_bytes()
    assert tool.compiled(json.loads(committed)["date"]) == committed


def test_the_table_is_small_and_says_where_it_is_from() -> None:
    assert TABLE.stat().st_size < 600_000
    header = json.loads(TABLE.read_bytes())
    assert header["source"] == "genai-prices"
    assert "MIT" in header["licence"]
    assert table_version() == f"genai-prices {header['version']} {header['date']}"


def test_no_number_in_the_table_is_a_float() -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not an integer")

    json.loads(TABLE.read_bytes(), parse_float=refuse)


def names_of(clause: Any) -> Iterator[str]:
    """Names that a match clause of the snapshot speaks of, some matching and some not."""
    for part in getattr(clause, "or_", None) or getattr(clause, "and_", None) or ():
        yield from names_of(part)
    for field in ("equals", "starts_with", "ends_with", "contains"):
        if text := getattr(clause, field, None):
            yield text
            yield text.upper() if field == "equals" else f"{text}-20251101"


def every_name(snapshot: Any, providers: set[str]) -> list[tuple[str, str]]:
    return [
        (provider.id, name)
        for provider in snapshot.providers
        if provider.id in providers
        for name in dict.fromkeys(
            name for model in provider.models for name in (model.id, *names_of(model.match))
        )
    ]


def their_usage(usage: Usage) -> Any:
    import genai_prices

    return genai_prices.Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_reasoning_tokens=usage.reasoning,
        input_audio_tokens=usage.audio_input,
        cache_audio_read_tokens=usage.audio_cached,
        output_audio_tokens=usage.audio_output,
        input_image_tokens=usage.image_input,
        output_image_tokens=usage.image_output,
        web_searches=usage.searches,
    )


def lines(usage: Usage) -> int:
    kinds = (
        *(usage.input, usage.output, usage.cached, usage.cache_write, usage.cache_write_1h),
        *(usage.reasoning, usage.audio_input, usage.audio_cached, usage.audio_output),
        *(usage.image_input, usage.image_output),
    )
    return sum(kind > 0 for kind in kinds)


def charges(price: Any) -> set[str]:
    return {key for key, value in price.__dict__.items() if value is not None}


def assert_same_cost(ours: int, theirs: Decimal, usage: Usage, what: object) -> None:
    """Equal, but for what rounding up once a line may add: less than a nano-USD each."""
    assert -lines(usage) < ours - theirs * 10**9 <= lines(usage), what


def test_our_costs_are_the_snapshots_own_to_the_nano(snapshot: Any) -> None:
    """Every name of every provider in the catalogue; days and usages drawn with a fixed seed."""
    chance = random.Random(7)
    providers = {row.price_provider for row in ROWS} - {""}
    compared = unknown = 0
    for provider, name in every_name(snapshot, providers):
        day = chance.choice(DAYS)
        facts = facts_of(provider, name, on=day)
        try:
            _, model = snapshot.find_provider_model(name, None, provider, None)
        except LookupError:
            assert facts is None or facts.price is None, (provider, name)
            unknown += 1
            continue
        moment = datetime.combine(day, PEAK, UTC)
        listed = charges(model.get_prices(moment))
        if not listed & {"input_mtok", "output_mtok"}:
            assert facts is None or facts.price is None, (provider, name)
            unknown += 1
            continue
        assert facts is not None
        assert facts.price is not None
        for usage in chance.sample(USAGES, 3):
            theirs = snapshot.calc(their_usage(usage), name, provider, None, moment).total_price
            assert_same_cost(facts.price.cost(usage), theirs, usage, (provider, name, day, usage))
            compared += 1
    assert compared > 3_000
    assert unknown > 50


@pytest.mark.parametrize(
    ("tier", "when"),
    [
        ("batch", {"processing": "batch"}),
        ("flex", {"service_tier": "flex"}),
        ("priority", {"service_tier": "priority"}),
        ("fast", {"speed": "fast"}),
    ],
)
def test_the_cost_in_a_tier_is_the_snapshots_own_to_the_nano(
    snapshot: Any, tier: str, when: dict[str, str]
) -> None:
    compared = 0
    for provider in snapshot.providers:
        for model in provider.models:
            if not any(v.when == when for v in model.price_variants or ()):
                continue
            for day in DAYS:
                facts = facts_of(provider.id, model.id, on=day)
                if facts is None or facts.price is None or facts.price.lane(tier) is None:
                    continue
                for usage in USAGES:
                    theirs = snapshot.calc(
                        *(their_usage(usage), model.id, provider.id, None),
                        datetime.combine(day, PEAK, UTC),
                        when,
                    ).total_price
                    ours = facts.price.cost(replace(usage, tier=tier))
                    assert_same_cost(ours, theirs, usage, (provider.id, model.id, day, usage))
                    compared += 1
    assert compared > {"batch": 1_000, "flex": 300, "priority": 300, "fast": 80}[tier]


def test_a_price_says_until_when_it_holds() -> None:
    facts = facts_of("gemini", "gemini-4-argon", on=date(2026, 11, 22))
    assert facts is not None and facts.price is not None
    assert facts.price.until == "2026-12-01"
    assert facts.price.source == table_version()
    later = facts_of("gemini", "gemini-4-argon", on=date(2026, 12, 1))
    assert later is not None and later.price is not None
    assert later.price.since == "2026-12-01" and later.price.version != facts.price.version
