"""One client's connection: llhttp reads requests from it, exchanges answer them in order.

Theory. At any time a connection is in one of these states, and each has its own clock, looked at
by the server's one sweep a second (`look`), so that no request costs a timer:

1. *fresh* or *idle*: no byte of a request has come. Closed silently when its time is over.
2. *in a head*: `header_timeout_s` from its first byte, then 408.
3. *under way*: an exchange is being answered. While its body comes, each `BODY_WINDOW_S` must
   bring its share of `body_bytes_per_s`, else 408.
4. *skipping*: answered, and the little that is left of the body is read and dropped.
5. *closing*: the last answer is written; what still comes in is dropped until the client closes,
   a time or a number of bytes is over. Closing at once would reset the connection, and a reset
   takes the answer back from a client that has not read it yet.

In every state bytes that wait for a reader who takes none of them for `stall_s` end it by a
reset: a close would leave the kernel trying for minutes.

The parser is fed only while it has a request to read. What comes beyond, behind an exchange that
is under way, is kept as it is up to `HELD_BYTES` and then not read: so we notice that a client
leaves also behind a pipelined request. Requests that came in one piece are parsed together, at
most `MOST_WAITING` of them; the connection is closed after those, and the client repeats the rest
(RFC 9112 section 9.3.2). A client that ends its side of the connection has left.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable
from typing import Literal, Protocol, cast

import httptools

from pointsman.clock import Clock
from pointsman.config.settings import ServerSettings
from pointsman.errors import PointsmanError
from pointsman.pipeline.account import DRAINING
from pointsman.server.exchange import ClientGone, Exchange, TooManyBodies
from pointsman.server.head import (
    HEAD_BYTES,
    HEADER_COUNT,
    TARGET_BYTES,
    HttpFault,
    add_header,
    check_head,
    fault,
    path_of,
    query_of,
)

HELD_BYTES = 64 * 1024
"""Unparsed bytes behind an exchange, and bytes of a body that nobody has asked for yet."""
MOST_WAITING = 16
SILENT_BYTES = 64 * 1024
"""Framing without content in a row: a head, chunk extensions, trailers."""

WRITE_HIGH_BYTES = 256 * 1024
"""A stream whose reader has this much to take is held back."""
WRITE_LOW_BYTES = 64 * 1024

BODY_WINDOW_S = 5.0
LINGER_S = 5.0
"""How long a client may read its last answer before we hang up (nginx's lingering_timeout)."""
LINGER_BYTES = 32 * 1024 * 1024

Cut = Literal["slow_head", "slow_body", "stalled", "bad_request", "draining"]
"""Why a connection is ended before its client wants it to be."""

_log = logging.getLogger("pointsman")

_RESET = struct.pack("ii", 1, 0)


class Answering(Protocol):
    """What answers exchanges: `App`."""

    @property
    def stamp(self) -> bytes:
        """Header lines of every answer."""
        ...

    def new_id(self) -> str: ...

    def handle(self, exchange: Exchange) -> Awaitable[None]:
        """Answer. Raises nothing."""
        ...

    def refuse(self, exchange: Exchange, error: PointsmanError) -> None:
        """Answer with an error."""
        ...


class Home(Protocol):
    """Where connections belong: `HttpServer`."""

    app: Answering
    clock: Clock
    limits: ServerSettings
    date: bytes
    is_draining: bool
    bodies_bytes: int
    """Held now, over all connections."""

    def lost(self, connection: Connection) -> None: ...

    def promised(self) -> float: ...

    def begun(self) -> None: ...

    def over(self) -> None: ...

    def cut(self, reason: Cut) -> None: ...


class _Stop(Exception):
    """Leave the parser from inside one of its callbacks; the connection knows why."""


class Connection(asyncio.Protocol):
    """A client's connection; see the theory above."""

    __slots__ = (
        "_closing_bytes",
        "_current",
        "_drain_waiter",
        "_fault",
        "_filling",
        "_head_bytes",
        "_header_bytes",
        "_header_count",
        "_headers",
        "_held",
        "_home",
        "_idle_until",
        "_is_closing",
        "_is_deaf",
        "_is_gone",
        "_is_in_head",
        "_is_paused",
        "_mark",
        "_marked_at",
        "_parser",
        "_silent_bytes",
        "_stalled_at",
        "_taken",
        "_target",
        "_task",
        "_transport",
        "_turned_away",
        "_waiting",
        "_written",
        "address",
        "due",
        "is_full",
        "is_promised",
    )

    def __init__(
        self, home: Home, address: str = "", turned_away: PointsmanError | None = None
    ) -> None:
        self.address = address
        self.due = 0.0
        """When the sweep is to look at this connection."""
        self.is_full = False
        self.is_promised = False
        """Draining began while a stream was under way whose head let another request follow."""
        self._home = home
        self._turned_away = turned_away
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._head_bytes = 0
        self._silent_bytes = 0
        self._is_in_head = False
        self._fault: HttpFault | None = None
        self._filling: Exchange | None = None
        """Whose body the parser reads."""
        self._current: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Exchange] = deque()
        self._held = bytearray()
        self._is_paused = False
        self._is_deaf = False
        """Nothing more is parsed: the connection ends with the last answer."""
        self._is_closing = False
        self._is_gone = False
        self._closing_bytes = 0
        self._drain_waiter: asyncio.Future[None] | None = None
        self._written = 0
        self._taken = -1
        """Bytes that the client had taken when the sweep looked; -1 where it had taken all."""
        self._stalled_at = 0.0
        self._idle_until = 0.0
        self._mark = 0
        self._marked_at = 0.0

    # What exchanges need.

    @property
    def date(self) -> bytes:
        return self._home.date

    @property
    def is_closing(self) -> bool:
        return self._home.is_draining or (self._is_deaf and not self._waiting)

    def write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not self._is_gone:
            self._written += len(data)
            transport.write(data)

    def want_body(self, exchange: Exchange) -> None:
        home = self._home
        most = home.limits.bodies_bytes
        if home.bodies_bytes + (exchange.length or 0) - exchange.received > most:
            raise _too_many_bodies(most)
        self._mark = exchange.received
        self._marked_at = home.clock.now()
        self._resume()

    async def drained(self) -> None:
        while self.is_full:
            if self._is_gone:
                raise ClientGone
            self._drain_waiter = asyncio.get_running_loop().create_future()
            try:
                await self._drain_waiter
            finally:
                self._drain_waiter = None

    # What the server needs.

    @property
    def is_turned_away(self) -> bool:
        """Whether it is beyond a cap: told so and closed."""
        return self._turned_away is not None

    @property
    def is_idle(self) -> bool:
        return self._current is None and not self._is_in_head and not self._is_closing

    def look(self, now: float) -> None:
        """Do what is due; `due` has come."""
        transport = self._transport
        if transport is None or self._is_gone:
            return
        limits = self._home.limits
        current = self._current
        if unsent := transport.get_write_buffer_size():
            self._look_at_reader(self._written - unsent, now)
            return
        self._taken = -1
        if self._is_closing:
            transport.abort()
        elif self._is_in_head and current is None:
            self._is_deaf = True
            self._home.cut("slow_head")
            self._refuse(fault("request_timeout", f"no head in {limits.header_timeout_s:g} s"))
        elif current is None:
            self.due = self._idle_until
            if now >= self.due:
                transport.close()
        elif current is self._filling and not self._is_paused:
            if current.is_wanted and not current.ended:
                self._look_at_body(current, now)
            elif self._task is None:  # skipping
                transport.close()

    def _look_at_reader(self, taken: int, now: float) -> None:
        if taken != self._taken:
            self._taken = taken
            self._stalled_at = now
        elif now - self._stalled_at >= self._home.limits.stall_s:
            self._home.cut("stalled")
            self.abort()

    def _look_at_body(self, exchange: Exchange, now: float) -> None:
        window = now - self._marked_at
        rate = self._home.limits.body_bytes_per_s
        if window < BODY_WINDOW_S or exchange.fault is not None:
            return
        if exchange.received - self._mark < rate * BODY_WINDOW_S:
            self._is_deaf = True
            self._home.cut("slow_body")
            exchange.break_off(
                fault("request_timeout", f"the body comes slower than {rate} bytes a second")
            )
        self._mark = exchange.received
        self._marked_at = now

    def stop(self) -> None:
        """End what is under way: exchanges tell their client that the server stops."""
        if self._task is not None:
            self._home.cut("draining")
            self._task.cancel(DRAINING)
        elif not self._is_closing and self._transport is not None:
            self._transport.close()

    def rest_until(self, moment: float) -> None:
        """Close at `moment` if no request has come by then."""
        if self.is_idle:
            self.due = self._idle_until = moment

    def hang_up(self) -> None:
        """End the connection now, whatever is under way."""
        if self._task is not None:
            self._task.cancel(DRAINING)
        if self._transport is not None:
            self._transport.abort()

    def abort(self) -> None:
        """End the connection by a reset, with all that the client has not taken."""
        transport = self._transport
        if transport is not None:
            plug = transport.get_extra_info("socket")
            if plug is not None:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
            self._leave()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)
        self._idle_until = self._home.clock.now() + self._home.limits.header_timeout_s
        self.due = self._idle_until
        if self._turned_away is not None:
            self._is_deaf = True
            self._refuse(self._turned_away)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._drop(len(data))
        elif self._current is None or self._filling is not None:
            self._feed(data)
        else:
            self._held += data
            if len(self._held) > HELD_BYTES:
                self._pause()

    def _drop(self, size: int) -> None:
        self._closing_bytes += size
        if self._closing_bytes > LINGER_BYTES and self._is_closing:
            self.abort()

    def _feed(self, data: bytes | bytearray) -> None:
        filling = self._filling
        is_new = filling is None and not self._is_in_head
        if filling is None:
            self._is_in_head = True
        received = 0 if filling is None else filling.received
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(error)
            return
        now_filling = self._filling
        if now_filling is not None and (now_filling is filling or is_new):
            filling = now_filling
            if filling.received == received:
                self._silent_bytes += len(data)
                if self._silent_bytes > SILENT_BYTES and not filling.ended:
                    self._break(
                        fault("headers_too_large", "the chunks hold more framing than body")
                    )
            else:
                self._silent_bytes = 0
                if filling.received > HELD_BYTES and not filling.is_wanted and not filling.ended:
                    self._pause()
        elif self._is_in_head:
            self._head_bytes += len(data) if filling is None else 0
            if self._head_bytes > HEAD_BYTES + TARGET_BYTES:
                self._break(fault("headers_too_large", f"a head of more than {HEAD_BYTES} bytes"))
            elif is_new and self._current is None:
                self.due = self._home.clock.now() + self._home.limits.header_timeout_s

    def _break(self, error: Exception) -> None:
        """Stop reading requests: one is malformed, or there are too many."""
        if self._is_deaf:
            return
        self._is_deaf = True
        if isinstance(error, httptools.HttpParserCallbackError) and self._fault is None:
            _log.error("connection.crashed", exc_info=error)
            self.abort()
            return
        found = self._fault or (error if isinstance(error, HttpFault) else self._reading(error))
        filling = self._filling
        if filling is not None:
            self._home.cut("bad_request")
            filling.break_off(found)
            if filling.ended and self._task is None:
                self._close()
        else:
            last = self._waiting[-1] if self._waiting else self._current
            if last is None or last.keep:  # else what follows a last request is nobody's
                self._home.cut("bad_request")
                self._refuse(found)

    def _reading(self, error: Exception) -> HttpFault:
        """Say what llhttp found."""
        if self._filling is None and self._parser.get_method() == b"PRI":
            return fault("http_version", "HTTP/2 is not spoken here; use HTTP/1.1")
        if "HTTP version" in str(error):
            return fault("http_version", "only HTTP/1.0 and HTTP/1.1 are spoken here")
        return fault("invalid_http", f"the request is not HTTP as RFC 9112 has it: {error}")

    def eof_received(self) -> None:
        # Returning None has the transport flush and close.
        if self._current is not None and not self._current.ended:
            self._leave()
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._home.lost(self)
        self._leave()
        self._transport = None
        del self._parser  # breaks the cycle between parser and connection

    def _leave(self) -> None:
        self._is_deaf = self._is_gone = True
        for exchange in self._waiting:
            self._home.bodies_bytes -= exchange.received
        self._waiting.clear()
        self._held.clear()
        if self._current is not None:
            self._current.leave()
        waiter = self._drain_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        waiter = self._drain_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    # Exchanges, one after the other.

    def _take(self, exchange: Exchange) -> None:
        if self._current is None:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._taken = -1
        self.due = 0.0  # looked at by every sweep
        self._home.begun()
        self._task = asyncio.get_running_loop().create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            if not exchange.method:
                assert exchange.fault is not None
                self._home.app.refuse(exchange, exchange.fault)
            else:
                await self._home.app.handle(exchange)
        finally:
            self._over(exchange)

    def _over(self, exchange: Exchange) -> None:
        self._task = None
        self._home.bodies_bytes -= exchange.received
        self._home.over()
        exchange.release()
        if self._transport is None:
            self._current = None
        elif not exchange.ended:
            self.abort()  # broken in the middle: a cut is never taken for an end
        elif not exchange.keep or (self._is_deaf and not self._waiting):
            self._close()
        elif exchange.complete:
            self._next()
        else:
            self.due = self._home.clock.now() + self._home.limits.header_timeout_s
            self._resume()

    def _next(self) -> None:
        self._current = None
        now = self._home.clock.now()
        self.due = self._idle_until = now + self._home.limits.keep_alive_s
        if self._waiting:
            self._begin(self._waiting.popleft())
        elif self._held:
            data, self._held = self._held, bytearray()
            self._resume()
            self._feed(data)
        elif self._is_in_head:
            self.due = now + self._home.limits.header_timeout_s
        elif self._transport is not None and (
            self._transport.get_write_buffer_size() > WRITE_LOW_BYTES
        ):
            self.due = 0.0  # a whole answer may stall too
        elif self._home.is_draining:
            # Its answer began before, and did not say that it is the last.
            self.is_promised = True
            self.due = self._idle_until = self._home.promised()

    def _refuse(self, error: PointsmanError) -> None:
        """Answer what is no request, when its turn comes, and close."""
        home = self._home
        try:
            path = path_of(self._target) if self._target else "/"
        except HttpFault:
            path = "/"
        exchange = Exchange(
            self, home.app.new_id(), home.app.stamp, "", path, self._headers, keep=False
        )
        exchange.fault = error
        self._is_in_head = False
        self._take(exchange)

    def _close(self) -> None:
        """Close so that the client can still read its answer."""
        transport = self._transport
        if transport is None or self._is_closing:
            return
        self._is_closing = self._is_deaf = True
        current, self._current = self._current, None
        now = self._home.clock.now()
        self._stalled_at = now
        self.due = now + LINGER_S
        is_read = current is not None and current.complete and not self._held
        self._held.clear()
        if is_read and not self._is_paused:
            transport.close()
        else:
            self._resume()
            try:
                transport.write_eof()
            except OSError:  # reset by the client in the meantime
                transport.abort()

    # The parser's side.

    def on_message_begin(self) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._is_deaf = True
        if self._is_deaf:
            raise _Stop
        self._is_in_head = True
        self._head_bytes = 0
        self._silent_bytes = 0
        self._header_bytes = 0
        self._header_count = 0
        self._target = b""
        self._headers = {}

    def on_url(self, target: bytes) -> None:
        self._target += target
        if len(self._target) > TARGET_BYTES:
            self._stop_at(fault("target_too_long", f"a target of more than {TARGET_BYTES} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + 4
        if self._header_count > HEADER_COUNT or self._header_bytes > HEAD_BYTES:
            self._stop_at(
                fault(
                    "headers_too_large",
                    f"more than {HEADER_COUNT} header lines or {HEAD_BYTES} bytes of them",
                )
            )
        if self._filling is not None:  # trailers are counted, not kept
            return
        try:
            add_header(self._headers, name, value)
        except HttpFault as found:
            self._stop_at(found)

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        method = parser.get_method().decode("ascii")
        try:
            check_head(version, method, self._headers)
            path = path_of(self._target)
            if parser.should_upgrade():
                raise fault("not_implemented", "Upgrade: only HTTP/1.1 is spoken here")
        except HttpFault as found:
            self._stop_at(found)
        app = self._home.app
        exchange = self._filling = Exchange(
            self,
            app.new_id(),
            app.stamp,
            method,
            path,
            self._headers,
            is_old=version == "1.0",
            keep=parser.should_keep_alive(),
            query=query_of(self._target),
        )
        self._is_in_head = False
        self._header_count = self._header_bytes = 0
        self._take(exchange)

    def on_body(self, body: bytes) -> None:
        exchange = self._filling
        if exchange is not None:
            home = self._home
            home.bodies_bytes += exchange.receive(body)
            if home.bodies_bytes > home.limits.bodies_bytes and exchange.is_wanted:
                exchange.break_off(_too_many_bodies(home.limits.bodies_bytes))

    def on_message_complete(self) -> None:
        exchange, self._filling = self._filling, None
        if exchange is not None:
            exchange.finish_request()
            if exchange.ended and self._task is None:
                asyncio.get_running_loop().call_soon(self._skipped, exchange)

    def _skipped(self, exchange: Exchange) -> None:
        """The rest of an answered request's body has come: go on to the next."""
        if self._current is exchange and self._transport is not None:
            self._next()

    def _stop_at(self, found: HttpFault) -> None:
        self._fault = found
        raise _Stop

    def __repr__(self) -> str:
        state = "closing" if self._is_closing else "idle" if self.is_idle else repr(self._current)
        return f"Connection({state})"


def _too_many_bodies(most: int) -> TooManyBodies:
    return TooManyBodies(
        f"request bodies of more than {most} bytes are under way (server.bodies_mb)",
        retry_after_s=1.0,
    )
