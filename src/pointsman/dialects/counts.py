"""Read what providers report that they used, and trust only what makes sense.

An explicit 0 is 0. What is missing is None: the caller estimates. What is negative, no integer or
above 2^53 makes the whole report worthless: `INSANE`, so that the caller estimates and says so.
Parts larger than their whole are cut to it, and totals that do not add up are told as flags.
What a field counts is the provider's rule (domain/billing.py).
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pointsman.domain.billing import ANY, BillingRule
from pointsman.domain.money import MOST_NANO, told_cost
from pointsman.domain.tiers import ANTHROPIC, tier_of
from pointsman.domain.usage import INSANE, Usage

MOST = 2**53

TICKS_PER_USD = 10**10
"""xAI's (docs.x.ai/developers/cost-tracking, 2026-11)."""


class _Insane(Exception):
    pass


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST:
        raise _Insane
    return value


def _part(value: object) -> int:
    return 0 if value is None else _count(value)


def _object(value: object) -> dict[str, Any]:
    return value if type(value) is dict else {}


class _Parts:
    """Hands out parts of a whole, none larger than what is left of it."""

    __slots__ = ("flags",)

    def __init__(self) -> None:
        self.flags: list[str] = []

    def at_most(self, part: int, whole: int) -> int:
        if part <= whole:
            return part
        self.flag("parts_clamped")
        return whole

    def flag(self, name: str) -> None:
        if name not in self.flags:
            self.flags.append(name)


def openai_usage(value: object, rule: BillingRule = ANY, tier: object = None) -> Usage | None:
    """Read `usage` of an OpenAI-shaped answer, by the provider's `rule`; `tier` is the answer's
    `service_tier`. None for none, `INSANE` for one that makes no sense.

    cached: `prompt_tokens_details.cached_tokens` (OpenAI), `prompt_cache_hit_tokens` (DeepSeek),
    `cached_tokens` (Moonshot). cache_write: `prompt_tokens_details.cache_write_tokens` (OpenAI,
    OpenRouter). Reasoning beside the completion (xAI, Gemini) is told by a `total_tokens` above
    prompt + completion: it is billed as output, so it is counted there.
    """
    if type(value) is not dict:
        return None
    try:
        usage = _openai_usage(value, rule)
    except _Insane:
        return INSANE
    if usage is not None and tier is not None:
        lane = tier_of(tier)
        return replace(usage, tier=lane) if lane else usage
    return usage


def _openai_usage(fields: dict[str, Any], rule: BillingRule) -> Usage | None:
    prompt, completion = fields.get("prompt_tokens"), fields.get("completion_tokens")
    told_total = fields.get("total_tokens")
    total = _part(told_total)
    if prompt is None:
        return None
    given = _count(prompt)
    is_partial = completion is None and told_total is None
    output = max(total - given, 0) if completion is None else _count(completion)
    parts = _Parts()
    details = _object(fields.get("completion_tokens_details"))
    reasoning = _part(details.get("reasoning_tokens"))
    beside = reasoning
    if not reasoning and rule.reasoning == "beside":  # Perplexity names them at the top.
        reasoning = _part(fields.get("reasoning_tokens"))
        beside = reasoning + _part(fields.get("citation_tokens"))
    unseen = total - given - output
    if told_total is None:
        if rule.reasoning == "beside":
            output += beside
    elif unseen > 0 and (
        rule.reasoning == "beside" or (rule.reasoning == "by_total" and reasoning in (0, unseen))
    ):
        output += unseen
        reasoning = reasoning or unseen
    elif unseen:
        parts.flag("total_mismatch")
    details = _object(fields.get("prompt_tokens_details"))
    cached = _part(details.get("cached_tokens")) or _part(fields.get("prompt_cache_hit_tokens"))
    cached = parts.at_most(cached or _part(fields.get("cached_tokens")), given)
    written = parts.at_most(_part(details.get("cache_write_tokens")), given - cached)
    heard = parts.at_most(_part(details.get("audio_tokens")), given)
    seen = parts.at_most(_part(details.get("image_tokens")), given - heard)
    made = _object(fields.get("completion_tokens_details"))
    reasoning = parts.at_most(reasoning, output)
    spoken = parts.at_most(_part(made.get("audio_tokens")), output - reasoning)
    drawn = parts.at_most(_part(made.get("image_tokens")), output - reasoning - spoken)
    told = None
    if rule.cost:
        told = _told(fields, rule)
        if told is not None and told > MOST_NANO:
            parts.flag("cost_insane")
            told = None
    return Usage(
        input=given,
        output=output,
        cached=cached,
        cache_write=written,
        reasoning=reasoning,
        estimated=is_partial,
        audio_input=heard,
        audio_output=spoken,
        image_input=seen,
        image_output=drawn,
        searches=_part(fields.get("num_search_queries")),
        told_nano=None if is_partial else told,
        flags=tuple(parts.flags),
    )


def _told(fields: dict[str, Any], rule: BillingRule) -> int | None:
    """What the provider charges, in nano-USD; above MOST_NANO for a figure that makes no sense."""
    if rule.cost == "usd_ticks":
        ticks = fields.get("cost_in_usd_ticks")
        amount = None if ticks is None else told_cost(ticks, TICKS_PER_USD)
        return MOST_NANO + 1 if ticks is not None and amount is None else amount
    cost = fields.get("cost")
    if cost is None:
        return None
    amounts = [cost]
    if fields.get("is_byok") is True:
        # The upstream bills the operator's own key, OpenRouter its fee besides.
        amounts.append(_object(fields.get("cost_details")).get("upstream_inference_cost") or 0)
    read = [told_cost(amount) for amount in amounts]
    return MOST_NANO + 1 if None in read else sum(amount or 0 for amount in read)


def render_openai_usage(usage: Usage) -> dict[str, Any]:
    prompt: dict[str, int] = {"cached_tokens": usage.cached}
    if usage.cache_write or usage.cache_write_1h:
        prompt["cache_write_tokens"] = usage.cache_write + usage.cache_write_1h
    if usage.audio_input:
        prompt["audio_tokens"] = usage.audio_input
    completion = {"reasoning_tokens": usage.reasoning}
    if usage.audio_output:
        completion["audio_tokens"] = usage.audio_output
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }


def anthropic_usage(value: object, estimated: bool = False) -> Usage | None:
    """Read `usage` of an Anthropic-shaped answer, where `input_tokens` leaves the cache out."""
    if type(value) is not dict or not value:
        return None
    try:
        return _anthropic_usage(value, estimated)
    except _Insane:
        return INSANE


def _anthropic_usage(fields: dict[str, Any], estimated: bool) -> Usage | None:
    if fields.get("input_tokens") is None:
        return None
    plain = _count(fields["input_tokens"])
    is_partial = fields.get("output_tokens") is None
    output = _part(fields.get("output_tokens"))
    cached = _part(fields.get("cache_read_input_tokens"))
    split = _object(fields.get("cache_creation"))
    hour = _part(split.get("ephemeral_1h_input_tokens"))
    written = hour + _part(split.get("ephemeral_5m_input_tokens"))
    parts = _Parts()
    if fields.get("cache_creation_input_tokens") is not None:
        whole = _count(fields["cache_creation_input_tokens"])
        if written and written != whole:
            parts.flag("total_mismatch")
        written = whole
        hour = parts.at_most(hour, written)
    details = _object(fields.get("output_tokens_details"))
    tools = _object(fields.get("server_tool_use"))
    tier = tier_of(fields.get("service_tier"), ANTHROPIC)
    return Usage(
        input=plain + cached + written,
        output=output,
        cached=cached,
        cache_write=written - hour,
        cache_write_1h=hour,
        reasoning=parts.at_most(_part(details.get("thinking_tokens")), output),
        estimated=estimated or is_partial,
        searches=_part(tools.get("web_search_requests")),
        tier="fast" if fields.get("speed") == "fast" and not tier else tier,
        flags=tuple(parts.flags),
    )


def render_anthropic_usage(usage: Usage) -> dict[str, Any]:
    written = usage.cache_write + usage.cache_write_1h
    fields: dict[str, Any] = {
        "input_tokens": max(usage.input - usage.cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }
    if written:
        fields["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.reasoning:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.searches:
        fields["server_tool_use"] = {"web_search_requests": usage.searches}
    return fields
