"""The load: `python -m bench.load` reads jobs as JSON lines and writes a result for each.

Three kinds of job:

1. unary: `concurrency` connections, each asks again as soon as it is answered (closed loop).
2. stream: the same with streams; events are counted, not requests.
3. open: `rate` requests a second, sent whether or not earlier ones were answered, so that a slow
   target cannot slow the load down; the times are what counts.

A response is counted only if it is a 200 and holds what the mock answered; all else is an error.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, cast

import uvloop

from bench.canned import EVENTS_PER_STREAM
from bench.procfs import cpu_seconds

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_MARK = b"All trains run on time"
_WARM_UP_S = 0.3
_DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of one target."""

    kind: Literal["unary", "stream", "open"]
    port: int
    pid: int
    """Whose CPU is counted."""
    key: str
    body: str
    seconds: float
    concurrency: int = 64
    rate: float = 200.0

    def request(self) -> bytes:
        body = self.body.encode()
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body


@dataclass(slots=True)
class Result:
    """What was counted between warm-up and deadline."""

    done: int = 0
    """Requests, or events of streams."""
    errors: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    times_ms: list[float] = field(default_factory=list)
    example: str = ""
    """The beginning of the first answer that was an error."""


class Client(asyncio.Protocol):
    """One keep-alive connection; `answered` is told each whole answer and when it was asked."""

    def __init__(self, request: bytes, answered: Callable[[Client, bytes, float], None]) -> None:
        self._request = request
        self._answered = answered
        self._parts: list[bytes] = []
        self._missing = -1
        """Bytes of body still to come; -1 before the head, -2 for a chunked one."""
        self._asked = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._asked:
            self._finish()

    def ask(self) -> None:
        if self._transport is None:
            self._answered(self, b"closed", 0.0)
            return
        self._parts = []
        self._missing = -1
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if self._missing == -1:
            data = b"".join(self._parts)
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(data, 0, end + 2)
            self._missing = int(length[1]) - (len(data) - end - 4) if length else -2
        elif self._missing > 0:
            self._missing -= len(data)
        if self._missing == 0:
            self._finish()
        elif self._missing == -2:
            tail = data if len(data) >= 5 else b"".join(self._parts[-5:])
            if tail.endswith(b"0\r\n\r\n"):
                self._finish()

    def _finish(self) -> None:
        asked, self._asked = self._asked, 0.0
        self._answered(self, b"".join(self._parts), asked)

    def taken(self) -> bytes:
        """Return what has come of an answer that is not whole yet."""
        return b"".join(self._parts) if self._asked else b""

    def close(self) -> None:
        self._asked = 0.0
        if self._transport is not None:
            self._transport.abort()


class Round:
    """Run one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._result = Result()
        self._counting = False
        self._stopping = False
        self._idle: list[Client] = []
        self._busy: set[Client] = set()
        self._early: dict[Client, int] = {}
        """Events of a stream that came before counting began."""

    async def run(self) -> Result:
        try:
            if self._job.kind == "open":
                await self._open_loop()
            else:
                await self._closed_loop()
        finally:
            for client in (*self._idle, *self._busy):
                client.close()
        return self._result

    async def _connect(self) -> Client:
        loop = asyncio.get_running_loop()
        request = self._job.request()
        _, client = await loop.create_connection(
            lambda: Client(request, self._answered), "127.0.0.1", self._job.port
        )
        return client

    def _answered(self, client: Client, answer: bytes, asked: float) -> None:
        good = answer.startswith(b"HTTP/1.1 200")
        if self._job.kind == "stream":
            events = answer.count(b"data: {")
            good = good and events == EVENTS_PER_STREAM and b"data: [DONE]" in answer
            amount = events - self._early.pop(client, 0)
        else:
            good = good and _MARK in answer
            amount = 1
        if not good:
            self._result.errors += 1
            self._result.example = self._result.example or answer[:300].decode("latin-1")
        elif self._counting:
            self._result.done += amount
            if self._job.kind == "open":
                self._result.times_ms.append((time.perf_counter() - asked) * 1e3)
        if self._job.kind == "open" or self._stopping or not good:
            self._busy.discard(client)
            self._idle.append(client)
        else:
            client.ask()

    def _ask(self, client: Client) -> None:
        self._busy.add(client)
        client.ask()

    def _count(self) -> tuple[float, float]:
        return time.perf_counter(), cpu_seconds(self._job.pid)

    async def _closed_loop(self) -> None:
        for _ in range(self._job.concurrency):
            self._ask(await self._connect())
        await asyncio.sleep(_WARM_UP_S)
        self._early = {client: client.taken().count(b"data: {") for client in self._busy}
        self._counting = True
        wall, cpu = self._count()
        await asyncio.sleep(self._job.seconds)
        self._counting = False
        self._stopping = True
        end_wall, end_cpu = self._count()
        self._result.wall_s, self._result.cpu_s = end_wall - wall, end_cpu - cpu
        if self._job.kind == "stream":
            self._result.done += sum(
                client.taken().count(b"data: {") - self._early.get(client, 0)
                for client in self._busy
            )
        deadline = time.perf_counter() + _DRAIN_S
        while self._busy and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)

    async def _open_loop(self) -> None:
        self._idle = [await self._connect() for _ in range(8)]
        gap = 1 / self._job.rate
        loop = asyncio.get_running_loop()
        start = loop.time()
        wall, cpu = self._count()
        for number in range(int((self._job.seconds + _WARM_UP_S) * self._job.rate)):
            await asyncio.sleep(start + number * gap - loop.time())
            if not self._counting and number * gap >= _WARM_UP_S:
                self._counting = True
                wall, cpu = self._count()
            self._ask(self._idle.pop() if self._idle else await self._connect())
        deadline = time.perf_counter() + _DRAIN_S
        while self._busy and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        self._result.errors += len(self._busy)
        end_wall, end_cpu = self._count()
        self._result.wall_s, self._result.cpu_s = end_wall - wall, end_cpu - cpu


async def main() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        result = await Round(Job(**json.loads(line))).run()
        out = {name: getattr(result, name) for name in Result.__dataclass_fields__}
        print(json.dumps(out), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
