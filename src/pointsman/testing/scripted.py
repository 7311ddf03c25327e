"""A transport without a network: what it answers is scripted, what it was asked is kept.

    transport = FakeTransport(Scripted(429, {"retry-after": "7"}), Scripted(chunks=(b"data: …",)))
    response = await transport.send(request)

It holds its user to the terms of `providers.transport`: each answer is read to its end or
aborted, exactly once; `unsettled` names those that were not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pointsman.clock import Clock
from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    TransportError,
    TransportFault,
)


@dataclass(frozen=True, slots=True)
class Pause:
    """Let `seconds` of the transport's clock pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Forever:
    """Give nothing until the user aborts or is cancelled."""


@dataclass(frozen=True, slots=True)
class Break:
    """Lose the connection here."""

    fault: TransportFault = "reset"
    message: str = "connection lost"


Chunk: TypeAlias = bytes | Pause | Forever | Break


@dataclass(frozen=True, slots=True)
class Scripted:
    """One answer. `before` happens before the head, `chunks` are the body; each of bytes is one
    `read_some`. A `Break` in `before` is a request that got no answer; with one of the faults
    refused, connect_timeout, dns, tls no byte of it was sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: tuple[Chunk, ...] = ()
    before: tuple[Pause | Forever | Break, ...] = ()


def refused(fault: TransportFault = "refused") -> Scripted:
    """An answer that never comes because of `fault`."""
    return Scripted(before=(Break(fault, f"scripted: {fault}"),))


Responder: TypeAlias = Callable[[HttpRequest], Scripted]
State = Literal["sending", "open", "read", "broken", "aborted", "cancelled"]

_NOT_SENT: frozenset[str] = frozenset({"refused", "connect_timeout", "dns", "tls"})


@dataclass(eq=False, slots=True)
class Exchange:
    """One request and what became of it.

    sending: no head yet. open: the body is not at its end. read: it is. broken: by a scripted
    Break. aborted, cancelled: by the user.
    """

    request: HttpRequest
    scripted: Scripted
    state: State = "sending"


class FakeTransport:
    """Implement `Transport` in memory, one `Scripted` for each request, or by a responder."""

    def __init__(
        self, *script: Scripted, responder: Responder | None = None, clock: Clock | None = None
    ) -> None:
        self._script = deque(script)
        self._responder = responder
        self._clock = clock
        self.exchanges: list[Exchange] = []
        self.warmed: list[Endpoint] = []
        self.is_closed = False

    def script(self, *more: Scripted) -> None:
        """Queue further answers."""
        self._script.extend(more)

    @property
    def requests(self) -> tuple[HttpRequest, ...]:
        return tuple(exchange.request for exchange in self.exchanges)

    @property
    def unsettled(self) -> tuple[Exchange, ...]:
        """Exchanges that were neither read to their end nor aborted, cancelled or broken."""
        return tuple(each for each in self.exchanges if each.state in ("sending", "open"))

    async def send(self, request: HttpRequest) -> FakeResponse:
        """Play the next answer up to its head."""
        if self.is_closed:
            raise RuntimeError("FakeTransport: used after close")
        exchange = Exchange(request, self._next(request))
        self.exchanges.append(exchange)
        try:
            for event in exchange.scripted.before:
                await self.spend(event)
        except TransportError:
            exchange.state = "broken"
            raise
        except asyncio.CancelledError:
            exchange.state = "cancelled"
            raise
        exchange.state = "open"
        return FakeResponse(self, exchange)

    async def warm(self, endpoint: Endpoint) -> None:
        self.warmed.append(endpoint)

    async def close(self) -> None:
        self.is_closed = True

    async def spend(self, event: Pause | Forever | Break) -> None:
        """Let happen what is not bytes; raise TransportError for a Break."""
        if isinstance(event, Break):
            raise TransportError(event.fault, event.message, sent=event.fault not in _NOT_SENT)
        if isinstance(event, Forever):
            await asyncio.get_running_loop().create_future()
        elif self._clock is None:
            raise RuntimeError("FakeTransport: a Pause needs a clock; give it clock=FakeClock()")
        else:
            await self._clock.sleep(event.seconds)

    def _next(self, request: HttpRequest) -> Scripted:
        if self._script:
            return self._script.popleft()
        if self._responder is not None:
            return self._responder(request)
        raise AssertionError(
            f"FakeTransport: nothing scripted for request {len(self.exchanges) + 1}, "
            f"{request.method} {request.path}"
        )

    def __repr__(self) -> str:
        return f"FakeTransport({len(self.exchanges)} sent, {len(self._script)} scripted)"


class FakeResponse:
    """Implement `HttpResponse` over a scripted answer."""

    def __init__(self, transport: FakeTransport, exchange: Exchange) -> None:
        self.status = exchange.scripted.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in exchange.scripted.headers.items()
        }
        self._transport = transport
        self._exchange = exchange
        self._left = deque(exchange.scripted.chunks)
        self._aborted: asyncio.Future[None] | None = None
        self._is_reading = False

    async def read(self) -> bytes:
        parts: list[bytes] = []
        while part := await self.read_some():
            parts.append(part)
        return b"".join(parts)

    async def read_some(self) -> bytes:
        exchange = self._exchange
        if exchange.state == "read":
            return b""
        if exchange.state != "open":
            raise TransportError("reset", f"already {exchange.state}", sent=True)
        if self._is_reading:
            raise RuntimeError("FakeTransport: two reads of one response at the same time")
        self._is_reading = True
        try:
            return await self._next_bytes()
        except TransportError:
            if self._exchange.state == "open":
                exchange.state = "broken"
            raise
        except asyncio.CancelledError:
            exchange.state = "cancelled"
            raise
        finally:
            self._is_reading = False

    async def _next_bytes(self) -> bytes:
        while self._left:
            chunk = self._left.popleft()
            if isinstance(chunk, bytes):
                if chunk:
                    return chunk
            elif isinstance(chunk, Break):
                await self._transport.spend(chunk)
            else:
                await self._unless_aborted(chunk)
        self._exchange.state = "read"
        return b""

    async def _unless_aborted(self, event: Pause | Forever) -> None:
        """Wait for the event or for `abort`, whichever is first; abort wins a tie."""
        loop = asyncio.get_running_loop()
        aborted = self._aborted = loop.create_future()
        waiting = loop.create_task(self._transport.spend(event))
        try:
            await asyncio.wait((aborted, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._aborted = None
            waiting.cancel()
        if aborted.done():
            raise TransportError("reset", "aborted", sent=True)
        waiting.result()

    def abort(self) -> None:
        if self._exchange.state == "open":
            self._exchange.state = "aborted"
        if self._aborted is not None and not self._aborted.done():
            self._aborted.set_result(None)
