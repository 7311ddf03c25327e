"""A provider that costs little, so that the gateway is what is measured: canned bytes on a clock.

Whole answers come after `delay_s`; streams get a piece every `tick_s`, all by one timer. What
the pieces are is the check's to say: it is given the request's body.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, cast

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_STREAM = re.compile(rb'"stream": ?true')
_USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def whole_answer(text: str = "All is well.") -> bytes:
    """A whole answer with its head."""
    message = {"role": "assistant", "content": text}
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def event(delta: dict[str, object], finish: str | None = None) -> bytes:
    """One event of a stream, as an HTTP chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    fields = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "m",
        "choices": [choice],
    }
    return chunk(b"data: %b\n\n" % json.dumps(fields).encode())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def counted_stream(mark: str, count: int) -> Iterator[bytes]:
    """`count` pieces of content that tell whose and the how-manieth they are, and a proper end."""
    opening = STREAM_HEAD + event({"role": "assistant", "content": ""})
    yield opening + event({"content": f"{mark}.0 "})
    for number in range(1, count - 1):
        yield event({"content": f"{mark}.{number} "})
    yield (
        event({"content": f"{mark}.{count - 1} "})
        + event({}, "stop")
        + chunk(b"data: [DONE]\n\n")
        + STREAM_END
    )


def endless_stream(size: int) -> Iterator[bytes]:
    """Pieces of `size` bytes of content, without end."""
    piece = event({"content": "x" * size})
    yield STREAM_HEAD + event({"role": "assistant", "content": ""})
    while True:
        yield piece


def _two_words(body: bytes) -> Iterator[bytes]:
    return counted_stream("word", 2)


class RawProvider:
    """`async with`; `connections` are those open now, `asked` all requests so far."""

    def __init__(
        self,
        *,
        delay_s: float | Callable[[], float] = 0.0,
        tick_s: float = 0.05,
        whole: Callable[[bytes], bytes] | None = None,
        pieces: Callable[[bytes], Iterator[bytes]] = _two_words,
    ) -> None:
        self.delay: Callable[[], float] = delay_s if callable(delay_s) else lambda: delay_s
        self.tick_s = tick_s
        answer = whole_answer()
        self.whole = whole or (lambda body: answer)
        self.pieces = pieces
        self.asked = 0
        self.connections: set[_Connection] = set()
        self.streams: dict[_Connection, Iterator[bytes]] = {}
        self.base_url = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=2048
        )
        port = self._server.sockets[0].getsockname()[1]
        self.port: int = port
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._ticking = loop.create_task(self._tick())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticking.cancel()
        self._server.close()
        for connection in tuple(self.connections):
            connection.end()

    async def _tick(self) -> None:
        """Spread the streams over ten parts of a tick, so that they do not come in one burst."""
        part = 0
        while True:
            await asyncio.sleep(self.tick_s / 10)
            part = (part + 1) % 10
            for connection, pieces in tuple(self.streams.items()):
                if connection.part != part or connection.is_full:
                    continue
                piece = next(pieces, None)
                if piece is None:
                    del self.streams[connection]
                    connection.go_on()
                else:
                    connection.write(piece)


class _Connection(asyncio.Protocol):
    def __init__(self, provider: RawProvider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._is_busy = False
        self.is_full = False
        self.part = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._provider.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._provider.streams.pop(self, None)
        self._provider.connections.discard(self)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_busy:
            self._read()

    def go_on(self) -> None:
        self._is_busy = False
        self._read()

    def _read(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end + 2)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < size:
            return
        body, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
        provider = self._provider
        provider.asked += 1
        self._is_busy = True
        if _STREAM.search(body):
            self.part = provider.asked % 10
            pieces = provider.streams[self] = provider.pieces(body)
            self.write(next(pieces))
        elif delay_s := provider.delay():
            asyncio.get_running_loop().call_later(delay_s, self._answer, body)
        else:
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        self.write(self._provider.whole(body))
        self.go_on()
