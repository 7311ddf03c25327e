"""A provider's stream of chat completion chunks: watched as it passes, or read into events.

Theory. Both readers see each event through one `Chunk`, decoded by type: that is fast, and
notices JSON that is broken anywhere. An event that is JSON but of other types than OpenAI's
(Mistral sends `content` as an array) is read again leniently. A stream has ended properly when
each choice has given its finish reason; `[DONE]` alone is no proof, for proxies write it after
an upstream that was cut.
"""

from __future__ import annotations

from pointsman.dialects.counts import openai_usage
from pointsman.dialects.failures import cut_short, fields_of, in_stream, require_utf8
from pointsman.dialects.openai_chat.calls import CallIndex
from pointsman.dialects.openai_chat.chunk import Chunk, Delta, Piece, decode, decode_piece
from pointsman.dialects.openai_chat.reply import FINISH
from pointsman.dialects.sse import Splitter, is_comment
from pointsman.domain.billing import ANY, BillingRule
from pointsman.domain.reply import (
    Event,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    UsageReported,
)
from pointsman.domain.usage import INSANE, Usage
from pointsman.errors import ProviderFailure

DONE = b"data: [DONE]\n\n"


class Watch:
    """What both readers know of the stream (`Progress`), kept by `observe`."""

    __slots__ = (
        "_finished",
        "_has_calls",
        "_rule",
        "_splitter",
        "_tier",
        "_wanted",
        "content_bytes",
        "done",
        "ended",
        "failure",
        "finish",
        "has_content",
        "model",
        "usage",
    )

    def __init__(self, choices: int = 1, rule: BillingRule = ANY) -> None:
        self._splitter = Splitter()
        self._rule = rule
        self._tier: object = None
        self._wanted = choices
        self._finished: set[int] = set()
        self._has_calls = False
        self.has_content = False
        self.failure: ProviderFailure | None = None
        self.ended = False
        self.done = False
        """`[DONE]` has come: what follows is ignored."""
        self.usage: Usage | None = None
        self.finish: str | None = None
        self.content_bytes = 0
        self.model: str | None = None

    def observe(self, name: bytes, data: bytes | None) -> Piece | None:
        """Take in one event; return its chunk, None for `[DONE]` and for what says nothing."""
        if not data:
            return None
        if data == b"[DONE]":
            if not self.ended:
                raise cut_short()
            self.done = True
            return None
        if self.model is not None:
            chunk = decode_piece(data)
        else:
            chunk = decode(data)
            self.model = chunk.model or None
        if chunk.error is not None:
            raise in_stream(chunk.error)
        if chunk.choices:
            for choice in chunk.choices:
                if choice.delta is not None:
                    self._weigh(choice.delta)
                if choice.finish_reason is not None:
                    self._finish(choice.finish_reason, choice.index)
                    if choice.usage is not None:
                        self._read_usage(choice.usage)
        elif chunk.choices is None or name == b"error":
            _raise_if_error(name, data)
        if chunk.service_tier is not None:
            self._tier = chunk.service_tier
        if chunk.usage is not None:
            self._read_usage(chunk.usage)
        elif chunk.x_groq is not None:
            self._read_usage(chunk.x_groq.get("usage"))
        return chunk

    def _read_usage(self, fields: object) -> None:
        """Take a report over the one before: reports are cumulative, so none is added."""
        usage = openai_usage(fields, self._rule, self._tier)
        if usage is not None:
            self.usage = usage

    def _weigh(self, delta: Delta) -> None:
        said = delta.content
        if said:
            self.has_content = True
            self.content_bytes += len(said) if said.isascii() else len(said.encode())
            if delta.tool_calls is None and delta.reasoning_content is None:
                return
        for text in (delta.reasoning_content or delta.reasoning, delta.refusal):
            if text:
                self.has_content = True
                self.content_bytes += len(text.encode())
        for call in delta.tool_calls or ():
            self.has_content = self._has_calls = True
            function = call.function
            if function is not None:
                said = (function.name or "") + (function.arguments or "")
                self.content_bytes += len(said.encode())

    def _finish(self, reason: str, index: int) -> None:
        if reason == "error":
            raise ProviderFailure(
                "unavailable", "the provider's stream finished with an error", code="upstream_error"
            )
        finish = FINISH.get(reason, "stop")
        if finish == "stop" and self._has_calls:
            finish = "tool_calls"
        if self.finish is None:
            self.finish = finish
        self._finished.add(index)
        self.ended = len(self._finished) >= self._wanted

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


class OpenAITap(Watch):
    """Pass whole events on as they came; swallow the usage event that only we asked for."""

    __slots__ = ("_swallows_usage",)

    def __init__(self, choices: int, include_usage: bool, rule: BillingRule = ANY) -> None:
        super().__init__(choices, rule)
        self._swallows_usage = not include_usage

    def feed(self, data: bytes) -> bytes:
        """Return the whole events among `data`. On ProviderFailure `has_content` is as before:
        nothing of this piece was handed over. What breaks after the finish reason is ignored."""
        is_over = self.done
        if is_over:
            return b""
        had_content = self.has_content
        passed: list[bytes] = []
        try:
            only = self._splitter.single(data)
            if only is not None:
                if not data.isascii():
                    require_utf8(data)
                return b"" if self._is_ours(self.observe(b"", only)) else data
            for raw, name, content in self._splitter.feed(data):
                if not raw.isascii():
                    require_utf8(raw)
                if not content:
                    if is_comment(raw):
                        passed.append(raw)
                elif not self._is_ours(self.observe(name, content)):
                    passed.append(raw)
                if self.done:
                    break
        except ProviderFailure as failure:
            if self.ended and self.has_content:
                self.done = True
                passed.append(DONE)
            else:
                self._broke(failure, had_content, passed)
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def _is_ours(self, chunk: Piece | None) -> bool:
        """Say whether a chunk is the usage that only we asked for."""
        return (
            chunk is not None
            and chunk.usage is not None
            and self._swallows_usage
            and chunk.choices == []
        )

    def eof(self) -> bytes:
        is_over = self.done
        if is_over:
            return b""
        passed = b""
        rest = self._splitter.finish()
        if rest is not None:
            raw, name, data = rest
            chunk = _observe_rest(self, name, data)
            if chunk is not None and not self._is_ours(chunk):
                passed = raw.rstrip(b"\r\n") + b"\n\n"
        if not self.ended:
            raise cut_short()
        return passed + DONE


class OpenAIDecoder(Watch):
    """Read chunks into neutral events; of several choices the first."""

    __slots__ = ("_calls", "_refused", "_started", "_text_seen")

    def __init__(self, rule: BillingRule = ANY) -> None:
        super().__init__(rule=rule)
        self._calls = CallIndex()
        self._refused = False
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        is_over = self.done
        if is_over:
            return events
        had_content = self.has_content
        try:
            only = self._splitter.single(data)
            if only is not None:
                self._read(b"", only, events)
                return events
            for _, name, content in self._splitter.feed(data):
                self._read(name, content, events)
                if self.done:
                    break
        except ProviderFailure as failure:
            if self.ended and self.has_content:
                self.done = True
            else:
                self._broke(failure, had_content, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        is_over = self.done
        if not is_over:
            rest = self._splitter.finish()
            if rest is not None:
                _, name, data = rest
                try:
                    self._read(name, data, events)
                except ProviderFailure as failure:
                    if failure.code != "upstream_protocol" and not self.ended:
                        raise
            if not self.ended:
                raise cut_short()
        return events

    def _read(self, name: bytes, data: bytes | None, events: list[Event]) -> None:
        had_ended = self.ended
        before = self.usage
        chunk = self.observe(name, data)
        if chunk is None:
            return
        if not self._started and (chunk.choices or getattr(chunk, "id", None)):
            self._started = True
            events.append(_start(chunk, self.model))
        for choice in chunk.choices or ():
            if choice.index == 0 and not had_ended:
                if choice.delta is not None:
                    self._read_delta(choice.delta, events)
                if choice.finish_reason is not None:
                    events += self._calls.rest()
                    events.append(Finished(self._reason(choice.finish_reason)))
        if self.usage is not None and self.usage is not before and self.usage is not INSANE:
            events.append(UsageReported(self.usage))

    def _read_delta(self, delta: Delta, events: list[Event]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            events.append(ThinkingDelta(thought))
        if delta.content:
            events.append(TextDelta(delta.content))
        if delta.refusal:
            self._refused = True
            events.append(TextDelta(delta.refusal))
        for call in delta.tool_calls or ():
            function = call.function
            if function is not None:
                events += self._calls.take(call.index, call.id, function.name, function.arguments)

    def _reason(self, given: str) -> FinishReason:
        """Trust what was streamed over the word for it: some servers say `stop` after calls,
        some `tool_calls` after none."""
        if self._refused:
            return "refusal"
        finish = FINISH.get(given, "stop")
        if finish in ("stop", "tool_calls"):
            return "tool_calls" if self._calls.count else "stop"
        return finish


def _start(chunk: Piece, model: str | None) -> Started:
    if not isinstance(chunk, Chunk):
        return Started("", model or "")
    created = chunk.created
    is_sane = type(created) in (int, float) and 0 <= created < 2**53
    return Started(chunk.id or "", model or "", int(created) if is_sane else 0)


def _observe_rest(watch: Watch, name: bytes, data: bytes | None) -> Piece | None:
    """Observe what stands after the last blank line; half an event counts for nothing."""
    try:
        return watch.observe(name, data)
    except ProviderFailure as failure:
        if failure.code == "upstream_protocol" or watch.ended:
            return None
        raise


def _raise_if_error(name: bytes, data: bytes) -> None:
    """Notice an error without an `error` field: `event: error`, vLLM's older form, `detail`."""
    fields = fields_of(data)
    if (
        name == b"error"
        or fields.get("object") == "error"
        or "detail" in fields
        or "message" in fields
    ):
        raise in_stream(fields)
