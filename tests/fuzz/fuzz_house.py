"""A whole gateway without a socket: bytes of HTTP in, bytes of HTTP out, and what was asked of
providers that never fail. The server's own connections are used, on a transport in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.gateway import Gateway
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.memory import MemoryLedger
from pointsman.providers.transport import Endpoint, HttpRequest
from pointsman.server.app import App
from pointsman.server.connection import Connection
from pointsman.server.http import HttpServer
from pointsman.testing import FakeClock

KEY = b"sk-fuzz-0123456789abcdef"
PATIENCE_S = 10.0
ABLE = [
    *("chat", "tools", "parallel_tools", "vision", "audio", "documents", "json", "json_schema"),
    "reasoning",
]

WHOLE: dict[str, dict[str, Any]] = {
    "openai": {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "fine"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    },
    "anthropic": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "fine"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    "embeddings": {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    },
}


def _openai_stream() -> bytes:
    head: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
    }
    said: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "fine"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": WHOLE["openai"]["usage"]},
    ]
    lines = [b"data: %b\n\n" % json.dumps({**head, **each}).encode() for each in said]
    return b"".join(lines) + b"data: [DONE]\n\n"


def _anthropic_stream() -> bytes:
    start = {**WHOLE["anthropic"], "content": [], "stop_reason": None}
    block = {"type": "text", "text": ""}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "fine"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode())
        for each in said
    )


STREAMS = {"openai": _openai_stream(), "anthropic": _anthropic_stream()}


class Answer:
    """A provider's good answer."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"content-type": content_type}
        self._body = body

    async def read(self) -> bytes:
        return await self.read_some()

    async def read_some(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def abort(self) -> None:
        self._body = b""


class Providers:
    """A transport behind which every provider answers well and at once."""

    def __init__(self) -> None:
        self.asked: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> Answer:
        self.asked.append(request)
        if request.path.startswith("/embeddings"):
            return Answer(json.dumps(WHOLE["embeddings"]).encode(), "application/json")
        wire = "anthropic" if "messages" in request.path else "openai"
        if json.loads(request.body).get("stream") is True:
            return Answer(STREAMS[wire], "text/event-stream")
        return Answer(json.dumps(WHOLE[wire]).encode(), "application/json")

    async def warm(self, endpoint: Endpoint) -> None:
        pass

    async def close(self) -> None:
        pass


class Pipe(asyncio.Transport):
    """The socket of a connection, in memory: keeps what is written, tells when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_over = asyncio.get_running_loop().create_future()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write_eof(self) -> None:
        self.close()

    def close(self) -> None:
        if not self.is_over.done():
            self.is_over.set_result(None)

    abort = close

    def is_closing(self) -> bool:
        return bool(self.is_over.done())

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


@dataclass
class Told:
    """An answer as it came, what was asked of providers for it, and what the books say."""

    status: int
    headers: dict[str, str]
    body: bytes
    asked: list[HttpRequest]
    entries: list[LedgerEntry]


def configuration() -> dict[str, Any]:
    def deployment(name: str, provider: str, model: str) -> dict[str, Any]:
        return {
            "name": name,
            "provider": provider,
            "model": model,
            "tier": "workhorse",
            "price": {"input_usd": 1, "output_usd": 2},
            "context_tokens": 50_000,
            "capabilities": ["embeddings"] if name == "vectors" else ABLE,
        }

    routes = [("auto", ["first", "second", "third"]), ("to-first", ["first"])]
    routes += [("to-second", ["second"]), ("to-third", ["third"]), ("embed", ["vectors"])]
    return {
        "server": {"keys": [{"key": "env:FUZZ_KEY", "app": "fuzz"}], "body_mb": 1},
        "providers": {
            "oa": {"url": "http://127.0.0.1:9/v1", "dialect": "openai", "key": "none"},
            "an": {"url": "http://127.0.0.1:9", "dialect": "anthropic", "key": "none"},
        },
        "deployments": [
            deployment("first", "oa", "gpt-test"),
            deployment("second", "an", "claude-test"),
            deployment("third", "oa", "mistral-test"),  # takes ids of nine letters only
            deployment("vectors", "oa", "embed-test"),
        ],
        "routes": [{"name": name, "deployments": members} for name, members in routes],
    }


class FuzzHouse:
    """`async with`; `say` sends the bytes of one request and returns what came of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.providers = Providers()
        self.entries: list[LedgerEntry] = []
        self.gateway = Gateway.from_config(
            configuration(),
            env={"FUZZ_KEY": KEY.decode()},
            transport=self.providers,
            clock=self.clock,
            ledger=MemoryLedger(1),
            observers=(self.entries.append,),
        )
        app, limits = App(self.gateway), self.gateway.settings.server
        self.server = HttpServer(app, limits, clock=self.clock)

    async def __aenter__(self) -> FuzzHouse:
        await self.gateway.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.gateway.close()

    async def say(self, data: bytes) -> Told:
        """Send a request that asks for the connection's close."""
        self.providers.asked.clear()
        self.entries.clear()
        self.clock.advance(0.01)
        connection, pipe = Connection(self.server), Pipe()
        connection.connection_made(pipe)
        connection.data_received(data)
        async with asyncio.timeout(PATIENCE_S):
            await pipe.is_over
        connection.connection_lost(None)
        assert self.server.under_way == 0 and self.server.bodies_bytes == 0
        head, _, body = bytes(pipe.written).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = _unchunked(body)
        else:
            assert len(body) == int(headers["content-length"])
        return Told(
            int(first.split()[1]), headers, body, list(self.providers.asked), list(self.entries)
        )


def _unchunked(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        if not length:
            assert not data
            return body


def request_of(path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"POST %b HTTP/1.1" % path.encode(), b"host: x", b"connection: close"]
    lines += [b"authorization: Bearer " + KEY, b"content-length: %d" % len(body)]
    lines += [b"%b: %b" % pair for pair in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
