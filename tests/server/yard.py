"""A server on loopback, and clients that say exactly the bytes they are told to."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pointsman.clock import Clock
from pointsman.config.settings import ServerSettings
from pointsman.errors import PointsmanError
from pointsman.server.exchange import ClientGone, Exchange
from pointsman.server.http import HttpServer

LIVEZ = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
PATIENCE_S = 5.0
"""Bounds every wait for something that must happen."""


@dataclass
class Told:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> Told:
        """Read the head of an answer."""
        async with asyncio.timeout(PATIENCE_S):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(": ") for line in lines)
        return Told(int(first.split()[1]), {name: value for name, _, value in pairs}, b"")

    async def told(self, *, head_only: bool = False) -> Told:
        """Read an answer with its body."""
        told = await self.head()
        async with asyncio.timeout(PATIENCE_S):
            if head_only:
                return told
            if "content-length" in told.headers:
                told.body = await self.reader.readexactly(int(told.headers["content-length"]))
            elif told.headers.get("transfer-encoding") == "chunked":
                while piece := await self.chunk():
                    told.body += piece
            elif told.status >= 200:
                told.body = await self.reader.read()
        return told

    async def chunk(self) -> bytes:
        """Read a chunk; empty at the end of the stream."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def ask(self, data: bytes) -> Told:
        self.send(data)
        return await self.told()

    async def is_closed(self) -> bool:
        """Wait for the server to close; False where it sends something instead."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return not await self.reader.read(1)
            except ConnectionError:
                return True

    def leave(self) -> None:
        self.writer.transport.abort()


Answer = Callable[[Exchange], Awaitable[None]]


class Desk:
    """Answers with what a test gives it; else with the size of the body."""

    stamp = b"x-stamp: 1\r\n"

    def __init__(self) -> None:
        self.answer: Answer = self._size
        self.seen: list[Exchange] = []
        self.left: list[Exchange] = []

    def new_id(self) -> str:
        return f"req_{len(self.seen)}"

    async def handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        try:
            await self.answer(exchange)
        except ClientGone:
            self.left.append(exchange)
        except PointsmanError as error:
            self.refuse(exchange, error)
        except asyncio.CancelledError:
            self.left.append(exchange)
            raise

    def refuse(self, exchange: Exchange, error: PointsmanError) -> None:
        exchange.respond(error.status, error.code.encode())

    async def _size(self, exchange: Exchange) -> None:
        body = await exchange.body(1 << 20) if exchange.method == "POST" else b""
        exchange.respond(200, b"%d" % len(body))


@dataclass
class Counts:
    """What the server would tell the metrics."""

    refused: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)

    def watch(self, name: str, read: object) -> None:
        pass

    def connection_refused(self, reason: str) -> None:
        self.refused.append(reason)

    def connection_cut(self, reason: str) -> None:
        self.cut.append(reason)


class Yard:
    """A server over a `Desk`; `async with`."""

    def __init__(self, clock: Clock | None = None, limits: ServerSettings | None = None) -> None:
        self.desk = Desk()
        self.counts = Counts()
        self.server = HttpServer(
            self.desk, limits or ServerSettings(), clock=clock, counting=self.counts
        )
        self._clients: list[Client] = []

    async def __aenter__(self) -> Yard:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        await self.server.start([self.listener])
        return self

    async def __aexit__(self, *error: object) -> None:
        for client in self._clients:
            client.leave()
        await self.server.close()
        self.listener.close()

    async def client(self, *, limit: int = 1 << 16) -> Client:
        client = await connect(self.port, limit=limit)
        self._clients.append(client)
        return client

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition)


async def connect(port: int, *, limit: int = 1 << 16) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port, limit=limit))


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)
