"""A ChatRequest, written for a provider in OpenAI's dialect."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson
from msgspec.structs import replace

from pointsman.dialects.dialect import Target
from pointsman.dialects.ids import IdRule, id_rule_for, portable_name
from pointsman.dialects.portability import refuse_what_is_lost
from pointsman.dialects.strict_json import join, raw_fields, splice
from pointsman.domain.content import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from pointsman.domain.request import ChatRequest
from pointsman.errors import InvalidRequest

_ONLY_NEW_LIMIT = re.compile(r"(?:^|/)(?:o\d|gpt-5|gpt-[6-9])")
"""OpenAI's reasoning models refuse `max_tokens`; other servers may not know the newer name."""

_EFFORT_UP_TO = ((2048, "low"), (12288, "medium"))
"""Thinking budgets, in tokens, as effort; above the last it is "high"."""


def render_request(request: ChatRequest, target: Target) -> bytes:
    """Write the body; raise InvalidRequest for what this dialect cannot say."""
    source = request.source
    if source is not None and source.dialect == "openai":
        return _pass_through(request, source.body, target)
    refuse_what_is_lost(request, "openai")
    return orjson.dumps(_fields(request, target))


def _pass_through(request: ChatRequest, body: bytes, target: Target) -> bytes:
    replace: dict[str, bytes | None] = {}
    if request.model != target.model:
        replace["model"] = orjson.dumps(target.model)
    rule = id_rule_for(target.model)
    moved = _has_other_ids(request, rule)
    refused = target.refuses
    asks = request.stream and not request.include_usage and "stream_options" not in refused
    if asks or moved or refused:
        fields = _without(raw_fields(body), refused)
        if asks:
            replace["stream_options"] = _asking_for_usage(fields.get("stream_options"))
        if moved:
            replace["messages"] = _with_ids(fields["messages"], rule)
        return join({**fields, **{key: value for key, value in replace.items() if value}})
    return splice(body, replace) if replace else body


def _without(fields: dict[str, bytes], refused: frozenset[str]) -> dict[str, bytes]:
    """Leave out what the provider refuses; a limit goes by the name that it takes."""
    kept = {name: value for name, value in fields.items() if name not in refused}
    if "max_completion_tokens" in refused and "max_completion_tokens" in fields:
        kept["max_tokens"] = fields["max_completion_tokens"]
    return kept


def _asking_for_usage(options: bytes | None) -> bytes:
    if options is None or options == b"null":
        return b'{"include_usage":true}'
    return splice(options, {"include_usage": b"true"})


def _has_other_ids(request: ChatRequest, rule: IdRule) -> bool:
    return any(
        type(part) is ToolCall and rule(part.id) != part.id
        for message in request.messages
        if message.role == "assistant"
        for part in message.parts
    )


def _with_ids(messages: bytes, rule: IdRule) -> bytes:
    """Rewrite the ids of tool calls; the history came from another provider of this dialect."""
    items = orjson.loads(messages)
    for item in items:
        # Calls of an unknown kind need no id, and in other roles the field is anything.
        calls = item.get("tool_calls") if item.get("role") == "assistant" else None
        for call in calls or ():
            if type(call.get("id")) is str:
                call["id"] = rule(call["id"])
        if type(item.get("tool_call_id")) is str:
            item["tool_call_id"] = rule(item["tool_call_id"])
    return orjson.dumps(items)


def _fields(request: ChatRequest, target: Target) -> dict[str, Any]:
    rule = id_rule_for(target.model)
    fields: dict[str, Any] = {
        "model": target.model,
        "messages": [item for message in request.messages for item in _messages(message, rule)],
    }
    if request.max_tokens is not None:
        fields[_limit_name(target)] = request.max_tokens
    if request.stream:
        fields["stream"] = True
        if "stream_options" not in target.refuses:
            fields["stream_options"] = {"include_usage": True}
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
        if request.parallel_tools is not None:
            fields["parallel_tool_calls"] = request.parallel_tools
        if request.tool_choice is not None:
            fields["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format is not None:
        fields["response_format"] = _response_format(request.response_format)
    if request.reasoning is not None and "reasoning" in target.capabilities:
        effort = _effort(request.reasoning)
        if effort is not None:
            fields["reasoning_effort"] = effort
    plain = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "user": request.user,
    }
    fields.update({name: value for name, value in plain.items() if value is not None})
    if request.stop:
        fields["stop"] = list(request.stop)
    if request.choices != 1:
        fields["n"] = request.choices
    return fields


def _limit_name(target: Target) -> str:
    is_new = _ONLY_NEW_LIMIT.search(target.model.lower())
    takes_new = "max_completion_tokens" not in target.refuses
    return "max_completion_tokens" if is_new and takes_new else "max_tokens"


def bounded(request: ChatRequest, target: Target, tokens: int) -> ChatRequest:
    """The request with a longest answer of `tokens`, also in bytes that would pass through."""
    source = request.source
    if source is not None and source.dialect == "openai":
        limits: dict[str, bytes | None] = {"max_tokens": None, "max_completion_tokens": None}
        limits[_limit_name(target)] = b"%d" % tokens
        limits["model"] = orjson.dumps(target.model)  # Now, or all would be taken apart again.
        source = replace(source, body=splice(source.body, limits))
    return replace(request, model=target.model, max_tokens=tokens, source=source)


def _messages(message: Message, rule: IdRule) -> list[dict[str, Any]]:
    """Write one turn: tool results become messages of their own, before what else is said."""
    if message.role == "assistant":
        return _assistant(message, rule)
    items: list[dict[str, Any]] = []
    rest: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            call_id = rule(part.call_id)
            items.append({"role": "tool", "tool_call_id": call_id, "content": _result_text(part)})
            rest += [shown for shown in part.parts if not isinstance(shown, Text)]
        else:
            rest.append(part)
    if rest or not items:
        item: dict[str, Any] = {"role": message.role, "content": _content(rest)}
        if message.name is not None:
            item["name"] = message.name
        items.append(item)
    return items


def _assistant(message: Message, rule: IdRule) -> list[dict[str, Any]]:
    said = [part for part in message.parts if not isinstance(part, ToolCall | Thinking)]
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    item: dict[str, Any] = {"role": "assistant", "content": _content(said) if said else None}
    if message.name is not None:
        item["name"] = message.name
    if calls:
        item["tool_calls"] = [
            {
                "id": rule(call.id),
                "type": "function",
                "function": {"name": portable_name(call.name), "arguments": call.arguments or "{}"},
            }
            for call in calls
        ]
    elif not said:
        item["content"] = ""
    return [item]


def _result_text(result: ToolResult) -> str:
    text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    if result.is_error and not text.lower().startswith("error"):
        text = f"Error: {text}"
    if not text and result.parts:
        return "The result follows in the next message."
    return text


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    """1 text, 2 image, 3 audio, 4 document."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data or ''}"
        image = {"url": url}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if isinstance(part, Audio):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    if isinstance(part, Document):
        return _document(part)
    raise InvalidRequest(f"messages: {type(part).__name__} cannot stand here", param="messages")


def _document(part: Document) -> dict[str, Any]:
    if part.text is not None:
        text = part.text if part.name is None else f"{part.name}\n\n{part.text}"
        return {"type": "text", "text": text}
    if part.data is not None:
        media_type = part.media_type or "application/pdf"
        return {
            "type": "file",
            "file": {
                "filename": part.name or f"document.{media_type.rpartition('/')[2]}",
                "file_data": f"data:{media_type};base64,{part.data}",
            },
        }
    raise InvalidRequest(
        "messages: a document by URL or file id cannot be sent to a model that speaks the openai "
        "dialect; send its base64 data, or pin a model of the request's own dialect",
        param="messages",
        code="unsupported_parameter",
    )


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": portable_name(tool.name)}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = dict(tool.schema) or {"type": "object", "properties": {}}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": portable_name(choice.name or "")}}
    return "required" if choice.mode == "any" else choice.mode


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind != "json_schema":
        return {"type": "json_object" if wanted.kind == "json" else "text"}
    schema: dict[str, Any] = {"name": wanted.name, "schema": dict(wanted.schema)}
    strict = fits_strict(schema["schema"]) if wanted.strict is None else wanted.strict
    if strict:
        schema["strict"] = True
    if wanted.description is not None:
        schema["description"] = wanted.description
    return {"type": "json_schema", "json_schema": schema}


def fits_strict(schema: object) -> bool:
    """Say whether OpenAI would take a schema as strict: every object closed, all required."""
    if isinstance(schema, list):
        return all(fits_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties, required = schema.get("properties"), schema.get("required")
        if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
            return False
        if not isinstance(required, list) or set(map(str, required)) != properties.keys():
            return False
        return all(fits_strict(item) for item in properties.values())
    return all(fits_strict(item) for item in schema.values())


def _effort(reasoning: Reasoning) -> str | None:
    """Say effort in OpenAI's words; None leaves it to the model (not all can be told none)."""
    if not reasoning.enabled:
        return None
    if reasoning.effort is not None:
        return {"max": "xhigh"}.get(reasoning.effort, reasoning.effort)
    if reasoning.budget_tokens is None:
        return None
    for most, effort in _EFFORT_UP_TO:
        if reasoning.budget_tokens <= most:
            return effort
    return "high"
