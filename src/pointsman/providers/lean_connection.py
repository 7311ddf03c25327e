"""One HTTP/1.1 connection and the answer that is on it: llhttp does the framing.

Theory. A connection carries one exchange at a time and has three ways to leave it:

1. *finished*: the parser saw the last byte of the answer, both sides want to keep the connection
   and nothing is left in either direction. Only then does it go back to the pool.
2. *finished, not kept*: the answer is whole, but the connection is not fit for another one
   (`Connection: close`, an answer that ends with the connection, bytes after the answer, a request
   body not wholly taken). It is closed; the reader does not notice.
3. *failed*: cut, malformed, too large, cancelled or aborted. It is closed and the reader is told.

An answer ends well only by its own framing: the last chunk, the announced length, or the end of
the connection where neither was announced. Any other end is a failure, so a short body is never
taken for a whole one. Over TLS an answer of the third sort could still be cut by someone who can
close the TCP connection, since event loops do not tell a missing close_notify; providers frame
their answers.

The answer is an object of its own, so that whoever still holds an old one cannot touch the
connection after it has gone to somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import httptools

from pointsman.providers.transport import TransportError, TransportFault, TransportLimits

_NAMES: dict[bytes, str] = {}
"""Header names as they come on wires, decoded and lowered once."""
_NAMES_KEPT = 1024


class Home(Protocol):
    """Where a connection belongs; `lean.Pool` in production."""

    def opened(self, connection: LeanConnection) -> None: ...

    def free(self, connection: LeanConnection) -> None:
        """Take the connection back: it may carry another exchange."""
        ...

    def lost(self, connection: LeanConnection) -> None:
        """Forget the connection, idle or not. May be told more than once."""
        ...


class _Stop(Exception):
    """Leave the parser from inside one of its callbacks; the connection knows why."""


class LeanResponse:
    """An answer as it comes in: `HttpResponse`, filled by its connection."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_taken",
        "complete",
        "error",
        "headers",
        "received",
        "status",
        "waiter",
        "whole",
    )

    def __init__(self, connection: LeanConnection) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.complete = False
        self.error: TransportError | None = None
        self.received = 0
        """Bytes of body so far."""
        self.waiter: asyncio.Future[None] | None = None
        self.whole = False
        """Whether the reader wants nothing before the end."""
        self._chunks: list[bytes] = []
        self._taken = 0
        self._connection: LeanConnection | None = connection

    def add(self, body: bytes) -> None:
        self._chunks.append(body)
        self.received += len(body)

    @property
    def buffered(self) -> int:
        """Bytes that have come and were not read."""
        return self.received - self._taken

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def end(self, error: TransportError | None) -> None:
        """Let go of the connection: the answer is whole, or failed by `error`."""
        self._connection = None
        self.error = error
        self.complete = error is None
        self.wake()

    async def wait(self) -> None:
        """Wait for the connection to say something; cancelling closes it."""
        waiter = self.waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self.waiter = None

    async def read(self) -> bytes:
        connection = self._connection
        if connection is not None:
            connection.read_to_the_end()
            while self._connection is not None:
                await self.wait()
        if self.error is not None:
            raise self.error
        return self._take()

    async def read_some(self) -> bytes:
        while not self._chunks:
            if self.error is not None:
                raise self.error
            if self.complete:
                return b""
            await self.wait()
        taken = self._take()
        if self._connection is not None:
            self._connection.resume()
        return taken

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.fail("reset", "aborted by us")

    def _take(self) -> bytes:
        chunks = self._chunks
        self._taken = self.received
        if len(chunks) == 1:
            return chunks.pop()
        self._chunks = []
        return b"".join(chunks)

    def __repr__(self) -> str:
        state = "failed" if self.error else "complete" if self.complete else "open"
        return f"LeanResponse({self.status}, {self.received} bytes, {state})"


class LeanConnection(asyncio.Protocol):
    """A connection of one origin; see the theory above."""

    __slots__ = (
        "_complete",
        "_header_bytes",
        "_header_count",
        "_headers",
        "_home",
        "_keep",
        "_limits",
        "_now",
        "_parser",
        "_paused",
        "_response",
        "_silent",
        "_transport",
        "answered",
        "idle_since",
        "started",
    )

    def __init__(self, home: Home, limits: TransportLimits, now: Callable[[], float]) -> None:
        self._home = home
        self._limits = limits
        self._now = now
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: LeanResponse | None = None
        self._paused = False
        self.idle_since = 0.0
        self.started = 0.0
        self.answered = False
        """Whether a byte came back for the present exchange."""
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._silent = 0
        self._complete = False
        self._keep = False

    @property
    def is_usable(self) -> bool:
        """Whether an idle connection may carry an exchange, as far as we have been told."""
        transport = self._transport
        return transport is not None and self._response is None and not transport.is_closing()

    def start(self, head: bytes, body: bytes) -> LeanResponse:
        """Write a request; the answer's head has come when its `status` is not 0."""
        if self._transport is None:  # lost between the dial and now
            response = LeanResponse(self)
            response.end(TransportError("reset", "closed as soon as opened", sent=False))
            return response
        response = self._response = LeanResponse(self)
        self.answered = False
        self.started = self._now()
        self._transport.write(head + body if body else head)
        return response

    def read_to_the_end(self) -> None:
        """Gather the whole body for one read, up to `body_bytes`."""
        response = self._response
        if response is None:
            return
        response.whole = True
        announced = response.headers.get("content-length", "0")
        if max(response.received, int(announced)) > self._limits.body_bytes:
            self.fail("too_large", f"body over {self._limits.body_bytes} bytes")
        else:
            self.resume()

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def fail(self, fault: TransportFault, message: str) -> None:
        """Close now and tell the reader."""
        response, self._response = self._response, None
        self.close()
        if response is not None:
            response.end(TransportError(fault, message, sent=True))

    def close(self) -> None:
        """Close now; no byte that is still to be sent is worth waiting for."""
        self._home.lost(self)
        if self._transport is not None:
            self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._home.opened(self)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # nobody asked: whatever this is, it must not answer the next request
            self.close()
            return
        self.answered = True
        received = response.received
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._complete:  # bytes after the answer: it stands, the connection does not
                self._keep = False
                self._finish(response)
            elif self._response is not None:
                self.fail("protocol", f"malformed answer: {error}")
            return
        if self._complete:
            self._finish(response)
        elif response.received == received:  # a head, trailers or framing, without end
            self._silent += len(data)
            if self._silent > self._limits.header_bytes:
                self.fail("too_large", f"head over {self._limits.header_bytes} bytes")
            elif response.status:
                response.wake()
        else:
            self._silent = 0
            self._hold(response)

    def _hold(self, response: LeanResponse) -> None:
        """Let the reader know, or hold the provider back when the reader is slow."""
        if response.whole:
            if response.received > self._limits.body_bytes:
                self.fail("too_large", f"body over {self._limits.body_bytes} bytes")
            return
        response.wake()
        if response.buffered > self._limits.stream_buffer_bytes and not self._paused:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def _finish(self, response: LeanResponse) -> None:
        if response.whole and response.received > self._limits.body_bytes:
            self.fail("too_large", f"body over {self._limits.body_bytes} bytes")
            return
        self._response = None
        transport = self._transport
        if self._keep and transport is not None and not transport.get_write_buffer_size():
            self._reset()
            self.resume()
            self.idle_since = self._now()
            self._home.free(self)
        else:
            self.close()
        response.end(None)

    def eof_received(self) -> None:
        response = self._response
        if response is None:
            self.close()
        elif response.status and not _is_framed(response.headers):
            self._keep = False
            self._finish(response)
        elif self.answered:
            self.fail("protocol", "the answer was cut short")
        else:
            self.fail("reset", "closed without an answer")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("reset", f"connection lost: {exc or 'closed'}")
        self._transport = None
        del self._parser  # breaks the cycle between parser and connection

    # the parser's side

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + 4
        if (
            self._header_count > self._limits.header_count
            or self._header_bytes > self._limits.header_bytes
        ):
            self.fail(
                "too_large",
                f"more than {self._limits.header_count} header lines"
                f" or {self._limits.header_bytes} bytes of them",
            )
            raise _Stop
        if self._response is None or self._response.status:  # trailers are counted, not kept
            return
        key = _NAMES.get(name) or _lower(name)
        text = value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 200 <= status <= 599:
            response = self._response
            if response is not None:
                response.headers = self._headers
                response.status = status
        elif 100 <= status <= 199 and status != 101:
            self._headers = {}  # an interim answer; its lines still count towards the limits
        else:
            self.fail("protocol", f"status {status} was not asked for")
            raise _Stop

    def on_body(self, body: bytes) -> None:
        response = self._response
        if response is not None and body:
            response.add(body)

    def on_message_complete(self) -> None:
        response = self._response
        if response is not None and response.status:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def __repr__(self) -> str:
        state = "idle" if self._response is None else repr(self._response)
        return f"LeanConnection({state})"


def _lower(name: bytes) -> str:
    if len(_NAMES) >= _NAMES_KEPT:
        _NAMES.clear()
    lowered = _NAMES[name] = name.decode("latin-1").lower()
    return lowered


def _is_framed(headers: Mapping[str, str]) -> bool:
    """Whether the answer announced its own end. After RFC 9112 section 6.3."""
    coding = headers.get("transfer-encoding")
    if coding is not None:
        return coding.rpartition(",")[2].strip().lower() == "chunked"
    return "content-length" in headers
