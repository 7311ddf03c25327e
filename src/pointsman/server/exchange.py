"""One HTTP exchange: what was asked, and the means to answer it once.

Writing never waits: what the client has not taken lies in the connection's buffer, and
`is_full` says when there is too much of it. Who writes a stream awaits `drained` then, and so the
provider is held back by a slow reader. A client that leaves ends every wait with ClientGone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Protocol

from pointsman.errors import BodyTooLarge, InvalidRequest, Overloaded, PointsmanError
from pointsman.server.tape import Tape

JSON = b"application/json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

SKIP_BYTES = 64 * 1024
"""What is left of a body that nobody wants is read and dropped up to here, so that the connection
can be kept; beyond it the connection is closed."""

JOIN_BYTES = 256 * 1024
"""Up to here head and body are copied into one piece: one write is cheaper than two."""

STATUS_LINES: Mapping[int, bytes] = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\ncontent-type: ".encode()
    for each in HTTPStatus
}


class ClientGone(Exception):
    """The client left; there is nobody to answer."""


class TooManyBodies(Overloaded):
    """The worker holds as many bytes of bodies as it may."""


class Line(Protocol):
    """What an exchange needs of its connection."""

    address: str
    """The client's, as the socket has it."""

    @property
    def is_full(self) -> bool: ...

    @property
    def date(self) -> bytes:
        """The Date header's line."""
        ...

    @property
    def is_closing(self) -> bool:
        """Whether no other request will be read, so that the client should be told."""
        ...

    def write(self, data: bytes) -> None: ...

    def want_body(self, exchange: Exchange) -> None:
        """Read on. Raises Overloaded where too many bodies are held already."""
        ...

    async def drained(self) -> None:
        """Wait until the client has taken enough. Raises ClientGone."""
        ...


class Exchange:
    """`id` is the request id that every header, error and ledger entry shows."""

    __slots__ = (
        "_body",
        "_head",
        "_is_chunked",
        "_left",
        "_line",
        "_most",
        "_waiter",
        "complete",
        "ended",
        "fault",
        "gone",
        "headers",
        "id",
        "is_old",
        "keep",
        "length",
        "method",
        "path",
        "query",
        "received",
        "stamp",
        "started",
        "tape",
    )

    def __init__(
        self,
        line: Line,
        id: str,
        stamp: bytes,
        method: str,
        path: str,
        headers: Mapping[bytes, bytes],
        *,
        is_old: bool = False,
        keep: bool = True,
        query: str = "",
    ) -> None:
        self.id = id
        self.stamp = stamp
        """Header lines that every answer has."""
        self.method = method
        self.path = path
        self.query = query
        """What follows the path's `?`, as it was sent."""
        self.headers = headers
        self.is_old = is_old
        """HTTP/1.0: no chunks, and connections are kept only where that is said."""
        self.keep = keep
        length = headers.get(b"content-length")
        self.length = None if length is None else int(length)
        self.received = 0
        """Bytes of the body that have come, and are held until the exchange is over."""
        self.complete = False
        """Whether the request's last byte was read."""
        self.fault: PointsmanError | None = None
        """Why the rest of the body will not come."""
        self.started = False
        self.ended = False
        self.gone = False
        self.tape: Tape | None = None
        """Where it is set, it is told all that is answered."""
        self._line = line
        self._body: bytes | bytearray = b""
        self._most: int | None = None
        self._head = b""
        self._is_chunked = False
        self._left: Callable[[], object] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def address(self) -> str:
        return self._line.address

    def header(self, name: bytes) -> str | None:
        """Return a header's value; `name` in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    # The request.

    async def body(self, most: int) -> bytes:
        """Read the body, refusing it before it is buffered where it says that it is too large.

        Raises BodyTooLarge, InvalidRequest (an encoding; broken off; too slow), Overloaded (too
        many bodies are held) and ClientGone.
        """
        encoding = self.headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            raise InvalidRequest(
                "Content-Encoding is not supported in requests; send the body as it is",
                status=415,
                code="unsupported_encoding",
            )
        if self.length is not None and self.length > most:
            raise _too_large(most)
        if not self.complete:
            await self._arrival(most)
        if self.received > most:
            raise _too_large(most)
        if type(self._body) is not bytes:
            self._body = bytes(self._body)
        return self._body

    async def _arrival(self, most: int) -> None:
        line = self._line
        self._most = most
        line.want_body(self)
        if self.is_awaited:
            line.write(CONTINUE)
        while not self.complete:
            if self.fault is not None:
                raise self.fault
            if self.gone:
                raise ClientGone
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for the body."""
        return self._most is not None

    @property
    def is_awaited(self) -> bool:
        """Whether the client holds its body back until it is told to go on."""
        return b"expect" in self.headers and not (self.is_old or self.received or self.complete)

    def receive(self, piece: bytes) -> int:
        """Take a piece of the body; return how much of it is held."""
        if self.fault is not None or self.ended:
            return 0
        size = len(piece)
        body = self._body
        if not body:
            self._body = piece
        else:
            if type(body) is bytes:
                body = self._body = bytearray(body)
            body += piece
        self.received += size
        if self._most is not None and self.received > self._most:
            self.break_off(_too_large(self._most))
        return size

    def finish_request(self) -> None:
        """The last byte was read."""
        self.complete = True
        self._wake()

    def break_off(self, error: PointsmanError) -> None:
        """The rest of the body will not come: tell whoever waits for it."""
        if self.fault is None:
            self.fault = error
            self._body = b""
            self._wake()

    def release(self) -> None:
        """Let go of the body; return nothing more."""
        self._body = b""
        self._left = None

    # The client.

    def watch(self, left: Callable[[], object] | None) -> None:
        """Call `left` once if the client leaves before it has its answer; None to stop."""
        self._left = left
        if self.gone and left is not None:
            left()

    def leave(self) -> None:
        """The client has left."""
        if self.gone or self.ended:
            return
        self.gone = True
        self._wake()
        if self._left is not None:
            self._left()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The answer.

    def respond(
        self,
        status: int,
        body: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        content_type: bytes = JSON,
    ) -> None:
        """Answer whole."""
        self.started = True
        if self.tape is not None:
            headers = tuple(headers)
            self.tape.whole(status, headers, content_type, body)
        head = self._render(status, headers, content_type, len(body))
        self.ended = True
        if self.method == "HEAD" or not body:
            self._line.write(head)
        elif len(body) <= JOIN_BYTES:
            self._line.write(head + body)
        else:
            self._line.write(head)
            self._line.write(body)

    def start(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], content_type: bytes
    ) -> None:
        """Begin a stream; its head goes out with its first piece."""
        self.started = True
        if self.tape is not None:
            headers = tuple(headers)
            self.tape.begin(status, headers, content_type)
        self._is_chunked = not self.is_old
        if self.is_old:
            self.keep = False  # Only the connection's end can end the body.
        self._head = self._render(status, headers, content_type, None)

    def write(self, data: bytes) -> None:
        if not data or self.method == "HEAD":
            return
        if self.tape is not None:
            self.tape.add(data)
        if self._is_chunked:
            data = b"%b%x\r\n%b\r\n" % (self._head, len(data), data)
        elif self._head:
            data = self._head + data
        self._head = b""
        self._line.write(data)

    @property
    def is_full(self) -> bool:
        """Whether more lies waiting for the client than should: await `drained`."""
        return self._line.is_full

    async def drained(self) -> None:
        """Wait until the client has taken enough. Raises ClientGone."""
        await self._line.drained()

    def end(self) -> None:
        """End a stream properly."""
        self.ended = True
        if self.tape is not None:
            self.tape.end()
        tail = b"0\r\n\r\n" if self._is_chunked and self.method != "HEAD" else b""
        if self._head or tail:
            self._line.write(self._head + tail)
        self._head = b""

    def _render(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        content_type: bytes,
        length: int | None,
    ) -> bytes:
        line = self._line
        parts = [
            STATUS_LINES[status],
            content_type,
            b"\r\nx-pointsman-request-id: ",
            self.id.encode(),
            b"\r\n",
            self.stamp,
            line.date,
        ]
        if length is not None:
            parts.append(b"content-length: %d\r\n" % length)
        elif self._is_chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        if line.is_closing or not self._is_readable_on():
            self.keep = False
        if not self.keep:
            parts.append(b"connection: close\r\n")
        elif self.is_old:
            parts.append(b"connection: keep-alive\r\n")
        more = [b"%b: %b\r\n" % pair for pair in headers]
        told = b"".join(more)
        if told.count(b"\n") != len(more) or told.count(b"\r") != len(more):
            raise ValueError("a header's value would break its line")
        parts += (told, b"\r\n")
        return b"".join(parts)

    def _is_readable_on(self) -> bool:
        """Whether another request can follow: what is left of this one's body is little."""
        if self.complete:
            return True
        if self.fault is not None or self.length is None or b"expect" in self.headers:
            return False
        return self.length - self.received <= SKIP_BYTES

    def __repr__(self) -> str:
        state = "ended" if self.ended else "started" if self.started else "asked"
        return f"Exchange({self.method} {self.path[:80]}, {self.id}, {state})"


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {most} bytes; send less, or raise server.body_mb")
