"""Prices, limits and abilities of models, asked for by name."""

from __future__ import annotations

from datetime import date

import pytest

from pointsman.domain.usage import Price, Usage
from pointsman.providers.prices import facts_of, guess_tier, table_version

NOVEMBER = date(2026, 11, 22)
USD = 1_000_000_000


def price_of(provider: str, model: str, on: date = NOVEMBER) -> Price:
    facts = facts_of(provider, model, on=on)
    assert facts is not None
    assert facts.price is not None
    return facts.price


def test_a_list_price_is_integer_nano_usd_per_million_tokens() -> None:
    rates = price_of("anthropic", "claude-opus-5-5").rates
    assert (rates.input, rates.output) == (4 * USD, 20 * USD)
    assert (rates.cached, rates.cache_write, rates.cache_write_1h) == (
        USD // 5,
        5 * USD,
        8 * USD,
    )


@pytest.mark.parametrize("tokens", [1, 100_000, 100_001, 900_000])
def test_a_long_prompt_pays_the_higher_rate_for_all_of_it(tokens: int) -> None:
    price = price_of("anthropic", "claude-haiku-5-5")
    per_million = USD // 10 if tokens <= 100_000 else USD // 2
    assert price.cost(Usage(input=tokens)) == -(-tokens * per_million // 1_000_000)


def test_the_batch_lane_has_rates_and_steps_of_its_own() -> None:
    price = price_of("anthropic", "claude-haiku-5-5")
    assert price.batch is not None
    assert (price.batch.input, price.batch.output) == (USD // 20, USD // 4)
    assert [(above, rates.input) for above, rates in price.batch_steps] == [(100_000, USD // 4)]
    assert price_of("xai", "grok-4.7").batch is None


@pytest.mark.parametrize(
    ("day", "input_usd"),
    [
        (date(2026, 10, 19), 0.68),
        (date(2026, 10, 20), 1.36),
        (date(2026, 10, 29), 0.7),
        (date(2030, 1, 1), 0.7),
    ],
)
def test_a_price_begins_on_its_day(day: date, input_usd: float) -> None:
    assert price_of("mistral", "mistral-large-4", day).rates.input == round(input_usd * USD)


def test_an_announced_rise_is_not_charged_before_it_comes() -> None:
    assert price_of("gemini", "gemini-4-argon", date(2026, 11, 30)).rates.input == 2 * USD
    assert price_of("gemini", "gemini-4-argon", date(2026, 12, 1)).rates.input == 4 * USD


def test_where_prices_change_by_the_hour_the_dearest_holds_and_says_so() -> None:
    facts = facts_of("deepseek", "deepseek-v4-pro", on=NOVEMBER)
    assert facts is not None
    assert facts.price is not None
    assert facts.price.rates.input == 1_320_000_000
    assert "off_peak" in facts.uncounted


def test_what_a_price_leaves_out_is_named() -> None:
    facts = facts_of("openai", "gpt-6-luna", on=NOVEMBER)
    assert facts is not None
    assert "storage_searches_kcount" in facts.uncounted


def test_the_version_names_source_and_day() -> None:
    assert price_of("anthropic", "claude-opus-5-5").version == table_version()
    assert table_version().startswith("genai-prices ")
    assert price_of("mistral", "mistral-large-4").version.endswith(" from 2026-10-29")


@pytest.mark.parametrize(
    ("provider", "model", "like"),
    [
        ("openai", "GPT-6-Luna", "gpt-6-luna"),
        ("openai", "gpt-6-luna-2026-09-22", "gpt-6-luna"),
        ("openai", "gpt-6-luna-20260922", "gpt-6-luna"),
        ("azure", "gpt-6-luna", "gpt-6-luna"),
        ("anthropic", "claude-haiku-5-5-20261007", "claude-haiku-5-5"),
        ("anthropic", "claude-haiku-5.5", "claude-haiku-5-5"),
        ("google", "gemini-flash-latest", "gemini-3.8-flash"),
        ("zhipu", "GLM-5.3", "glm-5.3"),
    ],
)
def test_a_model_is_known_by_its_other_names(provider: str, model: str, like: str) -> None:
    """By case, by dated snapshot, by alias, and at a provider that resells another's models."""
    home = "openai" if provider == "azure" else provider
    assert price_of(provider, model).rates == price_of(home, like).rates


@pytest.mark.parametrize("model", ["gpt-6-lunatic", "gpt-6-luna-20261399", "xgpt-6-luna", ""])
def test_a_name_that_only_looks_alike_has_no_price(model: str) -> None:
    facts = facts_of("openai", model, on=NOVEMBER)
    assert facts is None or facts.price is None


@pytest.mark.parametrize("model", ["gemma-4-31b-it", "gemma-4-26b-a4b-it"])
def test_a_model_without_a_listed_price_is_unknown_and_never_free(model: str) -> None:
    facts = facts_of("gemini", model, on=NOVEMBER)
    assert facts is not None
    assert facts.price is None
    assert facts.context_tokens == 262_144


def test_a_model_nobody_knows_has_no_facts() -> None:
    assert facts_of("openai", "our-own-finetune-7") is None
    assert facts_of("no-such-provider", "our-own-finetune-7") is None


def test_a_known_family_has_abilities_where_no_price_is_listed() -> None:
    facts = facts_of("qwen", "qwen3-max")
    assert facts is not None
    assert facts.price is None
    assert "tools" in facts.capabilities


def test_an_embedding_model_embeds_and_does_not_chat() -> None:
    for provider, model in (("openai", "text-embedding-3-small"), ("cohere", "embed-v4.0")):
        facts = facts_of(provider, model)
        assert facts is not None
        assert facts.capabilities == {"embeddings"}
        assert facts.price is not None
        assert facts.price.cost(Usage(input=1_000_000)) > 0


def test_a_local_server_holds_any_model_to_a_schema() -> None:
    facts = facts_of("llamacpp", "smollm2-135m-instruct")
    assert facts is not None
    assert facts.price is None
    assert facts.capabilities == {"chat", "json", "json_schema"}


@pytest.mark.parametrize(
    ("provider", "model", "tier"),
    [
        ("ollama", "llama-3.3-70b", "local"),
        ("vllm", "anything", "local"),
        ("anthropic", "claude-fable-5-2", "frontier"),
        ("openai", "gpt-5-mini", "workhorse"),
        ("openai", "gpt-5", "frontier"),
        ("openrouter", "openai/gpt-6-astra", "frontier"),
        ("azure", "gpt-6.1-sol", "frontier"),
        ("anthropic", "claude-haiku-4-5", "workhorse"),
        ("groq", "qwen/qwen3-32b", "workhorse"),
        ("our-own", "finetune", "workhorse"),
    ],
)
def test_a_tier_is_guessed_from_what_is_known(provider: str, model: str, tier: str) -> None:
    assert guess_tier(provider, model, facts_of(provider, model)) == tier
