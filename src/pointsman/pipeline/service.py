"""The one shape of call: a Service takes a Call and gives a Reply; layers wrap services.

The commit rule: a Service returns when the provider has begun to answer with content. Before
that, an attempt may be repeated elsewhere; after, a failure is told inside the stream.

The close rule: a Reply is used with `async with`. It closes once, read to the end or not, and
tells every layer that listens the same Outcome, innermost first. Slots, breaker counts,
latency, cost and ledger settle there and nowhere else; a generator that wraps another would
leak them when a client leaves in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Protocol

from pointsman.clock import Clock
from pointsman.domain.deployment import Deployment
from pointsman.domain.granted import Granted
from pointsman.domain.outcome import Outcome, OutcomeKind
from pointsman.domain.reply import ChatReply, Event
from pointsman.domain.usage import Usage, filled
from pointsman.errors import PointsmanError, ProviderFailure
from pointsman.pipeline.call import Call

OutcomeListener = Callable[[Outcome], None]


class Service(Protocol):
    def __call__(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Answer, committed. Raises PointsmanError."""
        ...


class StreamBody(Protocol):
    """A provider's stream after the commit; `Reply` is its only reader."""

    async def next(self) -> bytes | list[Event] | None:
        """The next piece, None at the proper end. Raises ProviderFailure."""
        ...

    def abort(self) -> None:
        """Close the connection; a waiting `next` raises."""
        ...

    def has_ended(self) -> bool: ...

    def content_bytes(self) -> int: ...

    def usage(self) -> Usage | None:
        """What the provider reported so far."""
        ...

    def finish(self) -> str | None: ...


class Reply:
    """A committed answer: whole (`body`, `chat`) or a stream (iterate it).

    `wire` is the dialect of the bytes in `body` and of a stream's pieces; None means that the
    answer is decoded: `chat`, or lists of events.
    """

    __slots__ = (
        "_clock",
        "_failure",
        "_is_read_up",
        "_is_waiting",
        "_left_at",
        "_listeners",
        "_outcome",
        "_quiet_since",
        "_stream",
        "body",
        "chat",
        "deployment",
        "finish",
        "granted",
        "headers",
        "judge",
        "started",
        "status",
        "tokens_if_left",
        "ttft_s",
        "usage",
        "wire",
    )

    def __init__(
        self,
        deployment: Deployment,
        clock: Clock,
        started: float,
        *,
        wire: str | None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        chat: ChatReply | None = None,
        stream: StreamBody | None = None,
        usage: Usage | None = None,
        finish: str | None = None,
        ttft_s: float | None = None,
        tokens_if_left: Callable[[int], Usage] = lambda content_bytes: Usage(
            output=content_bytes // 4, estimated=True
        ),
    ) -> None:
        self.deployment = deployment
        self.wire = wire
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.body = body
        self.chat = chat
        self.usage = usage
        self.finish = finish
        self.started = started
        self.ttft_s = ttft_s
        self.granted: Granted | None = None
        """What the provider said it still grants."""
        self.tokens_if_left = tokens_if_left
        self.judge: Callable[[Usage], Usage] | None = None
        """Holds what the provider reports to what is possible."""
        self._stream = stream
        self._clock = clock
        self._listeners: list[OutcomeListener] = []
        self._outcome: Outcome | None = None
        self._failure: PointsmanError | None = None
        self._quiet_since: float | None = None
        self._left_at = started
        self._is_waiting = False
        self._is_read_up = False
        """What came last was waited for in vain: nothing is left unread."""

    @property
    def is_stream(self) -> bool:
        return self._stream is not None

    @property
    def stream(self) -> StreamBody | None:
        """What a stream is read from: for layers that look at it, never to read from it."""
        return self._stream

    def through(self, wrap: Callable[[StreamBody], StreamBody]) -> None:
        """Have what is read from now on pass through what `wrap` makes of the stream."""
        if self._stream is not None:
            self._stream = wrap(self._stream)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None until it is closed."""
        return self._outcome

    def quiet_s(self) -> float:
        """Seconds the provider has let us wait for content; a slow reader's time is not in it."""
        if self._quiet_since is None:
            return 0.0
        until = self._clock.now() if self._is_waiting else self._left_at
        return until - self._quiet_since

    def on_close(self, listener: OutcomeListener) -> None:
        """Be told the Outcome once; layers register on the way up, so innermost comes first."""
        self._listeners.append(listener)

    def fail(self, error: PointsmanError) -> None:
        """End the stream with `error`: the reader gets it in place of the next piece.

        A stream whose proper end has been seen ends properly: only what may follow is lost."""
        stream = self._stream
        if self._outcome is not None or self._failure is not None:
            return
        if stream is None or not stream.has_ended():
            self._failure = error
        if stream is not None:
            stream.abort()

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> bytes | list[Event]:
        stream = self._stream
        if stream is None or self._outcome is not None:
            raise StopAsyncIteration
        if self._failure is not None:
            raise self._failure
        now = self._clock.now()
        if self._quiet_since is None:
            self._quiet_since = now
        else:
            self._quiet_since += now - self._left_at
        seen = stream.content_bytes()
        self._is_waiting = self._is_read_up = True
        try:
            piece = await stream.next()
            self._is_read_up = False
        except ProviderFailure as failure:
            if self._failure is None:
                self._failure = failure
            raise self._failure from failure
        finally:
            self._is_waiting = False
        if piece is None:
            raise StopAsyncIteration
        if stream.content_bytes() != seen:
            self._quiet_since = None
        else:
            self._left_at = self._clock.now()
        return piece

    async def __aenter__(self) -> Reply:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Settle: work out the Outcome once and tell it to every layer."""
        if self._outcome is not None:
            return
        outcome = self._outcome = self._settle()
        for listener in self._listeners:
            listener(outcome)
        self._listeners.clear()

    def _settle(self) -> Outcome:
        # 1. whole: it was all here when it was committed. 2. ended: the proper end was seen.
        # 3. failed after content: what was sent is accounted. 4. left: the reader stopped.
        seconds = self._clock.now() - self.started
        stream = self._stream
        kind: OutcomeKind = "ok"
        detail = code = ""
        seen_bytes: int | None = None
        usage = self.usage
        if stream is not None:
            self.finish = stream.finish()
            usage = stream.usage()
            failure = self._failure
            if stream.has_ended():
                kind = "ok"
            elif isinstance(failure, ProviderFailure):
                kind, detail, code = failure.kind, failure.message, failure.code
            else:
                kind, code = "abandoned", "" if failure is None else failure.code
                detail = code
                seen_bytes = stream.content_bytes() if self._is_read_up else None
            stream.abort()
            if usage is None or usage.estimated or kind != "ok":
                seen = self.tokens_if_left(stream.content_bytes())
                usage = filled(usage, seen, is_final=kind == "ok")
        if usage is None:
            usage = self.tokens_if_left(len(self.body))
        if self.judge is not None:
            usage = self.judge(usage)
        self.usage = usage
        return Outcome(
            kind,
            usage,
            self.ttft_s,
            seconds,
            self.status,
            detail=detail,
            code=code,
            finish=self.finish,
            seen_bytes=seen_bytes,
        )
