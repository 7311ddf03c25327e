"""What the HTTP server alone costs, ours beside uvicorn's: `python -m bench.edge`.

Both take a POST of 1 KB, read its body and answer 1 KB of JSON, or eight pieces of a stream, on
uvloop and llhttp, over kept connections. Each runs in its own process and tells its own CPU time
(user and system), which a busy machine disturbs less than the clock on the wall.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from multiprocessing.connection import Connection
from typing import Any

import uvicorn
import uvloop

from pointsman.config.settings import ServerSettings
from pointsman.errors import PointsmanError
from pointsman.server.exchange import Exchange
from pointsman.server.http import HttpServer

BODY = b'{"a": "' + b"x" * 1000 + b'"}'
PIECE = b"data: " + b"x" * 150 + b"\n\n"
PIECES = 8
CLIENTS = 16
REQUESTS = 20_000
HEADERS = ((b"x-should-retry", b"false"), (b"x-pointsman-attempts", b"1"))


class Desk:
    """The least that answers."""

    stamp = b"x-pointsman-generation: 1\r\n"

    def new_id(self) -> str:
        return "req_0123456789"

    async def handle(self, exchange: Exchange) -> None:
        await exchange.body(1 << 20)
        if exchange.path == "/whole":
            exchange.respond(200, BODY, HEADERS)
            return
        exchange.start(200, HEADERS, b"text/event-stream")
        for _ in range(PIECES):
            exchange.write(PIECE)
            await asyncio.sleep(0)
        exchange.end()

    def refuse(self, exchange: Exchange, error: PointsmanError) -> None:
        exchange.respond(error.status, b"")


Message = MutableMapping[str, Any]


async def asgi(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    await receive()
    headers = [(b"content-type", b"application/json"), *HEADERS]
    if scope["path"] == "/whole":
        headers.append((b"content-length", str(len(BODY)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


async def ours(listener: socket.socket) -> None:
    await HttpServer(Desk(), ServerSettings()).start([listener])


async def theirs(listener: socket.socket) -> None:
    config = uvicorn.Config(
        asgi, http="httptools", ws="none", lifespan="off", access_log=False, log_level="error"
    )
    asyncio.get_running_loop().tasks = [  # type: ignore[attr-defined]
        asyncio.create_task(uvicorn.Server(config).serve([listener]))
    ]


SERVERS = {"pointsman": ours, "uvicorn": theirs}


def serve(name: str, listener: socket.socket, pipe: Connection) -> None:
    """Run a server; answer each message with the CPU seconds used so far."""

    async def work() -> None:
        await SERVERS[name](listener)
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def told() -> None:
            if not pipe.recv():
                over.set()
            used = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(used.ru_utime + used.ru_stime)

        loop.add_reader(pipe.fileno(), told)
        await over.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


async def ask(port: int, path: str, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = (
        f"POST /{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer abc\r\naccept: */*\r\n"
        "content-type: application/json\r\nuser-agent: bench\r\n"
        f"content-length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            await reader.readexactly(len(BODY))
    writer.close()


async def load(port: int, path: str, count: int) -> None:
    await asyncio.gather(*(ask(port, path, count // CLIENTS) for _ in range(CLIENTS)))


def measure(name: str, path: str) -> float:
    """Return microseconds of CPU a request."""
    here, there = multiprocessing.Pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        spawning = multiprocessing.get_context("fork")
        child = spawning.Process(target=serve, args=(name, listener, there))
        child.start()
        uvloop.run(load(port, path, REQUESTS // 10))
        here.send(True)
        before = float(here.recv())
        uvloop.run(load(port, path, REQUESTS))
        here.send(False)
        used = float(here.recv()) - before
        child.join(5)
        child.kill()
    return used / REQUESTS * 1e6


def main() -> None:
    for path in ("whole", "stream"):
        spent = {name: min(measure(name, path) for _ in range(3)) for name in SERVERS}
        told = ", ".join(f"{name} {value:.0f}" for name, value in spent.items())
        share = spent["pointsman"] / spent["uvicorn"]
        print(f"{path}: {told} microseconds of CPU a request; ours/uvicorn {share:.2f}")


if __name__ == "__main__":
    main()
