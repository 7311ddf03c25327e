"""Read the token counts that a provider reports, and trust only sane ones.

An explicit 0 is 0. What is missing, negative, no integer or above 2^53 makes the whole report
worthless: None, so that the caller estimates and says so.
"""

from __future__ import annotations

from typing import Any

from pointsman.domain.usage import Usage

MOST = 2**53


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


def openai_usage(value: object) -> Usage | None:
    """Read `usage` of an OpenAI-shaped answer, with the dialects of that dialect.

    cached: `prompt_tokens_details.cached_tokens` (OpenAI), `prompt_cache_hit_tokens` (DeepSeek),
    `cached_tokens` (Moonshot). cache_write: `prompt_tokens_details.cache_write_tokens`
    (OpenRouter). A `total_tokens` above prompt + completion is reasoning that was left out of
    `completion_tokens` (xAI, Gemini): it is billed as output, so it is counted there.
    """
    if type(value) is not dict:
        return None
    try:
        return _openai_usage(value)
    except _Insane:
        return None


def _openai_usage(fields: dict[str, Any]) -> Usage:
    given = _count(fields.get("prompt_tokens"))
    total = _part(fields.get("total_tokens"))
    if fields.get("completion_tokens") is None and "total_tokens" in fields:
        output = max(total - given, 0)
    else:
        output = _count(fields.get("completion_tokens"))
    details = _object(fields.get("prompt_tokens_details"))
    cached = _part(details.get("cached_tokens"))
    cached = cached or _part(fields.get("prompt_cache_hit_tokens"))
    cached = min(cached or _part(fields.get("cached_tokens")), given)
    written = min(_part(details.get("cache_write_tokens")), given - cached)
    details = _object(fields.get("completion_tokens_details"))
    reasoning = _part(details.get("reasoning_tokens"))
    unseen = total - given - output
    if unseen > 0 and reasoning in (0, unseen):
        output += unseen
        reasoning = unseen
    return Usage(
        input=given,
        output=output,
        cached=cached,
        cache_write=written,
        reasoning=min(reasoning, output),
    )


def render_openai_usage(usage: Usage) -> dict[str, Any]:
    prompt: dict[str, int] = {"cached_tokens": usage.cached}
    if usage.cache_write or usage.cache_write_1h:
        prompt["cache_write_tokens"] = usage.cache_write + usage.cache_write_1h
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def anthropic_usage(value: object, estimated: bool = False) -> Usage | None:
    """Read `usage` of an Anthropic-shaped answer, where `input_tokens` leaves the cache out."""
    if type(value) is not dict:
        return None
    try:
        return _anthropic_usage(value, estimated)
    except _Insane:
        return None


def _anthropic_usage(fields: dict[str, Any], estimated: bool) -> Usage:
    plain = _count(fields.get("input_tokens"))
    output = _count(fields.get("output_tokens"))
    cached = _part(fields.get("cache_read_input_tokens"))
    split = _object(fields.get("cache_creation"))
    hour = _part(split.get("ephemeral_1h_input_tokens"))
    written = hour + _part(split.get("ephemeral_5m_input_tokens"))
    if fields.get("cache_creation_input_tokens") is not None:
        written = _count(fields["cache_creation_input_tokens"])
        hour = min(hour, written)
    details = _object(fields.get("output_tokens_details"))
    return Usage(
        input=plain + cached + written,
        output=output,
        cached=cached,
        cache_write=written - hour,
        cache_write_1h=hour,
        reasoning=min(_part(details.get("thinking_tokens")), output),
        estimated=estimated,
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
    return fields
