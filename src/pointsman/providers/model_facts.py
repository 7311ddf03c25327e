"""What families of models can do and how long they answer, by the pattern of their names.

Theory. The price snapshot knows prices and context windows, not abilities, so we keep this
small table. It is conservative: an ability is listed when the provider's own page says so for
the whole family over the chat API we use, for a wrong "yes" sends a request to a model that
fails it, while a wrong "no" costs a candidate, which the operator gives back in a line of
configuration. The first family whose pattern matches wins, so special ones stand above general
ones. A pattern is matched from the start of the bare name: lower case, without the publisher
("openai/", "accounts/fireworks/models/") that resellers put before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

_TOOLS = frozenset({"chat", "tools", "json"})
_SCHEMA = _TOOLS | {"parallel_tools", "json_schema"}
_SEES = _SCHEMA | {"vision"}
_GPT = _SEES | {"documents", "reasoning"}
_CLAUDE_OLD = frozenset({"chat", "tools", "parallel_tools", "vision", "documents"})
_CLAUDE = _CLAUDE_OLD | {"json", "json_schema", "reasoning"}
_GEMINI = _SEES | {"audio", "reasoning"}
_MISTRAL = _SCHEMA
_THINKS = _TOOLS | {"reasoning"}

EMBEDDINGS = frozenset({"embeddings"})
NO_CHAT: frozenset[str] = frozenset()
"""Speech, image, transcription and moderation models: none of the things we route."""

DEFAULT_CAPABILITIES = _TOOLS
"""What a hosted chat model of no known family is believed to do."""

LOCAL_CAPABILITIES: dict[str, frozenset[str]] = {
    "ollama": frozenset({"chat", "json", "json_schema"}),
    "vllm": frozenset({"chat", "json", "json_schema"}),
    "llamacpp": frozenset({"chat", "json", "json_schema"}),
}
"""What a local server adds to any model: all three hold an answer to a grammar
(docs of ollama "structured outputs", vLLM "guided decoding", llama.cpp "GBNF"; 2026-11)."""


@dataclass(frozen=True, slots=True)
class Family:
    """`output_tokens` is the longest answer, None where no page states it for the family."""

    pattern: str
    capabilities: frozenset[str]
    output_tokens: int | None
    source: str


_OPENAI = "developers.openai.com/api/docs/models, 2026-11"
_CLAUDE_PAGE = "platform.claude.com/docs/en/about-claude/models/overview, 2026-11"
_GOOGLE = "ai.google.dev/gemini-api/docs/models and /docs/openai, 2026-11"
_MISTRAL_PAGE = "docs.mistral.ai/getting-started/models, 2026-11"
_XAI = "docs.x.ai/docs/models, 2026-11"
_OPEN = "the publisher's model card, 2026-11"

FAMILIES: tuple[Family, ...] = (
    # Not for chat, whoever makes them.
    Family(r".*(embed|bge-|nomic-|(^|-)e5-|voyage-|gte-|minilm)", EMBEDDINGS, None, _OPEN),
    Family(
        r"whisper|tts-|dall-e|sora|imagen|veo|lyria|flux|.*moderation|.*-ocr|.*(realtime|transcribe)"
        r"|.*-tts|.*-image|.*(^|-)live(-|$)|.*guard|.*safeguard|orpheus|grok-voice|.*rerank|voxtral",
        NO_CHAT,
        None,
        _OPEN,
    ),
    # OpenAI.
    Family(r"gpt-oss", _THINKS, None, _OPENAI),
    Family(
        r"gpt-(5|6)(\.\d+)?-chat|gpt-chat|chatgpt-", frozenset({"chat", "vision"}), 16_384, _OPENAI
    ),
    Family(r"gpt-(5|6)", _GPT, 128_000, _OPENAI),
    Family(r"gpt-4\.1", _SEES | {"documents"}, 32_768, _OPENAI),
    Family(r"gpt-4o-2024-05-13", _TOOLS | {"parallel_tools", "vision"}, 4_096, _OPENAI),
    Family(r"gpt-(4o(-mini)?-)?audio", frozenset({"chat", "tools", "audio"}), 16_384, _OPENAI),
    Family(r"gpt-4o(-mini)?-search", frozenset({"chat", "json_schema"}), 16_384, _OPENAI),
    Family(r"gpt-4o", _SEES | {"documents"}, 16_384, _OPENAI),
    Family(r"gpt-4-(turbo|vision|1106|0125)", _TOOLS | {"vision"}, 4_096, _OPENAI),
    Family(r"gpt-4", frozenset({"chat", "tools"}), 8_192, _OPENAI),
    Family(r"gpt-3\.5-turbo-instruct", NO_CHAT, 4_096, _OPENAI),
    Family(r"gpt-3\.5", _TOOLS, 4_096, _OPENAI),
    Family(r"o1-(mini|preview)", frozenset({"chat", "reasoning"}), 32_768, _OPENAI),
    Family(r"o3-mini", _THINKS | {"json_schema"}, 100_000, _OPENAI),
    Family(r"o[134](-|$)", _THINKS | {"json_schema", "vision"}, 100_000, _OPENAI),
    # Anthropic; structured outputs since Opus 4.1, Sonnet 4.5 and Haiku 4.5.
    Family(r"claude-(instant|v1|v2|2|1)", frozenset({"chat"}), 4_096, _CLAUDE_PAGE),
    Family(r"claude-3[-.]7", _CLAUDE_OLD | {"reasoning"}, 64_000, _CLAUDE_PAGE),
    Family(r"claude-3[-.]5", _CLAUDE_OLD, 8_192, _CLAUDE_PAGE),
    Family(r"claude-3", _CLAUDE_OLD - {"documents"}, 4_096, _CLAUDE_PAGE),
    Family(r"claude-opus-4-1", _CLAUDE, 32_000, _CLAUDE_PAGE),
    Family(
        r"claude-(opus-4($|-0|-2025)|4-opus)", _CLAUDE_OLD | {"reasoning"}, 32_000, _CLAUDE_PAGE
    ),
    Family(
        r"claude-(sonnet-4($|-0|-2025)|4-sonnet)", _CLAUDE_OLD | {"reasoning"}, 64_000, _CLAUDE_PAGE
    ),
    Family(r"claude-(opus|sonnet|haiku)-4[-.]5", _CLAUDE, 64_000, _CLAUDE_PAGE),
    Family(r"claude-sonnet-4[-.]6", _CLAUDE, 64_000, _CLAUDE_PAGE),
    Family(r"claude-", _CLAUDE, 128_000, _CLAUDE_PAGE),
    # Google, over its OpenAI-compatible address, which takes images and audio but no files.
    Family(r"gemini-(1|2\.0)|gemini-pro|gemini-flash", _GEMINI - {"reasoning"}, 8_192, _GOOGLE),
    Family(r"gemini-(2\.5|3|4)", _GEMINI, 65_536, _GOOGLE),
    Family(r"gemma-?[34]", frozenset({"chat", "vision"}), None, _OPEN),
    Family(r"gemma", frozenset({"chat"}), None, _OPEN),
    # Mistral.
    Family(r"magistral", _MISTRAL | {"reasoning"}, None, _MISTRAL_PAGE),
    Family(
        r"mistral-(large-(2512|3|4)|medium-(3|latest|2505|2508|2604)|small-(2503|2506|2603|3\.[12]|4))"
        r"|pixtral|ministral-\d+b-2512",
        _MISTRAL | {"vision"},
        None,
        _MISTRAL_PAGE,
    ),
    Family(
        r"(open-)?(mistral-7b|mixtral)|mistral-tiny",
        frozenset({"chat", "json"}),
        None,
        _MISTRAL_PAGE,
    ),
    Family(r"(open-)?mistral-|ministral|codestral|devstral", _MISTRAL, None, _MISTRAL_PAGE),
    # xAI.
    Family(r"grok-2-vision", _TOOLS | {"vision"}, None, _XAI),
    Family(r"grok-4(\.\d+|-1)?-?(fast-)?.*non-reasoning", _SEES, None, _XAI),
    Family(r"grok-(4|5)", _SEES | {"reasoning"}, None, _XAI),
    Family(r"grok-(3-mini|code|build)", _THINKS | {"json_schema"}, None, _XAI),
    Family(r"grok-", _TOOLS | {"json_schema"}, None, _XAI),
    # Open weights, wherever they are served.
    Family(r"deepseek-r1-distill", frozenset({"chat", "reasoning"}), None, _OPEN),
    Family(r"deepseek-(reasoner|r1)", _THINKS, None, "api-docs.deepseek.com, 2026-11"),
    Family(
        r"deepseek-(flash|v4(p|\.)1)", _THINKS | {"vision"}, None, "api-docs.deepseek.com, 2026-11"
    ),
    Family(r"deepseek-v4", _THINKS, None, "api-docs.deepseek.com, 2026-11"),
    Family(r"deepseek", _TOOLS, None, "api-docs.deepseek.com, 2026-11"),
    Family(r"kimi-k(2(p|\.)[5-9]|3)", _THINKS | {"vision"}, None, "platform.kimi.ai, 2026-11"),
    Family(r"kimi-k2-thinking", _THINKS, None, "platform.kimi.ai, 2026-11"),
    Family(r"kimi|moonshot", _TOOLS, None, "platform.kimi.ai, 2026-11"),
    Family(
        r"glm-5(p|\.)3-flash|(zai-)?glm-4\.[56]v", _THINKS | {"vision"}, None, "docs.z.ai, 2026-11"
    ),
    Family(r"(zai-)?glm-(4(p|\.)[5-9]|5)", _THINKS, None, "docs.z.ai, 2026-11"),
    Family(r"(zai-)?glm-", _TOOLS, None, "docs.z.ai, 2026-11"),
    Family(r"qwen.*(-vl|omni)|qvq", frozenset({"chat", "vision", "json"}), None, _OPEN),
    Family(r"qwen-?3\.8-27b", _THINKS | {"vision"}, None, _OPEN),
    Family(r"qwq|qwen.*thinking", _THINKS, None, _OPEN),
    Family(r"qwen", _TOOLS, None, _OPEN),
    Family(r"(meta-)?llama-?4", _TOOLS | {"vision"}, None, _OPEN),
    Family(
        r"(meta-)?llama-?v?3(p|[.-])2-(11b|90b|vision)",
        frozenset({"chat", "vision", "json"}),
        None,
        _OPEN,
    ),
    Family(r"(meta-)?llama-?v?3(p|[._-])?[1-3]", _TOOLS, None, _OPEN),
    Family(r"(meta-)?(code)?llama", frozenset({"chat"}), None, _OPEN),
    Family(r"smollm|phi-|tinyllama|olmo|vicuna", frozenset({"chat"}), None, _OPEN),
    # Others.
    Family(r"command-a", _SCHEMA, 8_000, "docs.cohere.com/docs/models, 2026-11"),
    Family(r"command-r", _SCHEMA, 4_000, "docs.cohere.com/docs/models, 2026-11"),
    Family(r"command", frozenset({"chat"}), 4_000, "docs.cohere.com/docs/models, 2026-11"),
    Family(r"sonar", frozenset({"chat", "json_schema"}), None, "docs.perplexity.ai, 2026-09"),
)


@cache
def _compiled() -> tuple[tuple[re.Pattern[str], Family], ...]:
    return tuple((re.compile(family.pattern), family) for family in FAMILIES)


def bare_name(model: str) -> str:
    """Strip the publisher and a region or channel tag, and lower the case.

    "accounts/fireworks/models/Kimi-K3" -> "kimi-k3"; "~google/gemini-flash-latest:batch" ->
    "gemini-flash-latest".
    """
    return model.lower().rsplit("/", 1)[-1].partition(":")[0]


def family_of(model: str) -> Family | None:
    """Return the first family that knows `model` by its name, None for a stranger."""
    name = bare_name(model)
    for pattern, family in _compiled():
        if pattern.match(name):
            return family
    return None
