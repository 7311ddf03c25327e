"""One HTTP exchange over raw ASGI: what was asked, and the means to answer it once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeAlias

from pointsman.errors import BodyTooLarge, InvalidRequest

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

LINGER_S = 0.15
"""Seconds before we start to watch for a client that leaves: most answers are there by then."""


STALL_S = 30.0
"""Seconds between looks at a stream that is being written. One whose reader took nothing from
one look to the next is cut: its slot, its provider's connection and its tokens are held for
nobody. So a reader may stall for 30 to 60 seconds (our own choice)."""


class ClientGone(Exception):
    """The client left; there is nobody to answer."""


class Exchange:
    """`id` is the request id that every header, error and ledger entry shows."""

    __slots__ = ("_receive", "_send", "headers", "id", "path", "started", "writing")

    def __init__(self, scope: Scope, receive: Receive, send: Send, id: str) -> None:
        self.path: str = scope["path"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.id = id
        self.started = False
        self.writing: bytes | None = None
        """What the client has not taken yet; None while nothing waits for it."""
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> str | None:
        """Return a header's value; `name` in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def body(self, most: int) -> bytes:
        """Read the body, refusing it before it is buffered where it says that it is too large.

        Raises BodyTooLarge, InvalidRequest (an encoding) and ClientGone.
        """
        encoding = self.headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            raise InvalidRequest(
                "Content-Encoding is not supported in requests; send the body as it is",
                status=415,
                code="unsupported_encoding",
            )
        length = self.headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > most:
            raise _too_large(most)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > most:
                raise _too_large(most)
            return body
        pieces = [body]
        size = len(body)
        while message.get("more_body"):
            if size > most:
                raise _too_large(most)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            pieces.append(piece)
        if size > most:
            raise _too_large(most)
        return b"".join(pieces)

    async def start(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], content_type: bytes
    ) -> None:
        self.started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type),
                    (b"x-pointsman-request-id", self.id.encode()),
                    *headers,
                ],
            }
        )

    async def write(self, data: bytes) -> None:
        self.writing = data
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.writing = None

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def respond(
        self,
        status: int,
        body: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        content_type: bytes = b"application/json",
    ) -> None:
        """Answer whole."""
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, (*headers, length), content_type)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def receive(self) -> Message:
        return await self._receive()

    def watch(self, left: Callable[[], object]) -> Watch:
        """Call `left` if the client leaves or stalls; call `stop` on what is returned."""
        return Watch(self, left)


class Watch:
    """Waits beside the work for the client to leave; nothing is started for quick answers."""

    __slots__ = ("_exchange", "_left", "_seen", "_task", "_timer", "fired")

    def __init__(self, exchange: Exchange, left: Callable[[], object]) -> None:
        self._exchange = exchange
        self._left = left
        self.fired = False
        self._seen: bytes | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._wait())
        self._timer = asyncio.get_running_loop().call_later(STALL_S, self._look)

    async def _wait(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._fire()

    def _look(self) -> None:
        writing = self._exchange.writing
        if writing is not None and writing is self._seen:
            self._fire()
            return
        self._seen = writing
        self._timer = asyncio.get_running_loop().call_later(STALL_S, self._look)

    def _fire(self) -> None:
        if not self.fired:
            self.fired = True
            self._left()

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {most} bytes; send less, or raise server.body_mb")
