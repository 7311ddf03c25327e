"""A provider's stream, read up to its first content before anyone is told that it began.

One class for both ways of reading: through a Tap (pieces are bytes that pass) or a Decoder
(pieces are lists of neutral events).

A stream is over when its protocol says so, not when its connection closes: some providers keep
that open. After the protocol's last word we wait `FAREWELL_S` for the end of the body, which
lets the connection be used again; after a finish reason alone `TRAILING_S`, for the usage and
the last word that may follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from pointsman.clock import Clock
from pointsman.dialects.dialect import Progress
from pointsman.domain.usage import Usage
from pointsman.errors import ProviderFailure
from pointsman.providers.transport import HttpResponse, TransportError

HELD_BYTES = 1024 * 1024
"""The most a provider may send before its first content."""

FAREWELL_S = 0.1
"""Seconds for the end of a body whose last event has come; it is on its way, or never sent."""

TRAILING_S = 2.0
"""Seconds for what may follow a finish reason; usage is counted when the stream ends."""

Piece = TypeVar("Piece", covariant=True)


class Reader(Progress, Protocol[Piece]):
    """A Tap (pieces are bytes) or a Decoder (pieces are lists of events)."""

    def feed(self, data: bytes) -> Piece: ...

    def eof(self) -> Piece: ...


P = TypeVar("P")


class CommittedStream(Generic[P]):
    """Implements `pipeline.service.StreamBody`; call `commit` once before anything else."""

    __slots__ = ("_clock", "_done", "_lost", "_quiet", "_reader", "_response", "held")

    def __init__(
        self,
        response: HttpResponse,
        reader: Reader[P],
        lost: Callable[..., ProviderFailure],
        clock: Clock,
        quiet: Callable[[ProviderFailure], None],
    ) -> None:
        """`quiet` takes out of a provider's words what must not be repeated."""
        self._response = response
        self._reader = reader
        self._lost = lost
        self._clock = clock
        self._quiet = quiet
        self.held: deque[P] = deque()
        """What came before the commit and is still to be handed out."""
        self._done = False
        """`eof` was called: there is nothing more to read."""

    async def commit(self) -> None:
        """Hold back what comes until there is content, or a proper end without any.

        Raises ProviderFailure; nothing has reached the caller then."""
        reader = self._reader
        received = 0
        while not (reader.has_content or reader.ended or self._done):
            data = await self._receive()
            received += len(data)
            if received > HELD_BYTES:
                raise ProviderFailure(
                    "malformed", f"{received} bytes without content", code="upstream_protocol"
                )
            if piece := self._read(data):
                self.held.append(piece)

    async def next(self) -> P | None:
        if self.held:
            return self.held.popleft()
        failure = self._reader.failure
        if failure is not None:
            self._quiet(failure)
            raise failure
        while not self._done:
            if piece := self._read(await self._receive()):
                return piece
        return None

    async def _receive(self) -> bytes:
        if self._reader.ended:
            return await self._receive_rest()
        try:
            return await self._response.read_some()
        except TransportError as error:
            raise self._lost(error, before_answer=False) from error

    async def _receive_rest(self) -> bytes:
        """Read what follows the proper end, for a while; b"" when that is all."""
        response = self._response
        is_done = self._reader.done
        timer = self._clock.call_later(FAREWELL_S if is_done else TRAILING_S, response.abort)
        try:
            data = await response.read_some()
            while is_done and data:
                data = await response.read_some()
            return data
        except TransportError:
            return b""  # All was said; only the connection's farewell was lost.
        finally:
            timer.cancel()

    def _read(self, data: bytes) -> P:
        if data:
            return self._reader.feed(data)
        self._done = True
        return self._reader.eof()

    def abort(self) -> None:
        self._response.abort()

    def has_ended(self) -> bool:
        return self._reader.ended

    def content_bytes(self) -> int:
        return self._reader.content_bytes

    def usage(self) -> Usage | None:
        return self._reader.usage

    def finish(self) -> str | None:
        return self._reader.finish
