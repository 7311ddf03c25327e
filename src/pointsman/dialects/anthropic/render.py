"""A ChatRequest, written for a provider in Anthropic's dialect."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import orjson

from pointsman.dialects.anthropic.models import takes_sampling, thinks_adaptively
from pointsman.dialects.anthropic.seals import holds_our_seal, without_our_thinking
from pointsman.dialects.dialect import Target
from pointsman.dialects.ids import anthropic_id, portable_name
from pointsman.dialects.portability import refuse_what_is_lost
from pointsman.dialects.strict_json import raw_fields, splice
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

DEFAULT_MAX_TOKENS = 4096
"""Anthropic wants a limit; this one fits every model it has ever had."""

LEAST_BUDGET = 1024
"""Tokens; Anthropic refuses a smaller thinking budget."""

_BUDGET = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}
_EFFORT = {"minimal": "low", "none": "low"}

_JSON_ONLY = "Answer with one JSON object and nothing else: no prose, no code fence."


def render_request(request: ChatRequest, target: Target) -> bytes:
    """Write the body; raise InvalidRequest for what this dialect cannot say."""
    source = request.source
    if source is not None and source.dialect == "anthropic":
        return _pass_through(request, source.body, target)
    refuse_what_is_lost(request, "anthropic")
    return orjson.dumps(_fields(request, target))


def _pass_through(request: ChatRequest, body: bytes, target: Target) -> bytes:
    replace: dict[str, bytes | None] = {}
    if request.model != target.model:
        replace["model"] = orjson.dumps(target.model)
    if holds_our_seal(body):
        replace["messages"] = without_our_thinking(raw_fields(body)["messages"])
    return splice(body, replace) if replace else body


def _fields(request: ChatRequest, target: Target) -> dict[str, Any]:
    limit = request.max_tokens
    if limit is None:
        limit = target.default_max_tokens or DEFAULT_MAX_TOKENS
    system, messages = _conversation(request)
    wanted = request.response_format
    if wanted is not None and wanted.kind == "json":
        system = [*system, {"type": "text", "text": _json_only(target)}]
    fields: dict[str, Any] = {"model": target.model, "max_tokens": limit, "messages": messages}
    if system:
        fields["system"] = system
    if request.stream:
        fields["stream"] = True
    if request.tools:
        with_strict = "json_schema" in target.capabilities
        fields["tools"] = [_tool(tool, with_strict) for tool in request.tools]
        choice = _tool_choice(request.tool_choice, request.parallel_tools)
        if choice is not None:
            fields["tool_choice"] = choice
    config: dict[str, Any] = {}
    if wanted is not None and wanted.kind == "json_schema":
        config["format"] = _json_schema(wanted, target)
    thinks = _add_thinking(fields, config, request, target)
    if config:
        fields["output_config"] = config
    if request.stop:
        fields["stop_sequences"] = _stop(request.stop)
    if request.user is not None:
        fields["metadata"] = {"user_id": request.user}
    if not thinks and takes_sampling(target.model):
        _add_sampling(fields, request)
    return fields


def _add_sampling(fields: dict[str, Any], request: ChatRequest) -> None:
    """Newer models take temperature or top_p, never both; temperature goes first."""
    if request.temperature is not None:
        fields["temperature"] = min(request.temperature, 1.0)
    elif request.top_p is not None:
        fields["top_p"] = min(request.top_p, 1.0)
    if request.top_k is not None and request.top_k > 0:
        fields["top_k"] = request.top_k


def _json_only(target: Target) -> str:
    if "json" in target.capabilities or "json_schema" in target.capabilities:
        return _JSON_ONLY
    raise InvalidRequest(
        f"response_format: {target.model} does not answer in JSON when told to; choose a "
        "deployment with the capability json",
        param="response_format",
        code="unsupported_parameter",
    )


def _json_schema(wanted: ResponseFormat, target: Target) -> dict[str, Any]:
    if "json_schema" not in target.capabilities:
        raise InvalidRequest(
            f"response_format: {target.model} does not answer by a JSON schema; choose a "
            "deployment with the capability json_schema",
            param="response_format",
            code="unsupported_parameter",
        )
    return {"type": "json_schema", "schema": dict(wanted.schema)}


def _conversation(request: ChatRequest) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return system blocks and turns: system words keep their order and their authority, turns
    of one role that follow each other become one."""
    system: list[dict[str, Any]] = []
    turns: list[Message] = []
    for message in request.messages:
        if message.role == "system":
            system += [_system_block(part) for part in message.parts if _is_said(part)]
        else:
            turns.append(message)
    messages: list[dict[str, Any]] = []
    for role, group in groupby(turns, key=lambda turn: turn.role):
        parts = [part for turn in group for part in turn.parts if _is_said(part)]
        # Results stand first in a turn: Anthropic refuses words between a call and its result.
        parts.sort(key=lambda part: not isinstance(part, ToolResult))
        blocks = [_block(part) for part in parts]
        if blocks:
            messages.append({"role": role, "content": blocks})
    if not messages and system:
        return [], [{"role": "user", "content": system}]
    if not messages:
        raise InvalidRequest("messages say nothing", param="messages")
    _trim_last(messages[-1])
    return system, messages


def _is_said(part: Part) -> bool:
    """Anthropic refuses empty text, and thinking that it did not sign itself."""
    if isinstance(part, Text):
        return bool(part.text.strip())
    if isinstance(part, Thinking):
        return part.signature is not None or part.redacted is not None
    return True


def _trim_last(message: dict[str, Any]) -> None:
    """Anthropic refuses a prefilled answer that ends in white space."""
    last = message["content"][-1]
    if message["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()


def _system_block(part: Part) -> dict[str, Any]:
    if not isinstance(part, Text):
        raise InvalidRequest("messages: a system message can only hold text", param="messages")
    return {"type": "text", "text": part.text}


def _block(part: Part) -> dict[str, Any]:
    """1 text, 2 tool call, 3 tool result, 4 image, 5 document, 6 thinking."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, ToolCall):
        return {
            "type": "tool_use",
            "id": anthropic_id(part.id),
            "name": portable_name(part.name),
            "input": arguments_object(part.arguments),
        }
    if isinstance(part, ToolResult):
        return _tool_result(part)
    if isinstance(part, Image):
        return {"type": "image", "source": _image_source(part)}
    if isinstance(part, Document):
        return _document(part)
    if isinstance(part, Thinking):
        if part.redacted is not None:
            return {"type": "redacted_thinking", "data": part.redacted}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    assert isinstance(part, Audio)
    raise InvalidRequest(
        "messages: audio cannot be sent to a model that speaks the anthropic dialect; choose a "
        "deployment with the capability audio",
        param="messages",
        code="unsupported_parameter",
    )


def arguments_object(arguments: str) -> orjson.Fragment:
    """Give a call's arguments as the JSON object they are, with their own bytes.

    A model may write what is no JSON object; that is kept as {"arguments": text}, so that the
    conversation can go on.
    """
    text = arguments.strip()
    try:
        if type(orjson.loads(text or "{}")) is dict:
            return orjson.Fragment(text or "{}")
    except ValueError:
        pass
    return orjson.Fragment(orjson.dumps({"arguments": arguments}))


def _tool_result(result: ToolResult) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": anthropic_id(result.call_id)}
    parts = [part for part in result.parts if _is_said(part)]
    if len(parts) == 1 and isinstance(parts[0], Text):
        block["content"] = parts[0].text
    elif parts:
        block["content"] = [_block(part) for part in parts]
    if result.is_error:
        block["is_error"] = True
    return block


def _image_source(image: Image) -> dict[str, Any]:
    if image.data is not None:
        media_type = image.media_type or "image/png"
        return {"type": "base64", "media_type": media_type, "data": image.data}
    return {"type": "url", "url": image.url or ""}


def _document(part: Document) -> dict[str, Any]:
    source: dict[str, Any]
    if part.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    elif part.data is not None:
        media_type = part.media_type or "application/pdf"
        source = {"type": "base64", "media_type": media_type, "data": part.data}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        raise InvalidRequest(
            "messages: a file id is of use only to the provider that gave it; send the file's "
            "base64 data, or pin a model of the request's own dialect",
            param="messages",
            code="unsupported_parameter",
        )
    block: dict[str, Any] = {"type": "document", "source": source}
    if part.name is not None:
        block["title"] = part.name
    return block


def _tool(tool: Tool, with_strict: bool) -> dict[str, Any]:
    block: dict[str, Any] = {"name": portable_name(tool.name)}
    if tool.description:
        block["description"] = tool.description
    block["input_schema"] = {"type": "object", **tool.schema}
    if tool.strict and with_strict:
        block["strict"] = True
    return block


def _tool_choice(choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any] | None:
    if choice is None and parallel is not False:
        return None
    mode = "auto" if choice is None else choice.mode
    fields: dict[str, Any] = {"type": mode}
    if choice is not None and mode == "tool":
        fields["name"] = portable_name(choice.name or "")
    if parallel is not None and mode != "none":
        fields["disable_parallel_tool_use"] = not parallel
    return fields


def _stop(stop: tuple[str, ...]) -> list[str]:
    for sequence in stop:
        if not sequence.strip():
            raise InvalidRequest(
                f"stop: {sequence!r} is blank, which a model that speaks the anthropic dialect "
                "does not take",
                param="stop",
                code="unsupported_parameter",
            )
    return list(stop)


def _add_thinking(
    fields: dict[str, Any], config: dict[str, Any], request: ChatRequest, target: Target
) -> bool:
    """Ask for thinking where it was asked for and can be had; say whether it was.

    With a budget, Anthropic wants: at least `LEAST_BUDGET`, less than max_tokens, no forced
    tool, and a signed thought before the calls whose results come last. Where one of these
    fails, the answer without thinking is better than none.
    """
    reasoning = request.reasoning
    if reasoning is None or "reasoning" not in target.capabilities or not reasoning.enabled:
        return False
    if request.tool_choice is not None and request.tool_choice.mode in ("any", "tool"):
        return False
    if thinks_adaptively(target.model):
        fields["thinking"] = {"type": "adaptive"}
        effort = reasoning.effort or _effort_of(reasoning)
        if effort is not None:
            config["effort"] = _EFFORT.get(effort, effort)
        return True
    budget = reasoning.budget_tokens
    if budget is None:
        budget = _BUDGET.get(reasoning.effort or "medium", 8192)
    budget = min(budget, fields["max_tokens"] // 2)
    if budget < LEAST_BUDGET or _ends_in_unsigned_calls(request.messages):
        return False
    fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return True


def _effort_of(reasoning: Reasoning) -> str | None:
    if reasoning.budget_tokens is None:
        return None
    for effort, budget in _BUDGET.items():
        if reasoning.budget_tokens <= budget:
            return effort
    return "xhigh"


def _ends_in_unsigned_calls(messages: tuple[Message, ...]) -> bool:
    for message in reversed(messages):
        if message.role == "assistant":
            return any(isinstance(part, ToolCall) for part in message.parts) and not any(
                isinstance(part, Thinking) and (part.signature or part.redacted)
                for part in message.parts
            )
    return False
