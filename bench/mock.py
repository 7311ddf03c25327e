"""A provider that costs next to nothing: `python -m bench.mock` prints its port and answers.

Chat completions come at once, streams one event every `TICK_S`, all streams written by one timer
so that two hundred of them leave the core to the load.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

from bench.canned import completion, stream_pieces

TICK_S = 0.005
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_STREAM = re.compile(rb'"stream": ?true')
_ANSWER = completion()
_PIECES = stream_pieces()


class Ticker:
    """Write the next event of every stream, tick by tick."""

    def __init__(self) -> None:
        self._streams: dict[Provider, int] = {}

    def add(self, provider: Provider) -> None:
        self._streams[provider] = 1
        provider.write(_PIECES[0])

    def drop(self, provider: Provider) -> None:
        self._streams.pop(provider, None)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + TICK_S, loop.time())
            await asyncio.sleep(due - loop.time())
            for provider, place in tuple(self._streams.items()):
                provider.write(_PIECES[place])
                if place + 1 < len(_PIECES):
                    self._streams[provider] = place + 1
                else:
                    self.drop(provider)


class Provider(asyncio.Protocol):
    """One connection: as much HTTP as a benchmark needs."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ticker.drop(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._buffer, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            body, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
            if _STREAM.search(body):
                self._ticker.add(self)
            else:
                self.write(_ANSWER)


async def main() -> None:
    ticker = Ticker()
    server = await asyncio.get_running_loop().create_server(
        lambda: Provider(ticker), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await ticker.run()


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
