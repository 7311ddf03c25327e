"""How providers report what they bill: one row each, with where we know it from.

Theory. Providers of one dialect agree on the names of fields and not on what they count. The
fields' meaning is therefore a rule of the provider, not of the dialect, and a rule has a source.
What no page says stands in `unknown`, and is then read in the way that charges more.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

Reasoning = Literal["inside", "beside", "by_total"]
"""Where reasoning stands: a part of the output's count (OpenAI), beside it (xAI), or, for a
server that nobody knows, beside it where the total says so."""

OnCancel = Literal["stops", "bills_on", "unknown"]
"""A stream that is left: it `stops` being made and billed, it is made and billed to its end, or
nobody says. Only the first may be charged by what was seen; else the most that it can cost is."""

CostField = Literal["", "usd", "usd_ticks"]
"""`usage.cost` in USD (OpenRouter), `usage.cost_in_usd_ticks` of 10^-10 USD (xAI)."""


class BillingRule(msgspec.Struct, frozen=True):
    """`cost`: the field with what is charged, the provider's own bill. `limit_covers_reasoning`:
    max_tokens bounds reasoning too. `source` and `read`: the pages, and when they were read."""

    reasoning: Reasoning = "by_total"
    on_cancel: OnCancel = "unknown"
    cost: CostField = ""
    limit_covers_reasoning: bool = True
    source: str = ""
    read: str = ""
    unknown: str = ""


ANY: Final = BillingRule(unknown="everything: a server that we have no page of")
"""The rule of a provider that is not in the catalogue."""

_CANCEL: Final = "openrouter.ai/docs/api-reference/streaming, Stream Cancellation"
_READ: Final = "2026-11"
_LOCAL: Final = BillingRule(
    reasoning="inside",
    on_cancel="stops",
    source="its own server stops generating when the connection closes; nobody bills",
    read=_READ,
)


def _row(
    reasoning: Reasoning, on_cancel: OnCancel, source: str, unknown: str = "", **more: object
) -> BillingRule:
    rule = BillingRule(
        reasoning=reasoning, on_cancel=on_cancel, source=source, read=_READ, unknown=unknown
    )
    return msgspec.structs.replace(rule, **more)


RULES: Mapping[str, BillingRule] = MappingProxyType(
    {
        "openai": _row(
            "inside",
            "stops",
            f"developers.openai.com/api/reference/chat: usage; {_CANCEL}",
            "whether reasoning that was not yet shown is billed when a stream is left",
        ),
        "azure": _row("inside", "stops", f"as OpenAI's; {_CANCEL}"),
        "anthropic": _row(
            "inside",
            "stops",
            "platform.claude.com/docs: streaming (message_delta is cumulative), prompt caching "
            f"(input_tokens leave the cache out), service tiers; {_CANCEL}",
        ),
        "gemini": _row(
            "beside",
            "bills_on",
            "ai.google.dev/api/generate-content: UsageMetadata (thoughts beside candidates, both "
            f"in the total), as its OpenAI face passes them on; {_CANCEL}",
            "whether its OpenAI face names the thoughts: the total tells them either way",
        ),
        "mistral": _row("inside", "bills_on", f"docs.mistral.ai/api: UsageInfo; {_CANCEL}"),
        "groq": _row(
            "inside",
            "bills_on",
            f"console.groq.com/docs/api-reference: usage, x_groq.usage in streams; {_CANCEL}",
        ),
        "together": _row("inside", "stops", f"docs.together.ai/reference: usage; {_CANCEL}"),
        "fireworks": _row("inside", "stops", f"docs.fireworks.ai/api-reference: usage; {_CANCEL}"),
        "deepseek": _row(
            "inside",
            "stops",
            f"api-docs.deepseek.com: usage, prompt_cache_hit_tokens + _miss_ = prompt; {_CANCEL}",
        ),
        "xai": _row(
            "beside",
            "stops",
            "docs.x.ai/docs/key-information/consumption-and-rate-limits (reasoning beside the "
            "completion, in the total); docs.x.ai/developers/cost-tracking (cost_in_usd_ticks, "
            f"what was charged, 10^10 a dollar); {_CANCEL}",
            "whether max_tokens bounds reasoning: taken as unbounded but by the context",
            cost="usd_ticks",
            limit_covers_reasoning=False,
        ),
        "openrouter": _row(
            "inside",
            "unknown",
            "openrouter.ai/docs/use-cases/usage-accounting (cost in credits of a dollar; with a "
            f"key of one's own the upstream bills besides); {_CANCEL}",
            "which upstream answered when a stream is left, and so whether it stops",
            cost="usd",
        ),
        "moonshot": _row(
            "inside",
            "unknown",
            "platform.moonshot.ai/docs/api/chat: usage.cached_tokens",
            "what a stream costs that is left",
        ),
        "zhipu": _row("inside", "unknown", "docs.bigmodel.cn: usage", "a stream that is left"),
        "zai": _row("inside", "unknown", "docs.z.ai/api-reference: usage", "a stream that is left"),
        "qwen": _row(
            "inside", "bills_on", f"alibabacloud.com/help/model-studio: usage; {_CANCEL} (Alibaba)"
        ),
        "cerebras": _row(
            "inside",
            "unknown",
            "inference-docs.cerebras.ai/api-reference: usage",
            "a stream that is left",
        ),
        "perplexity": _row(
            "beside",
            "bills_on",
            "docs.perplexity.ai/getting-started/pricing (reasoning and citations are lines of "
            f"their own; a fee for each search); {_CANCEL}",
        ),
        "cohere": _row(
            "by_total",
            "stops",
            f"docs.cohere.com/docs/compatibility-api: usage; {_CANCEL}",
            "billed_units, which leave Cohere's own preamble out, are not in its OpenAI face: "
            "what it reports there may be more than it bills",
        ),
        "ollama": _LOCAL,
        "vllm": _LOCAL,
        "llamacpp": _LOCAL,
    }
)
"""By the catalogue's names."""


def billing_of(provider: str) -> BillingRule:
    """The rule of a provider of the catalogue; `ANY` for others."""
    return RULES.get(provider, ANY)
