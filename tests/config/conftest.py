"""A small world to check files against: few providers, known prices, a fixed environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pointsman.config.known import Known
from pointsman.config.load import Loaded, reads
from pointsman.config.problems import BadConfig
from pointsman.domain.deployment import Tier
from pointsman.domain.money import from_usd
from pointsman.domain.usage import Price, Rates
from pointsman.providers.catalog import CATALOG
from pointsman.providers.prices import ModelFacts

ABLE = frozenset({"chat", "tools", "vision", "json", "json_schema"})
LIST = "list 2026-11"


def _facts(input_usd: float, output_usd: float, context: int, can: frozenset[str]) -> ModelFacts:
    price = Price(Rates.of(from_usd(input_usd), from_usd(output_usd)), version=LIST)
    return ModelFacts(price, context, 8_192, can, LIST)


FACTS: Mapping[tuple[str, str], ModelFacts] = {
    ("openai", "gpt-4.1"): _facts(2, 8, 1_000_000, ABLE),
    ("openai", "gpt-4.1-mini"): _facts(0.4, 1.6, 1_000_000, ABLE),
    ("openai", "text-embedding-3-small"): _facts(0.02, 0, 8_192, frozenset({"embeddings"})),
    ("openai", "whisper-1"): _facts(1, 1, 8_192, frozenset()),
    ("azure", "gpt-4.1"): _facts(2.2, 8.8, 1_000_000, ABLE),
    ("anthropic", "claude-sonnet-4-5"): _facts(3, 15, 200_000, ABLE | {"documents"}),
    ("groq", "llama-3.3-70b"): _facts(0.59, 0.79, 131_072, frozenset({"chat", "tools"})),
}

ENV: Mapping[str, str] = {
    "OPENAI_API_KEY": "openai-key-of-the-test",
    "ANTHROPIC_API_KEY": "anthropic-key-of-the-test",
    "GROQ_API_KEY": "groq-key-of-the-test",
    "APP_KEY": "app-key-of-the-test-0001",
    "OTHER_KEY": "other-key-of-the-test-002",
    "EMPTY": "  ",
    "TWO_LINES": "one\ntwo",
    "AZURE_URL": "https://eu.openai.azure.com/",
}


def guess(provider: str, model: str, facts: ModelFacts | None) -> Tier:
    return "workhorse" if "mini" in model or "llama" in model else "frontier"


@pytest.fixture(scope="session")
def known() -> Known:
    return Known(CATALOG, lambda provider, model: FACTS.get((provider, model)), guess)


@pytest.fixture(scope="session")
def env() -> Mapping[str, str]:
    return ENV


Read = Callable[..., Loaded]
Wrong = Callable[..., list[str]]


@pytest.fixture
def read(known: Known, tmp_path: Path) -> Read:
    """Read a text in that world; keywords change the environment."""

    def make(text: str, **changed: str) -> Loaded:
        return reads(text, "f.yaml", {**ENV, **changed}, tmp_path, known)

    return make


@pytest.fixture
def wrong(read: Read) -> Wrong:
    """Read a text that is wrong; return the complaints, one a line."""

    def make(text: str, **changed: str) -> list[str]:
        with pytest.raises(BadConfig) as caught:
            read(text, **changed)
        return caught.value.message.splitlines()

    return make
