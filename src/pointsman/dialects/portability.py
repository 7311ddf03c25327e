"""What becomes of each field when a request moves to the other dialect: one table.

A request that stays in its dialect keeps every field. One that moves keeps what the neutral
records can say (carried), loses hints without which the answer is still an answer (dropped), and
is not sent where the answer would be another one than asked for (refused: InvalidRequest names
the field). A field that stands in no row is dropped: it is a vendor's own.

The rows with the fate "carried" say what the dialects' code does, for the docs to print; the rows
with "refused" are what `refuse_what_is_lost` acts on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pointsman.domain.content import Json, Part, Text, ToolResult
from pointsman.domain.request import ChatRequest
from pointsman.errors import InvalidRequest

Fate = Literal["carried", "dropped", "refused"]


@dataclass(frozen=True, slots=True)
class Row:
    """`unless` are the values with which a refused field asks for nothing."""

    field: str
    fate: Fate
    note: str
    unless: tuple[Json, ...] = ()


OPENAI_TO_ANTHROPIC: tuple[Row, ...] = (
    Row("messages", "carried", "system and developer messages become `system` blocks, in order"),
    Row("messages[].name", "dropped", "Anthropic has no names of speakers"),
    Row("messages[].tool_calls", "carried", "ids are made acceptable where they are not"),
    Row("messages[].reasoning_content", "dropped", "it has no seal that Anthropic would take"),
    Row("messages[].content[].image_url", "carried", "URL or base64; `detail` is dropped"),
    Row("messages[].content[].file", "carried", "base64 as a document; a file_id is refused"),
    Row("messages[].content[].input_audio", "refused", "Anthropic's models do not hear"),
    Row("max_tokens", "carried", "the model's default, else 4096, where it is left out"),
    Row("max_completion_tokens", "carried", "as max_tokens, and before it"),
    Row("tools", "carried", "functions with their schema; `strict` where the model can"),
    Row("tool_choice", "carried", "auto, none, required (any), a named function"),
    Row("parallel_tool_calls", "carried", "false as disable_parallel_tool_use"),
    Row("response_format", "carried", "json_schema as output_config.format; json as a sentence"),
    Row("reasoning_effort", "carried", "as thinking, adaptive or with a budget, by the model"),
    Row("reasoning", "carried", "OpenRouter's; effort, max_tokens, enabled"),
    Row("stop", "carried", "as stop_sequences; blank ones are refused"),
    Row("temperature", "carried", "at most 1; dropped where thinking or the model forbids it"),
    Row("top_p", "carried", "dropped where thinking or the model forbids it"),
    Row("top_k", "carried", "dropped where thinking or the model forbids it"),
    Row("user", "carried", "as metadata.user_id"),
    Row("stream", "carried", "stream_options.include_usage is served by us"),
    Row("n", "refused", "one answer a call", (1,)),
    Row("logprobs", "refused", "Anthropic shows none", (False,)),
    Row("top_logprobs", "refused", "Anthropic shows none", (0,)),
    Row("logit_bias", "refused", "Anthropic takes none", ({},)),
    Row("audio", "refused", "Anthropic does not speak"),
    Row("modalities", "refused", "Anthropic answers in text", (["text"], [])),
    Row("functions", "refused", "use `tools`", ([],)),
    Row("function_call", "refused", "use `tool_choice`", ("none", "auto")),
    Row("web_search_options", "refused", "a tool of the provider's own"),
    Row("seed", "dropped", "a hint: no provider promises the same answer"),
    Row("frequency_penalty", "dropped", "a hint"),
    Row("presence_penalty", "dropped", "a hint"),
    Row("repetition_penalty", "dropped", "a hint"),
    Row("min_p", "dropped", "a hint"),
    Row("prediction", "dropped", "a hint for speed"),
    Row("verbosity", "dropped", "a hint"),
    Row("service_tier", "dropped", "OpenAI's lanes"),
    Row("store", "dropped", "OpenAI's own storage"),
    Row("metadata", "dropped", "for OpenAI's own storage"),
    Row("prompt_cache_key", "dropped", "OpenAI's cache"),
    Row("prompt_cache_retention", "dropped", "OpenAI's cache"),
    Row("safety_identifier", "dropped", "OpenAI's own"),
)

ANTHROPIC_TO_OPENAI: tuple[Row, ...] = (
    Row("system", "carried", "as a system message"),
    Row("messages", "carried", "tool results as tool messages; an error begins with `Error: `"),
    Row("messages[].content[].image", "carried", "URL or base64; a file source is refused"),
    Row("messages[].content[].document", "carried", "base64 as file, text as text; URL refused"),
    Row("messages[].content[].tool_result", "carried", "its images follow in a user message"),
    Row("messages[].content[].thinking", "dropped", "its seal is of use to its maker only"),
    Row("messages[].content[].cache_control", "dropped", "Anthropic's cache"),
    Row("max_tokens", "carried", "as max_completion_tokens for OpenAI's reasoning models"),
    Row("tools", "carried", "client tools; Anthropic's server tools are refused"),
    Row("tool_choice", "carried", "auto, none, any (required), tool (a named function)"),
    Row("tool_choice.disable_parallel_tool_use", "carried", "as parallel_tool_calls: false"),
    Row("output_config.format", "carried", "as response_format"),
    Row("output_config.effort", "carried", "as reasoning_effort, where the model reasons"),
    Row("output_format", "carried", "the beta's form of output_config.format"),
    Row("thinking", "carried", "as reasoning_effort, where the model reasons"),
    Row("stop_sequences", "carried", "as stop"),
    Row("temperature", "carried", ""),
    Row("top_p", "carried", ""),
    Row("top_k", "dropped", "OpenAI has none"),
    Row("metadata", "carried", "user_id as user"),
    Row("stream", "carried", ""),
    Row("container", "refused", "Anthropic's code execution"),
    Row("mcp_servers", "refused", "tools that Anthropic calls itself", ([],)),
    Row("inference_geo", "refused", "where Anthropic may compute; use a residency constraint"),
    Row("context_management", "dropped", "Anthropic's pruning of old turns"),
    Row("cache_control", "dropped", "Anthropic's cache"),
    Row("service_tier", "dropped", "Anthropic's lanes"),
    Row("speed", "dropped", "Anthropic's lanes"),
    Row("betas", "dropped", "Anthropic's switches"),
)

TABLES: Mapping[tuple[str, str], tuple[Row, ...]] = {
    ("openai", "anthropic"): OPENAI_TO_ANTHROPIC,
    ("anthropic", "openai"): ANTHROPIC_TO_OPENAI,
}

_FATES: Mapping[tuple[str, str], Mapping[str, Row]] = {
    pair: {row.field: row for row in rows if row.fate != "dropped"} for pair, rows in TABLES.items()
}


def opaque(block: Mapping[str, Json], text: str = "") -> Text:
    """Keep a block of its dialect that has no neutral meaning: its `extra` holds its `type`."""
    return Text(text, block)


def is_opaque(part: Part) -> bool:
    return "type" in part.extra


def refuse_what_is_lost(request: ChatRequest, to: str) -> None:
    """Raise InvalidRequest for the first thing in `request` that dialect `to` cannot say.

    A request that was written in no dialect, or in `to` itself, has nothing of another's.
    """
    source = request.source.dialect if request.source is not None else to
    if source == to:
        return
    rows = _FATES.get((source, to), {})
    extra = dict(request.extra)
    if request.choices != 1:
        extra["n"] = request.choices
    for name, value in extra.items():
        row = rows.get(name)
        if row is None or value is None or value in row.unless:
            continue
        # A carried field that stands in `extra` has a form that only its own dialect knows.
        note = row.note if row.fate == "refused" else f"this form of it is {source}'s own"
        _refuse(name, note, to)
    for tool in request.tools:
        if "type" in tool.extra:
            _refuse("tools", f"{tool.extra['type']!r} is a tool of {source}'s own", to)
    _refuse_opaque((part for message in request.messages for part in message.parts), source, to)


def _refuse_opaque(parts: Iterable[Part], source: str, to: str) -> None:
    for part in parts:
        if isinstance(part, ToolResult):
            _refuse_opaque(part.parts, source, to)
        if part.extra and is_opaque(part):
            _refuse("messages", f"content of type {part.extra['type']!r} is {source}'s own", to)


def _refuse(field: str, note: str, to: str) -> None:
    raise InvalidRequest(
        f"{field} cannot be sent to a model that speaks the {to} dialect: {note}; "
        f"leave it out or pin a model of the request's own dialect",
        param=field,
        code="unsupported_parameter",
    )
