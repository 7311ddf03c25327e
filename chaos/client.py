"""A lean HTTP client for load: pooled connections, whole answers with their times.

It is strict about what chaos is about: an answer without its proper end is told as an error of
the connection, and a stream's events are kept as they came.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httptools

CONTENT = b'"content":"'
"""Marks a piece of content in a stream of OpenAI's dialect, as providers here write it; one that
is empty goes with the role and is none."""
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Answer:
    """One answer, or how there was none. Times are monotonic seconds: uvloop's own clock
    stands still within a turn of the loop."""

    due: float
    """When it should have been asked: what open-loop latency counts from."""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    first_at: float = 0.0
    """First byte of the body."""
    done_at: float = 0.0
    error: str = ""
    """Why there is no whole answer: refused, reset, timeout, left."""
    left_at: float = 0.0
    """Unix time at which we hung up; 0 where we did not."""

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.error

    @property
    def seconds(self) -> float:
        return self.done_at - self.due

    @property
    def first_s(self) -> float:
        return (self.first_at or self.done_at) - self.due

    @property
    def code(self) -> str:
        """The error's code, "" for none."""
        try:
            return str(json.loads(self.body)["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return ""

    def events(self) -> list[Any]:
        """The `data:` of a stream's events, parsed; "[DONE]" as it is."""
        found: list[Any] = []
        for line in self.body.split(b"\n"):
            if line.startswith(b"data:"):
                data = line[5:].strip()
                found.append("[DONE]" if data == b"[DONE]" else json.loads(data))
        return found


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[None] | None = None
        self._answer: Answer | None = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self._leave_after = 0
        self._content = 0
        self._leaves_by_reset = False
        self.is_reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, answer: Answer, data: bytes) -> asyncio.Future[None]:
        self._answer = answer
        self._parts = []
        self._parser = httptools.HttpResponseParser(self)
        self.waiter = asyncio.get_running_loop().create_future()
        assert self.transport is not None
        self.transport.write(data)
        return self.waiter

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.is_reusable = False
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(f"protocol: {error}")

    def on_status(self, status: bytes) -> None:
        pass

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._answer is not None
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        if self._answer is None:
            return  # what came in one piece with that at which we left
        if not self._answer.first_at:
            self._answer.first_at = time.monotonic()
        self._parts.append(data)
        if self._leave_after:
            self._content += data.count(CONTENT) - data.count(CONTENT + b'"')
            if self._content >= self._leave_after:
                self._leave()

    def on_message_complete(self) -> None:
        if self._answer is None:
            return
        self._answer.status = self._parser.get_status_code()
        self.is_reusable = self.is_reusable and self._parser.should_keep_alive()
        self._finish("")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        if self._answer is not None:
            if self._parser is not None:
                self._answer.status = self._answer.status or self._status()
            self._finish("reset")

    def _status(self) -> int:
        return int(self._parser.get_status_code()) if self._parts else 0

    def _finish(self, error: str) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.body = b"".join(self._parts)
        answer.done_at = time.monotonic()
        answer.error = error
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def leave_after(self, content: int, *, reset: bool) -> None:
        """Hang up when so many pieces of content have come."""
        self._leave_after = content
        self._leaves_by_reset = reset

    def _leave(self) -> None:
        assert self._answer is not None
        assert self.transport is not None
        self._leave_after = 0
        self.is_reusable = False
        if self._leaves_by_reset:
            plug = self.transport.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._answer.left_at = time.time()
        self._answer.status = self._parser.get_status_code()
        self._finish("left")
        self.transport.abort()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Client:
    """Ask one address; connections are pooled, last in first out."""

    def __init__(self, port: int, key: str = "", host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host
        self.key = key
        self._idle: list[_Connection] = []
        self._live: set[_Connection] = set()

    @property
    def connections(self) -> int:
        """Those of ours that are open."""
        return len(self._live)

    async def ask(
        self,
        path: str,
        body: object = None,
        *,
        due: float | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        method: str | None = None,
        leave_after: int = 0,
        leave_by_reset: bool = False,
    ) -> Answer:
        """Ask once and read to the end. Never raises: what went wrong is in the answer.

        leave_after: hang up when so many pieces of content have come.
        """
        answer = Answer(time.monotonic() if due is None else due)
        data = self.render(path, body, headers or {}, method)
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._take()
                if leave_after:
                    connection.leave_after(leave_after, reset=leave_by_reset)
                try:
                    await connection.ask(answer, data)
                except asyncio.CancelledError:
                    self._live.discard(connection)
                    connection.close()
                    raise
        except TimeoutError:
            answer.error = "timeout"
            answer.done_at = time.monotonic()
        except OSError as error:
            answer.error = f"refused: {error.strerror or error}"
            answer.done_at = time.monotonic()
        else:
            if connection.is_reusable:
                self._idle.append(connection)
            else:
                connection.close()
                self._live.discard(connection)
        return answer

    def render(
        self, path: str, body: object, headers: Mapping[str, str], method: str | None = None
    ) -> bytes:
        data = self.render_body(body)
        lines = [
            f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1",
            f"host: {self.host}:{self.port}",
            *([f"authorization: Bearer {self.key}"] if self.key and not _has_key(headers) else []),
            *([] if body is None else ["content-type: application/json"]),
            *(f"{name}: {value}" for name, value in headers.items()),
            f"content-length: {len(data)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + data

    @staticmethod
    def render_body(body: object) -> bytes:
        if body is None or isinstance(body, bytes):
            return body or b""
        return json.dumps(body).encode()

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
            self._live.discard(connection)
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, self.host, self.port
        )
        self._live.add(connection)
        return connection

    def close(self) -> None:
        for connection in self._live:
            connection.close()


def _has_key(headers: Mapping[str, str]) -> bool:
    return "authorization" in headers or "x-api-key" in headers


def chat(text: str = "hi", model: str = "auto", **fields: object) -> dict[str, object]:
    """The body of a chat request in OpenAI's dialect."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}
