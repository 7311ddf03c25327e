"""Resume: continue an answer that was cut off after its first content, on another deployment.

The commit rule says that nothing is repeated in silence after content. This repeats nothing: the
next deployment is asked for the rest, and only what follows the seam is passed on (seam.py). It
is an option of a route, for text only: never inside or after a tool call, never for JSON.

A resumed reply holds the replies of its attempts one after the other, each closed before the
next is asked for, so that slots, breakers and attempts settle as ever; the ledger shows all of
them, and the client's usage is their sum. Where no continuation joins, the client is told the
first failure, as without this layer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.domain.reply import Event, Finished, TextDelta, ToolCallStarted, UsageReported
from pointsman.domain.request import ChatRequest
from pointsman.domain.usage import Usage, summed
from pointsman.errors import PointsmanError, ProviderFailure
from pointsman.pipeline.call import Call, Trail
from pointsman.pipeline.service import Reply, Service
from pointsman.routing.retries import RetrySource
from pointsman.routing.seam import NoSeam, Seam, can_continue, continuation


class Resume:
    """Between Account and Dispatch: one entry, one deadline and one purse for all that follows."""

    def __init__(
        self, inner: Service, clock: Clock, retries: RetrySource, max_attempts: int
    ) -> None:
        self.inner = inner
        self._clock = clock
        self._retries = retries
        self._max_attempts = max_attempts

    async def __call__(self, call: Call) -> Reply:
        request = call.request
        if not isinstance(request, ChatRequest) or not can_continue(request):
            return await self.inner(call)
        # As events: bytes of two providers' streams cannot be joined.
        call = replace(call, wire=None)
        first = await self.inner(call)
        if not first.is_stream:
            return first
        return Reply(
            first.deployment,
            self._clock,
            first.started,
            status=first.status,
            headers=first.headers,
            wire=None,
            stream=ResumedStream(self, call, request, first),
            ttft_s=first.ttft_s,
            tokens_if_left=first.tokens_if_left,
        )

    async def follow(self, call: Call, rest: ChatRequest) -> Reply | None:
        """Ask others for the rest; None where the attempts or the retry budget are used up.

        Raises PointsmanError."""
        left = self._attempts_left(call)
        now = self._clock.now()
        decision = call.trail.decision
        route = "" if decision is None else decision.route
        retries = self._retries.of(call.caller.tenant or call.caller.key, route)
        if left <= 0 or not retries.spend(1.0, now):
            return None
        trail = Trail()
        trail.attempts = call.trail.attempts
        trail.purse = call.trail.purse
        options = replace(call.options, max_attempts=left)
        return await self.inner(replace(call, request=rest, options=options, trail=trail))

    def _attempts_left(self, call: Call) -> int:
        most = self._max_attempts
        if call.options.max_attempts is not None:
            most = min(most, call.options.max_attempts)
        return most - len(call.trail.attempts)

    def __repr__(self) -> str:
        return f"Resume > {self.inner!r}"


class ResumedStream:
    """A `StreamBody` over the streams of one answer's attempts."""

    def __init__(self, layer: Resume, call: Call, request: ChatRequest, first: Reply) -> None:
        self._layer = layer
        self._call = call
        self._request = request
        self._reply = first
        self._said: list[str] = []
        self._is_text_only = True
        self._seam: Seam | None = None
        self._before = Usage()
        """What the attempts that were cut off used."""
        self._bytes_before = 0
        self._failure: ProviderFailure | None = None
        """What cut the answer off first: what the client is told if nothing joins."""
        self._asking: asyncio.Task[Reply | None] | None = None
        self._is_aborted = False

    async def next(self) -> list[Event] | None:
        while True:
            try:
                piece = await self._reply.__anext__()
                events = self._taken(piece)
            except StopAsyncIteration:
                return None
            except ProviderFailure as failure:
                await self._go_on(failure)
                continue
            except PointsmanError as error:
                raise ProviderFailure("unavailable", error.message, code=error.code) from error
            if events:
                return events

    def _taken(self, piece: bytes | list[Event]) -> list[Event]:
        assert isinstance(piece, list), "a resumed answer is read as events"
        seam = self._seam
        events: list[Event] = []
        for event in piece:
            if isinstance(event, TextDelta):
                new = event.text if seam is None else _joined(seam.feed, event.text)
                self._say(new, events)
            elif isinstance(event, UsageReported):
                events.append(UsageReported(summed(self._before, event.usage)))
            elif seam is None:
                if isinstance(event, ToolCallStarted):
                    self._is_text_only = False
                events.append(event)
            elif isinstance(event, Finished):
                self._say(_joined(seam.end), events)
                events.append(event)
            elif isinstance(event, ToolCallStarted):
                # The rest was to be text; a call here is a new thought, not the rest of one.
                raise _unjoined("the continuation calls a tool")
            # Else a second start, or reasoning about the rest: no part of the answer.
        return events

    def _say(self, text: str, events: list[Event]) -> None:
        if text:
            self._said.append(text)
            events.append(TextDelta(text))

    async def _go_on(self, failure: ProviderFailure) -> None:
        """Put the rest's stream in place of the one that failed, or raise the first failure."""
        failure = self._failure = self._failure or failure
        said = "".join(self._said)
        cut = self._reply
        cut.close()  # Settle it first: its attempt stands in the trail, its slot is free.
        assert cut.usage is not None
        can = self._is_text_only and said.strip() and not self._is_aborted
        if not can or failure.kind == "content_filter":
            raise failure
        seam = Seam(said)
        rest = continuation(self._request, said, seam)
        if rest is None:
            raise failure
        avoid = self._call.avoid | {cut.deployment.name}
        self._call = replace(self._call, avoid=avoid)
        self._asking = asyncio.ensure_future(self._layer.follow(self._call, rest))
        try:
            reply = await self._asking
        except PointsmanError as error:
            raise failure from error
        except asyncio.CancelledError:
            if not self._is_aborted:
                raise
            raise failure from None
        finally:
            self._asking.cancel()
            self._asking = None
        if reply is None:
            raise failure
        self._before = summed(self._before, cut.usage)
        self._bytes_before += _content_bytes(cut)
        self._reply = reply
        self._seam = seam

    def abort(self) -> None:
        self._is_aborted = True
        if self._asking is not None:
            self._asking.cancel()
        self._reply.close()

    def has_ended(self) -> bool:
        stream, seam = self._reply.stream, self._seam
        return stream is not None and stream.has_ended() and (seam is None or seam.is_joined)

    def content_bytes(self) -> int:
        return self._bytes_before + _content_bytes(self._reply)

    def usage(self) -> Usage | None:
        reply = self._reply
        now = reply.usage
        if now is None and reply.stream is not None:
            now = reply.stream.usage()
        if now is None and self._seam is None:
            return None
        if now is None:
            now = reply.tokens_if_left(_content_bytes(reply))
        return summed(self._before, now)

    def finish(self) -> str | None:
        stream = self._reply.stream
        return None if stream is None else stream.finish()


def _content_bytes(reply: Reply) -> int:
    return 0 if reply.stream is None else reply.stream.content_bytes()


def _joined(step: Callable[..., str], *pieces: str) -> str:
    try:
        return step(*pieces)
    except NoSeam as error:
        raise _unjoined(str(error)) from error


def _unjoined(message: str) -> ProviderFailure:
    return ProviderFailure("malformed", message, code="upstream_protocol")
