"""Whole messages: a provider's read or verified, a client's written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from pointsman.dialects.anthropic.render import arguments_object
from pointsman.dialects.anthropic.seals import OUR_SEAL
from pointsman.dialects.counts import anthropic_usage, render_anthropic_usage
from pointsman.dialects.failures import in_stream, malformed, require_utf8
from pointsman.dialects.ids import anthropic_id, given_names
from pointsman.domain.content import Text, Thinking, ToolCall
from pointsman.domain.reply import ChatReply, FinishReason
from pointsman.domain.request import ChatRequest
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import ProviderFailure

FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "stop",
}
"""Anthropic's words; any other counts as "stop"."""

FINISH_TO_CLIENT: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}


class _Answer(msgspec.Struct, gc=False):
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    type: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def check_reply(body: bytes) -> tuple[Usage | None, str | None]:
    """Verify a whole answer that passes through: (usage, finish)."""
    try:
        answer = _ANSWER.decode(body)
    except (ValueError, RecursionError):
        reply = parse_reply(body)  # Fields of other types than Anthropic's may still be read.
        return None if reply.usage is NO_USAGE else reply.usage, reply.finish
    if answer.content is None or answer.error is not None or answer.type == "error":
        raise _not_an_answer(body)
    if not answer.content and answer.stop_reason is None:
        raise _nothing_said()
    if not body.isascii():
        require_utf8(body)
    return anthropic_usage(answer.usage), FINISH.get(answer.stop_reason or "end_turn", "stop")


def _not_an_answer(body: bytes) -> ProviderFailure:
    try:
        fields = orjson.loads(body)
    except ValueError:
        return malformed("the provider's answer is not JSON")
    if type(fields) is not dict:
        return malformed("the provider's answer is not a JSON object")
    if fields.get("error") is not None:
        return in_stream(fields["error"])
    if fields.get("type") == "error" or "message" in fields or "detail" in fields:
        return in_stream(fields)
    return malformed("the provider's answer has no content")


def _nothing_said() -> ProviderFailure:
    return malformed("the provider's answer has neither content nor a reason to stop")


def parse_reply(body: bytes) -> ChatReply:
    """Read a whole answer; raise ProviderFailure for anything else.

    Its `usage` is `NO_USAGE` itself where the provider reported none.
    """
    try:
        fields = orjson.loads(body)
    except ValueError:
        raise malformed("the provider's answer is not JSON") from None
    content = fields.get("content") if type(fields) is dict else None
    if type(content) is not list or fields.get("error") is not None:
        raise _not_an_answer(body)
    if not content and fields.get("stop_reason") is None:
        raise _nothing_said()
    stop_sequence = fields.get("stop_sequence")
    return ChatReply(
        id=_text(fields.get("id")),
        model=_text(fields.get("model")),
        parts=tuple(part for block in content if (part := _part(block)) is not None),
        finish=FINISH.get(_text(fields.get("stop_reason")) or "end_turn", "stop"),
        stop_sequence=stop_sequence if type(stop_sequence) is str else None,
        usage=anthropic_usage(fields.get("usage")) or NO_USAGE,
    )


def _text(value: object) -> str:
    return value if type(value) is str else ""


def _part(block: object) -> Text | Thinking | ToolCall | None:
    """Read a block; None for those of Anthropic's own tools, which no other client asked for."""
    if type(block) is not dict:
        raise malformed("the provider's answer has a content block that is not an object")
    kind = block.get("type")
    if kind == "text":
        return Text(_text(block.get("text")))
    if kind == "thinking":
        return Thinking(_text(block.get("thinking")), _text(block.get("signature")) or None)
    if kind == "redacted_thinking":
        return Thinking("", redacted=_text(block.get("data")))
    if kind == "tool_use":
        name = _text(block.get("name"))
        if not name:
            raise malformed("the provider's answer has a tool call without a name")
        try:
            arguments = orjson.dumps(block.get("input") or {}).decode()
        except TypeError:
            raise malformed("the provider's answer has a tool call nested too deep") from None
        return ToolCall(_text(block.get("id")), name, arguments)
    return None


def render_reply(reply: ChatReply, request: ChatRequest) -> bytes:
    given = given_names(tool.name for tool in request.tools)
    return orjson.dumps(
        {
            "id": reply.id or "msg_0",
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": [_block(part, given) for part in reply.parts if part != Text("")],
            "stop_reason": FINISH_TO_CLIENT[reply.finish],
            "stop_sequence": reply.stop_sequence,
            "usage": render_anthropic_usage(reply.usage),
        }
    )


def _block(part: Text | Thinking | ToolCall, given: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, ToolCall):
        return {
            "type": "tool_use",
            "id": anthropic_id(part.id),
            "name": given.get(part.name, part.name),
            "input": arguments_object(part.arguments),
        }
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature or OUR_SEAL}
