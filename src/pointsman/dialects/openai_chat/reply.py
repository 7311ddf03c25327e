"""Whole chat completions: a provider's read or verified, a client's written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from pointsman.dialects.counts import openai_usage, render_openai_usage
from pointsman.dialects.failures import in_stream, malformed, require_utf8
from pointsman.dialects.ids import given_names, openai_id
from pointsman.domain.billing import ANY, BillingRule
from pointsman.domain.content import Text, Thinking, ToolCall
from pointsman.domain.reply import ChatReply, FinishReason
from pointsman.domain.request import ChatRequest
from pointsman.domain.usage import INSANE, NO_USAGE, Usage
from pointsman.errors import ProviderFailure

FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""OpenAI's words; any other word of a compatible server counts as "stop"."""

FINISH_TO_CLIENT: Mapping[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    service_tier: Any = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


def check_reply(body: bytes, rule: BillingRule = ANY) -> tuple[Usage | None, str | None]:
    """Verify a whole answer that passes through: (usage, finish)."""
    try:
        answer = _ANSWER.decode(body)
    except (ValueError, RecursionError):
        return _check_leniently(body, rule)
    choice = answer.choices[0] if answer.choices else None
    if choice is None or choice.message is None or answer.error is not None:
        raise _not_an_answer(body)
    if not body.isascii():
        require_utf8(body)
    usage = openai_usage(answer.usage, rule, answer.service_tier)
    if choice.message.refusal:
        return usage, "refusal"
    finish = FINISH.get(choice.finish_reason or "stop", "stop")
    if finish == "stop" and choice.message.tool_calls:
        finish = "tool_calls"
    return usage, finish


def _check_leniently(body: bytes, rule: BillingRule) -> tuple[Usage | None, str | None]:
    """Verify what is no answer, or one whose fields are of other types than OpenAI's."""
    reply = parse_reply(body, rule)
    return None if reply.usage is NO_USAGE else reply.usage, reply.finish


def _not_an_answer(body: bytes) -> ProviderFailure:
    try:
        fields = orjson.loads(body)
    except ValueError:
        return malformed("the provider's answer is not JSON")
    if type(fields) is not dict:
        return malformed("the provider's answer is not a JSON object")
    if fields.get("error") is not None:
        return in_stream(fields["error"])
    if fields.get("object") == "error" or ("message" in fields and "choices" not in fields):
        return in_stream(fields)
    return malformed("the provider's answer has no choices with a message")


def parse_reply(body: bytes, rule: BillingRule = ANY) -> ChatReply:
    """Read a whole answer; raise ProviderFailure for anything else.

    Its `usage` is `NO_USAGE` itself where the provider reported none.
    """
    try:
        fields = orjson.loads(body)
    except ValueError:
        raise malformed("the provider's answer is not JSON") from None
    choices = fields.get("choices") if type(fields) is dict else None
    choice = choices[0] if type(choices) is list and choices else None
    message = choice.get("message") if type(choice) is dict else None
    if choice is None or type(message) is not dict or fields.get("error") is not None:
        raise _not_an_answer(body)
    parts = _parts(message)
    finish: FinishReason = FINISH.get(_text(choice.get("finish_reason")) or "stop", "stop")
    has_calls = any(type(part) is ToolCall for part in parts)
    if finish in ("stop", "tool_calls"):
        finish = "tool_calls" if has_calls else "stop"
    if _text(message.get("refusal")):
        finish = "refusal"
    created = fields.get("created")
    return ChatReply(
        id=_text(fields.get("id")),
        model=_text(fields.get("model")),
        parts=tuple(parts),
        finish=finish,
        usage=openai_usage(fields.get("usage"), rule, fields.get("service_tier")) or NO_USAGE,
        created=int(created) if type(created) in (int, float) and 0 <= created < 2**53 else 0,
    )


def _text(value: object) -> str:
    return value if type(value) is str else ""


def _parts(message: dict[str, Any]) -> list[Text | Thinking | ToolCall]:
    parts: list[Text | Thinking | ToolCall] = []
    thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    content = message.get("content")
    text = _text(content)
    if type(content) is list:
        more, text = split_chunks(content)
        thought += more
    if thought:
        parts.append(Thinking(thought))
    if text or _text(message.get("refusal")):
        parts.append(Text(text or _text(message.get("refusal"))))
    calls = message.get("tool_calls")
    for n, call in enumerate(calls if type(calls) is list else ()):
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict or not _text(function.get("name")):
            raise malformed("the provider's answer has a tool call without a function's name")
        arguments = function.get("arguments")
        if type(arguments) is dict:
            arguments = orjson.dumps(arguments).decode()
        call_id = _text(call.get("id")) or f"call_{n}"
        parts.append(ToolCall(call_id, function["name"], _text(arguments) or "{}"))
    return parts


def split_chunks(content: list[Any]) -> tuple[str, str]:
    """Read content given as an array (Mistral's thinking models): (reasoning, text)."""
    thought: list[str] = []
    text: list[str] = []
    for chunk in content:
        if type(chunk) is not dict:
            continue
        inner = chunk.get("thinking")
        if type(inner) is list:
            thought += [_text(piece.get("text")) for piece in inner if type(piece) is dict]
        elif chunk.get("type") == "text":
            text.append(_text(chunk.get("text")))
    return "".join(thought), "".join(text)


def render_reply(reply: ChatReply, request: ChatRequest) -> bytes:
    """Write a whole answer. `created` is the reply's own: a dialect has no clock."""
    given = given_names(tool.name for tool in request.tools)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    text = "".join(part.text for part in reply.parts if isinstance(part, Text))
    if reply.finish == "refusal":
        message["refusal"] = text or "The model refused to answer."
    elif text or not reply.tool_calls:
        message["content"] = text
    thought = "".join(part.text for part in reply.parts if isinstance(part, Thinking))
    if thought:
        message["reasoning_content"] = thought
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": openai_id(call.id),
                "type": "function",
                "function": {
                    "name": given.get(call.name, call.name),
                    "arguments": call.arguments or "{}",
                },
            }
            for call in reply.tool_calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": FINISH_TO_CLIENT[reply.finish],
    }
    fields: dict[str, Any] = {
        "id": reply.id or "chatcmpl-0",
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [choice],
    }
    if reply.usage is not NO_USAGE and reply.usage is not INSANE:
        fields["usage"] = render_openai_usage(reply.usage)
    return orjson.dumps(fields)
