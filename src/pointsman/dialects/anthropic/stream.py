"""A provider's Messages stream: watched as it passes, or read into events.

Theory. Both readers see each event through one `Frame`, decoded by type: fast, and broken JSON
is noticed anywhere. An event whose fields are of other types is read again leniently. The
stream has ended properly at `message_stop`; what follows is ignored.
"""

from __future__ import annotations

from typing import Any

import orjson

from pointsman.dialects.anthropic.frame import Block, Frame, decode
from pointsman.dialects.anthropic.reply import FINISH
from pointsman.dialects.counts import anthropic_usage
from pointsman.dialects.failures import cut_short, fields_of, in_stream, require_utf8
from pointsman.dialects.sse import Splitter, is_comment
from pointsman.domain.reply import (
    Event,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from pointsman.domain.usage import INSANE, Usage
from pointsman.errors import ProviderFailure


class Watch:
    """What both readers know of the stream (`Progress`), kept by `observe`.

    `usage` counts as estimated until message_delta has told the output's length.
    """

    __slots__ = (
        "_reason",
        "_splitter",
        "_usage_fields",
        "content_bytes",
        "done",
        "ended",
        "failure",
        "finish",
        "has_content",
        "model",
        "stop_sequence",
        "usage",
    )

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._usage_fields: dict[str, Any] = {}
        self.has_content = False
        self.failure: ProviderFailure | None = None
        self.ended = False
        self.done = False
        self.usage: Usage | None = None
        self.finish: str | None = None
        self._reason: FinishReason = "stop"
        self.stop_sequence: str | None = None
        self.content_bytes = 0
        self.model: str | None = None

    def observe(self, name: bytes, data: bytes | None) -> Frame | None:
        """Take in one event; return its frame, None for what says nothing."""
        if not data:
            return None
        frame = decode(data)
        kind = frame.type
        if kind == "content_block_delta":
            delta = frame.delta
            if delta is not None:
                said = delta.text or delta.partial_json or delta.thinking
                if said:
                    self.has_content = True
                    self.content_bytes += len(said) if said.isascii() else len(said.encode())
        elif kind == "content_block_start":
            if frame.content_block is not None:
                self._weigh_block(frame.content_block)
        elif kind == "message_delta":
            if frame.delta is not None and frame.delta.stop_reason is not None:
                self.finish = self._reason = FINISH.get(frame.delta.stop_reason, "stop")
                self.stop_sequence = frame.delta.stop_sequence
            if frame.usage is not None:
                self._read_usage(frame.usage, is_final="output_tokens" in frame.usage)
        elif kind == "message_start":
            if frame.message is not None:
                self.model = frame.message.model
                if frame.message.usage is not None:
                    self._read_usage(frame.message.usage, is_final=False)
        elif kind == "message_stop":
            self.ended = self.done = True
            self.finish = self._reason
        elif kind == "error" or frame.error is not None or name == b"error":
            raise in_stream(frame.error if frame.error is not None else fields_of(data))
        elif kind is None:
            _raise_if_error(data)
        return frame

    def _weigh_block(self, block: Block) -> None:
        if block.type not in ("text", "thinking"):
            self.has_content = True
            self.content_bytes += len((block.name or "").encode())
        elif block.text or block.thinking:
            self.has_content = True
            self.content_bytes += len((block.text or block.thinking or "").encode())

    def _read_usage(self, fields: dict[str, Any], is_final: bool) -> None:
        """Take counts over those that came before: they are cumulative."""
        known = self._usage_fields
        known.update({name: count for name, count in fields.items() if count is not None})
        usage = anthropic_usage(known, estimated=not is_final)
        if usage is not None:
            self.usage = usage

    def _broke(self, failure: ProviderFailure, had_content: bool, said: object) -> None:
        """Take in that a piece broke off. What was `said` before it is passed on first, if the
        reply is committed, and `failure` kept for the next turn; else it is raised, as if nothing
        of the piece had come."""
        if had_content and said:
            self.failure = failure
            return
        if self.has_content:
            failure.maybe_billed = True  # Tokens were made, though nobody will see them.
        self.has_content = had_content
        raise failure


class AnthropicTap(Watch):
    """Pass whole events on as they came."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """Return the whole events among `data`. On ProviderFailure `has_content` is as before:
        nothing of this piece was handed over."""
        is_over = self.ended
        if is_over:
            return b""
        had_content = self.has_content
        passed: list[bytes] = []
        try:
            only = self._splitter.single(data)
            if only is not None:
                if not data.isascii():
                    require_utf8(data)
                self.observe(b"", only)
                return data
            for raw, name, content in self._splitter.feed(data):
                if not raw.isascii():
                    require_utf8(raw)
                if content or is_comment(raw):
                    self.observe(name, content)
                    passed.append(raw)
                if self.ended:
                    break
        except ProviderFailure as failure:
            self._broke(failure, had_content, passed)
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def eof(self) -> bytes:
        is_over = self.ended
        if is_over:
            return b""
        rest = self._splitter.finish()
        if rest is not None:
            _observe_rest(self, rest[1], rest[2])
        if not self.ended:
            raise cut_short()
        assert rest is not None
        return rest[0].rstrip(b"\r\n") + b"\n\n"


class AnthropicDecoder(Watch):
    """Read frames into neutral events; tool calls are numbered among themselves."""

    __slots__ = ("_calls", "_open")

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        self._open: dict[int, _Call] = {}
        """Tool calls whose block is open, by the index of the block."""

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        is_over = self.ended
        if is_over:
            return events
        had_content = self.has_content
        try:
            only = self._splitter.single(data)
            if only is not None:
                self._read(self.observe(b"", only), events)
                return events
            for _, name, content in self._splitter.feed(data):
                self._read(self.observe(name, content), events)
                if self.ended:
                    break
        except ProviderFailure as failure:
            self._broke(failure, had_content, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        is_over = self.ended
        if not is_over:
            rest = self._splitter.finish()
            if rest is not None:
                self._read(_observe_rest(self, rest[1], rest[2]), events)
            if not self.ended:
                raise cut_short()
        return events

    def _read(self, frame: Frame | None, events: list[Event]) -> None:
        if frame is None:
            return
        kind = frame.type
        if kind == "content_block_delta":
            self._read_delta(frame, events)
        elif kind == "content_block_start" and frame.content_block is not None:
            self._read_start(frame.index, frame.content_block, events)
        elif kind == "content_block_stop":
            call = self._open.pop(frame.index, None)
            if call is not None and not call.has_arguments:
                events.append(ToolCallDelta(call.number, call.given))
        elif kind == "message_start" and frame.message is not None:
            events.append(Started(frame.message.id or "", frame.message.model or ""))
            if self.usage is not None and self.usage is not INSANE:
                events.append(UsageReported(self.usage))
        elif kind == "message_delta":
            if self.usage is not None and self.usage is not INSANE and frame.usage is not None:
                events.append(UsageReported(self.usage))
        elif kind == "message_stop":
            events.append(Finished(self._reason, self.stop_sequence))

    def _read_delta(self, frame: Frame, events: list[Event]) -> None:
        delta = frame.delta
        if delta is None:
            return
        if delta.text:
            events.append(TextDelta(delta.text))
        elif delta.partial_json:
            call = self._open.get(frame.index)
            if call is not None:
                call.has_arguments = True
                events.append(ToolCallDelta(call.number, delta.partial_json))
        elif delta.thinking:
            events.append(ThinkingDelta(delta.thinking))
        elif delta.signature:
            events.append(ThinkingDelta(signature=delta.signature))

    def _read_start(self, index: int, block: Block, events: list[Event]) -> None:
        if block.type == "tool_use":
            call = _Call(self._calls, orjson.dumps(block.input or {}).decode())
            self._calls += 1
            self._open[index] = call
            events.append(ToolCallStarted(call.number, block.id or "", block.name or ""))
        elif block.type == "redacted_thinking":
            events.append(ThinkingDelta(redacted=block.data or ""))
        elif block.text:
            events.append(TextDelta(block.text))
        elif block.thinking:
            events.append(ThinkingDelta(block.thinking))


class _Call:
    """An open tool call. `given` are arguments that stood in the block's start: all there is
    where no piece follows."""

    __slots__ = ("given", "has_arguments", "number")

    def __init__(self, number: int, given: str) -> None:
        self.number = number
        self.given = given
        self.has_arguments = False


def _observe_rest(watch: Watch, name: bytes, data: bytes | None) -> Frame | None:
    """Observe what stands after the last blank line; half an event counts for nothing."""
    try:
        return watch.observe(name, data)
    except ProviderFailure as failure:
        if failure.code == "upstream_protocol":
            return None
        raise


def _raise_if_error(data: bytes) -> None:
    """Notice an error of a compatible server that is no frame at all."""
    fields = fields_of(data)
    if fields.get("object") == "error" or "detail" in fields or "message" in fields:
        raise in_stream(fields)
