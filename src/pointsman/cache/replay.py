"""From an answer to the events of a stream, and back.

`events_of` tells a whole answer as a provider would have: start, content, finish, usage.
`Gathered` puts together what passes by on a stream, in a dialect's bytes or as events, so that it
can be kept when it has ended well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pointsman.cache.answers import MOST_ANSWER_BYTES
from pointsman.dialects.dialect import Dialect
from pointsman.domain.content import Text, Thinking, ToolCall
from pointsman.domain.reply import (
    ChatReply,
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
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import ProviderFailure

MOST_WIRE_BYTES = 4 * MOST_ANSWER_BYTES
"""A stream says everything in frames, several times as long as what is in them."""


def events_of(reply: ChatReply) -> list[Event]:
    events: list[Event] = [Started(reply.id, reply.model, reply.created)]
    calls = 0
    for part in reply.parts:
        if isinstance(part, Text):
            events.append(TextDelta(part.text))
        elif isinstance(part, Thinking):
            if part.text or part.redacted is not None:
                events.append(ThinkingDelta(part.text, redacted=part.redacted))
            if part.signature is not None:
                events.append(ThinkingDelta(signature=part.signature))
        else:
            events.append(ToolCallStarted(calls, part.id, part.name))
            events.append(ToolCallDelta(calls, part.arguments))
            calls += 1
    events.append(Finished(reply.finish, reply.stop_sequence))
    events.append(UsageReported(reply.usage))
    return events


def reply_of(events: Iterable[Event], usage: Usage) -> ChatReply | None:
    """Put an answer together; None for one that never finished."""
    start = Started("", "")
    parts: list[Text | Thinking | ToolCall] = []
    calls: dict[int, int] = {}
    finish: FinishReason | None = None
    stop_sequence = None
    for event in events:
        last = parts[-1] if parts else None
        if isinstance(event, TextDelta):
            if isinstance(last, Text):
                parts[-1] = Text(last.text + event.text)
            else:
                parts.append(Text(event.text))
        elif isinstance(event, ThinkingDelta):
            _think(parts, event)
        elif isinstance(event, ToolCallStarted):
            calls[event.index] = len(parts)
            parts.append(ToolCall(event.id, event.name, ""))
        elif isinstance(event, ToolCallDelta):
            place = calls.get(event.index)
            call = None if place is None else parts[place]
            if place is None or not isinstance(call, ToolCall):
                return None
            parts[place] = ToolCall(call.id, call.name, call.arguments + event.arguments)
        elif isinstance(event, Started):
            start = event
        elif isinstance(event, Finished):
            finish, stop_sequence = event.reason, event.stop_sequence
    if finish is None:
        return None
    return ChatReply(
        id=start.id,
        model=start.model,
        parts=tuple(parts),
        finish=finish,
        stop_sequence=stop_sequence,
        usage=usage,
        created=start.created,
    )


def _think(parts: list[Text | Thinking | ToolCall], event: ThinkingDelta) -> None:
    last = parts[-1] if parts else None
    if event.redacted is not None:
        parts.append(Thinking("", redacted=event.redacted))
    elif isinstance(last, Thinking) and last.redacted is None and last.signature is None:
        parts[-1] = Thinking(last.text + event.text, event.signature)
    else:
        parts.append(Thinking(event.text, event.signature))


class Gathered:
    """Pieces of a stream as they passed; nothing of one that grew too long."""

    __slots__ = ("_bytes", "_pieces", "is_whole")

    def __init__(self) -> None:
        self._pieces: list[bytes | Sequence[Event]] = []
        self._bytes = 0
        self.is_whole = True

    def add(self, piece: bytes | Sequence[Event]) -> None:
        if not self.is_whole:
            return
        self._bytes += len(piece) if isinstance(piece, bytes) else 64 * len(piece)
        if self._bytes > MOST_WIRE_BYTES:
            self.is_whole = False
            self._pieces.clear()
            return
        self._pieces.append(piece)

    def reply(self, dialect: Dialect | None, usage: Usage) -> ChatReply | None:
        """The answer they were. `dialect` is that of bytes."""
        if not self.is_whole:
            return None
        events: list[Event] = []
        data = bytearray()
        for piece in self._pieces:
            if isinstance(piece, bytes):
                data += piece
            else:
                events.extend(piece)
        if data:
            if dialect is None:
                return None
            decoder = dialect.decoder()
            try:
                events += decoder.feed(bytes(data))
                events += decoder.eof()
            except ProviderFailure:
                return None  # It passed as it came; what we cannot read is not kept.
        return reply_of(events, usage)


class ReplayStream:
    """A `StreamBody` over an answer from the cache: all of it is there, in two pieces, so that a
    reader sees the start before the end. It used nothing."""

    __slots__ = ("_is_aborted", "_pieces", "_reason")

    def __init__(self, reply: ChatReply) -> None:
        events = events_of(reply)
        self._pieces = [events[-2:], events[:-2]]
        self._reason = reply.finish
        self._is_aborted = False

    async def next(self) -> bytes | list[Event] | None:
        if self._is_aborted or not self._pieces:
            return None
        return self._pieces.pop()

    def abort(self) -> None:
        self._is_aborted = True

    def has_ended(self) -> bool:
        return not self._pieces

    def content_bytes(self) -> int:
        return 0

    def usage(self) -> Usage:
        return NO_USAGE

    def finish(self) -> str:
        return self._reason
