"""Providers as rows: each can be reached, paid and told apart."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from pointsman.domain.deployment import TIERS
from pointsman.providers.catalog import CATALOG, ROWS, ProviderRow
from pointsman.providers.prices import facts_of, guess_tier

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
default_models = pytest.mark.parametrize(
    ("row", "model", "tier"),
    [(row, model, tier) for row in ROWS for model, tier in row.default_models],
    ids=[f"{row.name}/{model}" for row in ROWS for model, _ in row.default_models],
)

PROMISED = (
    *("openai", "azure", "anthropic", "gemini", "mistral", "groq", "together", "fireworks"),
    *("deepseek", "xai", "openrouter", "moonshot", "zhipu", "qwen", "cerebras", "perplexity"),
    *("cohere", "ollama", "vllm", "llamacpp"),
)


def test_every_promised_provider_has_a_row() -> None:
    assert set(PROMISED) <= set(CATALOG)
    assert len(CATALOG) == len(ROWS)


@rows
def test_an_address_is_a_base_that_paths_are_appended_to(row: ProviderRow) -> None:
    address = row.usual_url if row.is_local else row.url
    if row.name == "azure":
        assert address == ""
        return
    parts = urlsplit(address)
    assert parts.scheme == ("http" if row.is_local else "https")
    assert parts.hostname
    assert not address.endswith("/")
    assert "chat/completions" not in address
    assert "messages" not in address


@rows
def test_hosted_providers_need_a_key_and_local_ones_do_not(row: ProviderRow) -> None:
    assert row.needs_key is not row.is_local
    assert bool(row.key_env) or row.is_local
    if row.is_local:
        assert (urlsplit(row.usual_url).hostname or "").startswith("127.")


def test_no_variable_names_two_providers() -> None:
    variables = [name for row in ROWS for name in (*row.key_env, *row.url_env)]
    assert len(variables) == len(set(variables))


def test_an_address_for_clients_is_not_taken_for_a_providers() -> None:
    """OPENAI_BASE_URL usually points at us: following it would make us our own client."""
    variables = {name for row in ROWS for name in row.url_env}
    assert not variables & {"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OPENAI_API_BASE"}


@default_models
def test_a_default_model_has_a_known_price_and_can_chat(
    row: ProviderRow, model: str, tier: str
) -> None:
    facts = facts_of(row.name, model)
    assert facts is not None
    assert facts.price is not None
    assert facts.price.rates.output > 0
    assert {"chat", "tools", "json"} <= facts.capabilities
    assert tier in TIERS
    assert guess_tier(row.name, model, facts) == tier


@rows
def test_defaults_begin_with_the_best_tier(row: ProviderRow) -> None:
    tiers = [TIERS.index(tier) for _, tier in row.default_models]
    assert tiers == sorted(tiers)
