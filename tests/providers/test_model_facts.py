"""What families of models can do."""

from __future__ import annotations

import re

import pytest

from pointsman.domain.deployment import CAPABILITIES
from pointsman.providers.model_facts import FAMILIES, bare_name, family_of


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.pattern)
def test_a_family_says_what_we_have_words_for_and_where_from(family: object) -> None:
    from pointsman.providers.model_facts import Family

    assert isinstance(family, Family)
    assert family.capabilities <= set(CAPABILITIES)
    assert re.search(r"20\d\d-\d\d$", family.source)
    assert "chat" in family.capabilities or family.capabilities <= {"embeddings"}
    re.compile(family.pattern)


@pytest.mark.parametrize(
    ("model", "can", "cannot"),
    [
        ("gpt-6.1-sol", {"tools", "vision", "json_schema", "reasoning"}, {"audio", "embeddings"}),
        ("gpt-6.1-sol-2026-09-29", {"tools"}, set()),
        ("openai/gpt-6-luna:batch", {"tools", "reasoning"}, set()),
        ("gpt-4o-2024-05-13", {"vision", "json"}, {"json_schema", "reasoning"}),
        ("gpt-4o-mini", {"vision", "json_schema"}, {"reasoning"}),
        ("gpt-4o-audio-preview", {"audio"}, {"vision", "json_schema"}),
        ("gpt-4o-mini-tts", set(), {"chat"}),
        ("gpt-4o-transcribe", set(), {"chat"}),
        ("gpt-realtime-2", set(), {"chat"}),
        ("gpt-5-image", set(), {"chat"}),
        ("gpt-oss-120b", {"tools", "reasoning"}, {"vision"}),
        ("gpt-oss-safeguard-20b", set(), {"chat"}),
        ("o3-mini", {"reasoning", "json_schema"}, {"vision"}),
        ("o4-mini", {"reasoning", "vision"}, {"parallel_tools"}),
        ("claude-haiku-5-5", {"json_schema", "documents", "reasoning"}, {"audio"}),
        ("claude-3-5-sonnet-20241022", {"tools", "vision"}, {"json_schema", "reasoning"}),
        ("claude-3-7-sonnet-latest", {"reasoning"}, {"json_schema"}),
        ("claude-opus-4-20250514", {"reasoning"}, {"json_schema"}),
        ("anthropic/claude-opus-4.5", {"json_schema"}, set()),
        ("gemini-4-argon", {"audio", "vision", "json_schema"}, {"documents"}),
        ("gemini-3.8-flash-tts", set(), {"chat"}),
        ("gemini-embedding-2", {"embeddings"}, {"chat"}),
        ("magistral-medium", {"reasoning"}, {"vision"}),
        ("mistral-large-4", {"vision", "json_schema"}, set()),
        ("mistral-ocr-latest", set(), {"chat"}),
        ("open-mixtral-8x7b", {"chat"}, {"tools"}),
        ("grok-4-fast-non-reasoning", {"vision"}, {"reasoning"}),
        ("grok-4.7", {"reasoning", "json_schema"}, set()),
        ("deepseek-v4-pro", {"tools", "reasoning"}, {"vision"}),
        ("deepseek-flash", {"vision"}, set()),
        ("accounts/fireworks/models/kimi-k3", {"vision", "tools"}, set()),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", {"tools"}, {"vision"}),
        ("accounts/fireworks/models/llama-v3p1-8b-instruct", {"tools"}, {"vision"}),
        ("llama-3.1-8b-instant", {"tools"}, set()),
        ("llama3.2:1b", {"tools"}, set()),
        ("llama-guard-3-8b", set(), {"chat"}),
        ("qwen2.5-vl-72b-instruct", {"vision"}, {"tools"}),
        ("Qwen3-Embedding-8B", {"embeddings"}, {"chat"}),
        ("text-embedding-3-large", {"embeddings"}, {"chat"}),
        ("command-r7b-12-2024", {"tools"}, {"vision"}),
    ],
)
def test_a_model_can_what_its_family_can(model: str, can: set[str], cannot: set[str]) -> None:
    family = family_of(model)
    assert family is not None
    assert can <= family.capabilities
    assert not cannot & family.capabilities


@pytest.mark.parametrize("model", ["our-finetune", "", "myclaude", "notgpt-4o"])
def test_a_stranger_belongs_to_no_family(model: str) -> None:
    assert family_of(model) is None


def test_the_bare_name_leaves_publisher_and_channel_out() -> None:
    assert bare_name("accounts/fireworks/models/Kimi-K3") == "kimi-k3"
    assert bare_name("~google/gemini-flash-latest:batch") == "gemini-flash-latest"


def test_every_family_is_reached_by_some_model() -> None:
    """A family hidden behind an earlier pattern would be a line that says nothing."""
    from pointsman.providers.prices import _table

    listed = {m.id for p in _table().providers.values() for m in p.models}
    more = {
        *("gpt-4o-2024-05-13", "gpt-4-0125-preview", "o1-mini", "tinyllama-1.1b", "qwq-32b"),
        *("gpt-3.5-turbo-instruct", "claude-opus-4-20250514", "claude-sonnet-4-20250514"),
        *("grok-2-vision-1212", "claude-v1", "moonshot-v1-8k", "deepseek-reasoner", "glm-4-plus"),
    }
    reached = {family_of(name) for name in listed | more}
    assert [family.pattern for family in FAMILIES if family not in reached] == []
