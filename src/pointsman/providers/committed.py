"""A provider's stream, read up to its first content before anyone is told that it began.

One class for both ways of reading: through a Tap (pieces are bytes that pass) or a Decoder
(pieces are lists of neutral events).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from pointsman.dialects.dialect import Progress
from pointsman.domain.usage import Usage
from pointsman.errors import ProviderFailure
from pointsman.providers.transport import HttpResponse, TransportError

HELD_BYTES = 1024 * 1024
"""The most a provider may send before its first content."""

Piece = TypeVar("Piece", covariant=True)


class Reader(Progress, Protocol[Piece]):
    """A Tap (pieces are bytes) or a Decoder (pieces are lists of events)."""

    def feed(self, data: bytes) -> Piece: ...

    def eof(self) -> Piece: ...


P = TypeVar("P")


class CommittedStream(Generic[P]):
    """Implements `pipeline.service.StreamBody`; call `commit` once before anything else."""

    __slots__ = ("_done", "_held", "_lost", "_reader", "_response")

    def __init__(
        self,
        response: HttpResponse,
        reader: Reader[P],
        lost: Callable[..., ProviderFailure],
    ) -> None:
        self._response = response
        self._reader = reader
        self._lost = lost
        self._held: deque[P] = deque()
        self._done = False

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
                self._held.append(piece)

    async def next(self) -> P | None:
        if self._held:
            return self._held.popleft()
        while not self._done:
            if piece := self._read(await self._receive()):
                return piece
        return None

    async def _receive(self) -> bytes:
        try:
            return await self._response.read_some()
        except TransportError as error:
            if self._reader.ended:
                return b""  # All was said; only the connection's farewell was lost.
            raise self._lost(error, before_answer=False) from error

    def _read(self, data: bytes) -> P:
        if data:
            return self._reader.feed(data)
        self._done = True
        return self._reader.eof()

    def abort(self) -> None:
        if not self._done:
            self._done = True
            self._response.abort()

    def has_ended(self) -> bool:
        return self._reader.ended

    def content_bytes(self) -> int:
        return self._reader.content_bytes

    def usage(self) -> Usage | None:
        return self._reader.usage

    def finish(self) -> str | None:
        return self._reader.finish
