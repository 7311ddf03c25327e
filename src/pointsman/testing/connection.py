"""One connection to the provider: read requests, perform answers, notice who leaves."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Protocol, cast

from pointsman.clock import Clock
from pointsman.testing.compose import Performance
from pointsman.testing.moves import Close, Generate, Move, Send, Stall, Wait
from pointsman.testing.receive import BadHttp, RequestHead, RequestReader, WireRequest

WRITE_AT_ONCE = 64 * 1024
"""Bytes gathered before a write where no time passes between moves."""


class Tally:
    """What has happened of a performance so far."""

    __slots__ = ("bytes_sent", "done", "generated", "reasoned", "spoke")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.generated = 0
        self.reasoned = 0
        self.spoke = False
        """A byte of the answer has left."""
        self.done = False


class Scene(Protocol):
    """One request being answered."""

    @property
    def performance(self) -> Performance: ...

    @property
    def tally(self) -> Tally: ...


class Stage(Protocol):
    """What a connection needs of the provider it belongs to."""

    @property
    def clock(self) -> Clock: ...

    @property
    def is_deaf(self) -> bool: ...

    @property
    def is_resetting(self) -> bool: ...

    def joined(self, connection: Connection) -> int:
        """Take note of a connection; return its number."""
        ...

    def left(self, connection: Connection) -> None: ...

    def begin(self, connection: Connection, request: WireRequest) -> Scene:
        """Take note of a request and plan its answer."""
        ...

    def ended(self, connection: Connection, scene: Scene) -> None:
        """Take note of how a scene went; called once for each, also for one that never ran."""
        ...

    def request_cut(self, connection: Connection, head: RequestHead, body_bytes: int) -> None:
        """Take note of a request that never came whole."""
        ...

    def broke(self, error: BaseException) -> None:
        """Take note of an error of our own."""
        ...


class Connection(asyncio.Protocol):
    """Serve one request after another, also pipelined ones."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._clock = stage.clock
        self._reader = RequestReader()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[bool] | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drained: asyncio.Future[None] | None = None
        self._is_blocked = False
        self.number = 0
        self.client_left = False
        self.left_at: float | None = None

    # What the event loop tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Nothing is kept back in user space: what was written is with the kernel, or we wait.
        # (1, because asyncio's TLS never resumes a writer whose high-water mark is 0.)
        self._transport.set_write_buffer_limits(high=1, low=0)
        self.number = self._stage.joined(self)
        if self._stage.is_resetting:
            self.drop(reset=True)

    def data_received(self, data: bytes) -> None:
        if self._stage.is_deaf:
            return
        self._reader.feed(data)
        self._go_on()

    def eof_received(self) -> bool:
        self._client_has_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._client_has_left()
        head = self._reader.head
        if head is not None and self._task is None:
            self._stage.request_cut(self, head, self._reader.body_bytes)
            self._reader.head = None
        self._stage.left(self)
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._is_blocked = True

    def resume_writing(self) -> None:
        self._is_blocked = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # What the provider asks for.

    def drop(self, *, reset: bool) -> None:
        """Close at once: by RST, or by FIN."""
        if self._transport is None:
            return
        if reset:
            raw: socket.socket | None = self._transport.get_extra_info("socket")
            if raw is not None and not self._transport.is_closing():
                # Lingering for zero seconds makes the kernel reset instead of finishing.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    async def shut(self, *, reset: bool) -> None:
        """Stop what is being performed and return when the connection is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self.drop(reset=reset)
        if self._transport is not None and not reset:
            # A peer that reads nothing, or owes us its half of a TLS goodbye, is not waited for.
            self._transport.abort()
        await self._closed

    async def perform(self, performance: Performance, tally: Tally) -> bool:
        """Make the moves; return whether the connection lives on. `tally` is kept even when
        this is cancelled. Tokens keep to their schedule: a late one is not made up for twice."""
        pending = bytearray()
        due = self._clock.now()
        for move in performance.moves:
            if isinstance(move, Send):
                pending += move.data
                if len(pending) >= WRITE_AT_ONCE:
                    await self._write(pending, tally)
                continue
            if isinstance(move, Generate) and not move.seconds:
                _made(tally, move, move.tokens)
                continue
            await self._write(pending, tally)
            if isinstance(move, Close):
                tally.done = True
                self.drop(reset=move.reset)
                return False
            due = await self._pass_time(move, due, tally)
        await self._write(pending, tally)
        tally.done = True
        return True

    async def _pass_time(self, move: Move, due: float, tally: Tally) -> float:
        """Wait, stall or make tokens; return the moment at which that was due to end."""
        if isinstance(move, Generate):
            await self._generate(move, due, tally)
            return due + move.seconds
        if isinstance(move, Stall) and move.seconds is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(move, Wait | Stall) and move.seconds is not None:
            await self._clock.sleep(move.seconds)
        return self._clock.now()

    async def _generate(self, move: Generate, begun: float, tally: Tally) -> None:
        left = begun + move.seconds - self._clock.now()
        try:
            if left > 0:
                await self._clock.sleep(left)
        except asyncio.CancelledError:
            share = (self._clock.now() - begun) / move.seconds
            _made(tally, move, min(move.tokens, int(move.tokens * share)))
            raise
        _made(tally, move, move.tokens)

    async def _write(self, pending: bytearray, tally: Tally) -> None:
        if not pending or self._transport is None:
            return
        data = bytes(pending)
        pending.clear()
        tally.spoke = True
        self._transport.write(data)
        if self._is_blocked:
            self._drained = asyncio.get_running_loop().create_future()
            try:
                await self._drained
            except asyncio.CancelledError:
                # What a lost connection still held is gone from the buffer: then count none.
                held = self._transport.get_write_buffer_size()
                tally.bytes_sent += len(data) - held if held else 0
                raise
        tally.bytes_sent += len(data)

    # Our own work.

    def _go_on(self) -> None:
        """Begin the next whole request, unless one is being served."""
        if self._task is not None or self.client_left:
            return
        try:
            request = self._reader.next_request()
        except BadHttp as error:
            self._refuse(error)
            return
        if request is not None:
            scene = self._stage.begin(self, request)
            performing = self.perform(scene.performance, scene.tally)
            self._task = asyncio.get_running_loop().create_task(performing)
            keeps_alive = request.head.keeps_alive
            self._task.add_done_callback(lambda task: self._played(task, scene, keeps_alive))

    def _played(self, task: asyncio.Task[bool], scene: Scene, keeps_alive: bool) -> None:
        self._task = None
        self._stage.ended(self, scene)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._stage.broke(error)
            self.drop(reset=True)
        elif not task.result() or not keeps_alive:
            self.drop(reset=False)
        else:
            self._go_on()

    def _client_has_left(self) -> None:
        if self.client_left:
            return
        self.client_left = True
        self.left_at = self._clock.wall()
        if self._task is not None:
            self._task.cancel()

    def _refuse(self, error: BadHttp) -> None:
        if self._transport is not None:
            text = f"{error}\n".encode()
            self._transport.write(
                b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(text), text)
            )
            self._transport.close()


def _made(tally: Tally, move: Generate, tokens: int) -> None:
    tally.generated += tokens
    if move.reasoning:
        tally.reasoned += tokens
