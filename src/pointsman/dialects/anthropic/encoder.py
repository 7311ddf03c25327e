"""Neutral events, written as the Messages stream that a client reads.

Theory. On this wire blocks follow each other; neutral tool calls may interleave. One block is
open at a time. What belongs to another block waits in line until the open one may close: text
and thinking at once, a tool call when its arguments are a whole JSON object, or at the end.
So the usual stream, calls one after the other, flows piece by piece, and an interleaved one
arrives whole and in order. Every block that is started is stopped.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import orjson

from pointsman.dialects.anthropic.reply import FINISH_TO_CLIENT
from pointsman.dialects.anthropic.seals import OUR_SEAL
from pointsman.dialects.counts import render_anthropic_usage
from pointsman.dialects.ids import anthropic_id, given_names
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
from pointsman.domain.usage import NO_USAGE, Usage

Kind = Literal["text", "thinking", "redacted", "tool"]


class _Block:
    """A block to come or open. `pieces` wait to be sent; `sent` are arguments already out."""

    __slots__ = ("call", "is_closed", "kind", "number", "pieces", "sent", "signature")

    def __init__(self, kind: Kind, call: ToolCallStarted | None = None) -> None:
        self.kind = kind
        self.call = call
        self.number = 0
        self.pieces: list[str] = []
        self.sent: list[str] = []
        self.signature: str | None = None
        self.is_closed = False

    @property
    def may_close(self) -> bool:
        if self.kind != "tool":
            return True
        if not self.sent or not self.sent[-1].rstrip().endswith("}"):
            return False
        try:
            return type(orjson.loads("".join(self.sent))) is dict
        except ValueError:
            return False


class AnthropicEncoder:
    __slots__ = (
        "_calls",
        "_finished",
        "_given",
        "_is_started",
        "_line",
        "_model",
        "_next_number",
        "_open",
        "_usage",
    )

    def __init__(self, request: ChatRequest) -> None:
        self._model = request.model
        self._given = given_names(tool.name for tool in request.tools)
        self._is_started = False
        self._open: _Block | None = None
        self._line: deque[_Block] = deque()
        self._calls: dict[int, _Block] = {}
        self._next_number = 0
        self._usage: Usage = NO_USAGE
        self._finished = Finished("stop")

    def encode(self, event: Event) -> bytes:
        kind = type(event)
        if kind is Started:
            return self._start(event)  # type: ignore[arg-type]
        if kind is UsageReported:
            self._usage = event.usage  # type: ignore[union-attr]
            return b""
        if not self._is_started:
            return self._start(Started("", self._model)) + self.encode(event)
        if kind is TextDelta:
            return self._say("text", event.text)  # type: ignore[union-attr]
        if kind is ToolCallDelta:
            return self._arguments(event)  # type: ignore[arg-type]
        if kind is ThinkingDelta:
            return self._think(event)  # type: ignore[arg-type]
        if kind is ToolCallStarted:
            return self._call(event)  # type: ignore[arg-type]
        assert isinstance(event, Finished)
        self._finished = event
        return self._close_all()

    def end(self) -> bytes:
        """Return the proper end: the reason, the usage, message_stop."""
        start = b"" if self._is_started else self._start(Started("", self._model))
        fields = {
            "type": "message_delta",
            "delta": {
                "stop_reason": FINISH_TO_CLIENT[self._finished.reason],
                "stop_sequence": self._finished.stop_sequence,
            },
            "usage": render_anthropic_usage(self._usage),
        }
        return (
            start
            + self._close_all()
            + b"event: message_delta\ndata: "
            + orjson.dumps(fields)
            + b'\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        )

    def _start(self, event: Started) -> bytes:
        self._is_started = True
        message: dict[str, object] = {
            "id": event.id or "msg_0",
            "type": "message",
            "role": "assistant",
            "model": event.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": render_anthropic_usage(self._usage),
        }
        fields = {"type": "message_start", "message": message}
        return b"event: message_start\ndata: " + orjson.dumps(fields) + b"\n\n"

    def _say(self, kind: Literal["text", "thinking"], text: str) -> bytes:
        if not text:
            return b""
        block = self._open
        if block is not None and block.kind == kind and not self._line:
            return _piece(block, text)
        last = self._line[-1] if self._line else None
        if last is None or last.kind != kind:
            last = _Block(kind)
            self._line.append(last)
        last.pieces.append(text)
        return self._advance()

    def _think(self, event: ThinkingDelta) -> bytes:
        if event.redacted is not None:
            block = _Block("redacted")
            block.pieces.append(event.redacted)
            self._line.append(block)
            return self._advance()
        written = self._say("thinking", event.text)
        if event.signature is not None:
            thought = self._line[-1] if self._line else self._open
            if thought is not None and thought.kind == "thinking":
                thought.signature = event.signature
                if thought is self._open:
                    written += self._close_open() + self._advance()
        return written

    def _call(self, event: ToolCallStarted) -> bytes:
        block = _Block("tool", event)
        self._calls[event.index] = block
        self._line.append(block)
        return self._advance()

    def _arguments(self, event: ToolCallDelta) -> bytes:
        block = self._calls.get(event.index)
        if block is None or block.is_closed or not event.arguments:
            return b""  # After a whole object nothing but white space can be JSON.
        if block is not self._open:
            block.pieces.append(event.arguments)
            return self._advance()
        block.sent.append(event.arguments)
        written = _piece(block, event.arguments)
        return written + self._advance() if self._line else written

    def _advance(self) -> bytes:
        """Close what may close and open what waits, as far as it goes."""
        written = []
        while self._line and (self._open is None or self._open.may_close):
            written.append(self._close_open())
            written.append(self._open_next())
        return b"".join(written)

    def _open_next(self) -> bytes:
        block = self._open = self._line.popleft()
        block.number = self._next_number
        self._next_number += 1
        written = [_start_event(block, self._given)]
        if block.kind != "redacted":
            written += [_piece(block, piece) for piece in block.pieces]
        if block.kind == "tool":
            block.sent += block.pieces
        block.pieces = []
        return b"".join(written)

    def _close_open(self) -> bytes:
        block, self._open = self._open, None
        if block is None:
            return b""
        block.is_closed = True
        stop = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
        seal = b""
        if block.kind == "thinking":
            seal = _delta(block, b"signature_delta", b"signature", block.signature or OUR_SEAL)
        return seal + stop % block.number

    def _close_all(self) -> bytes:
        written = [self._close_open()]
        while self._line:
            written.append(self._open_next())
            written.append(self._close_open())
        return b"".join(written)


_PIECES: dict[Kind, tuple[bytes, bytes]] = {
    "text": (b"text_delta", b"text"),
    "thinking": (b"thinking_delta", b"thinking"),
    "tool": (b"input_json_delta", b"partial_json"),
}


def _piece(block: _Block, text: str) -> bytes:
    kind, field = _PIECES[block.kind]
    return _delta(block, kind, field, text)


def _delta(block: _Block, kind: bytes, field: bytes, text: str) -> bytes:
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
        b'"delta":{"type":"%b","%b":%b}}\n\n' % (block.number, kind, field, orjson.dumps(text))
    )


def _start_event(block: _Block, given: dict[str, str]) -> bytes:
    content: dict[str, object]
    if block.kind == "tool" and block.call is not None:
        name = given.get(block.call.name, block.call.name)
        content = {"type": "tool_use", "id": anthropic_id(block.call.id), "name": name, "input": {}}
    elif block.kind == "thinking":
        content = {"type": "thinking", "thinking": "", "signature": ""}
    elif block.kind == "redacted":
        content = {"type": "redacted_thinking", "data": block.pieces[0]}
    else:
        content = {"type": "text", "text": ""}
    fields = {"type": "content_block_start", "index": block.number, "content_block": content}
    return b"event: content_block_start\ndata: " + orjson.dumps(fields) + b"\n\n"
