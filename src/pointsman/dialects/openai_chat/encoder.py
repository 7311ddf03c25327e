"""Neutral events, written as the stream of chat completion chunks that a client reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from pointsman.dialects.counts import render_openai_usage
from pointsman.dialects.ids import given_names, openai_id
from pointsman.dialects.openai_chat.reply import FINISH_TO_CLIENT
from pointsman.dialects.openai_chat.stream import DONE
from pointsman.domain.reply import (
    Event,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from pointsman.domain.request import ChatRequest
from pointsman.domain.usage import Usage

_ROLE = b'{"role":"assistant","content":""}'


class OpenAIEncoder:
    """The head of every chunk is written once; `end` gives usage if asked for, and `[DONE]`."""

    __slots__ = ("_given", "_head", "_model", "_usage", "_wants_usage")

    def __init__(self, request: ChatRequest) -> None:
        self._model = request.model
        self._given = given_names(tool.name for tool in request.tools)
        self._wants_usage = request.include_usage
        self._head = b""
        self._usage: Usage | None = None

    def encode(self, event: Event) -> bytes:
        kind = type(event)
        if kind is Started:
            return self._start(event)  # type: ignore[arg-type]
        if not self._head:
            return self._start(Started("", self._model)) + self.encode(event)
        return _WRITERS[kind](self, event)

    def end(self) -> bytes:
        """Return the proper end of the stream."""
        if not self._wants_usage or self._usage is None:
            return DONE
        start = b"" if self._head else self._start(Started("", self._model))
        usage = orjson.dumps(render_openai_usage(self._usage))
        return start + self._head + b'"choices":[],"usage":' + usage + b"}\n\n" + DONE

    def _start(self, event: Started) -> bytes:
        fields = {
            "id": event.id or "chatcmpl-0",
            "object": "chat.completion.chunk",
            "created": event.created,
            "model": event.model or self._model,
        }
        self._head = b"data: " + orjson.dumps(fields)[:-1] + b","
        return self._chunk(_ROLE)

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return (
            self._head
            + b'"choices":[{"index":0,"delta":'
            + delta
            + b',"logprobs":null,"finish_reason":'
            + finish
            + b"}]}\n\n"
        )

    def _text(self, event: TextDelta) -> bytes:
        return self._chunk(b'{"content":' + orjson.dumps(event.text) + b"}") if event.text else b""

    def _thinking(self, event: ThinkingDelta) -> bytes:
        """Show reasoning as DeepSeek and vLLM do; seals have no place in this dialect."""
        if not event.text:
            return b""
        return self._chunk(b'{"reasoning_content":' + orjson.dumps(event.text) + b"}")

    def _call(self, event: ToolCallStarted) -> bytes:
        name = self._given.get(event.name, event.name)
        call = {
            "index": event.index,
            "id": openai_id(event.id),
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        return self._chunk(b'{"tool_calls":[' + orjson.dumps(call) + b"]}")

    def _arguments(self, event: ToolCallDelta) -> bytes:
        call = {"index": event.index, "function": {"arguments": event.arguments}}
        return self._chunk(b'{"tool_calls":[' + orjson.dumps(call) + b"]}")

    def _finished(self, event: Finished) -> bytes:
        return self._chunk(b"{}", b'"' + FINISH_TO_CLIENT[event.reason].encode() + b'"')

    def _keep_usage(self, event: UsageReported) -> bytes:
        self._usage = event.usage
        return b""


_WRITERS: dict[type, Callable[[OpenAIEncoder, Any], bytes]] = {
    TextDelta: OpenAIEncoder._text,
    ThinkingDelta: OpenAIEncoder._thinking,
    ToolCallStarted: OpenAIEncoder._call,
    ToolCallDelta: OpenAIEncoder._arguments,
    Finished: OpenAIEncoder._finished,
    UsageReported: OpenAIEncoder._keep_usage,
}
