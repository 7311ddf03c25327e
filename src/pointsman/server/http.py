"""The HTTP/1.1 server of one worker: doors, connections, one sweep a second, an orderly end.

It owns neither the gateway nor its listeners: whoever starts it starts and closes those. To end:
`drain` (every answer says `Connection: close`), `stop_accepting`, `finish`, `close`, as far apart
as the caller wants.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Literal, Protocol

from pointsman.clock import Clock, SystemClock, Timer
from pointsman.config.settings import ServerSettings
from pointsman.errors import Overloaded
from pointsman.server.connection import Answering, Connection, Cut
from pointsman.server.door import Door

SWEEP_S = 1.0
"""Between looks at what is late; every limit in seconds may be passed by this much."""

RESERVED_DESCRIPTORS = 64
"""Kept for the ledger, listeners, logs, standard streams and connections that are turned away."""

MOST_TURNED_AWAY = 32
"""Connections beyond the cap that get a 503 at the same time; others are hung up on."""

UNSENT_BYTES = 128 * 1024
"""Of an answer that the kernel may hold for a reader who takes none of it. By default it is up to
4 MB (tcp_wmem), which is memory too, and what a client left unread would be paid for."""

_UNSENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS

IDLE_WHILE_DRAINING_S = 2.0
PROMISE_LOOK_S = 0.05
END_S = 5.0
"""For exchanges that were told to end to say so, in seconds."""

Refused = Literal["full", "address", "descriptors"]
"""Why a connection is not served."""


class Counting(Protocol):
    """What is told of connections: `Metrics`."""

    def watch(self, name: str, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None: ...

    def connection_refused(self, reason: Refused) -> None: ...

    def connection_cut(self, reason: Cut) -> None: ...


class HttpServer:
    def __init__(
        self,
        app: Answering,
        limits: ServerSettings,
        *,
        clock: Clock | None = None,
        counting: Counting | None = None,
        descriptors: int | None = None,
    ) -> None:
        self.app = app
        self.limits = limits
        self.clock = clock if clock is not None else SystemClock()
        self.is_draining = False
        self.bodies_bytes = 0
        self.date = b""
        self.under_way = 0
        """Exchanges whose answer has not ended."""
        self.most_connections = limits.max_connections or _share_of(descriptors)
        self._counting = counting
        if counting is not None:
            counting.watch("pointsman_connections", lambda: {(): self.connections})
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._turned_away: set[Connection] = set()
        self._by_address: dict[str, int] = {}
        self._doors: list[Door] = []
        self._sweeper: Timer | None = None
        self._quiet: asyncio.Future[None] | None = None
        self._promised_until = 0.0

    @property
    def connections(self) -> int:
        return len(self._connections)

    # Its life.

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Begin to accept from listening sockets, which stay the caller's."""
        self._sweep()
        for listener in listeners:
            door = Door(listener, self.clock, self._accepted, self._short)
            door.open()
            self._doors.append(door)

    def drain(self) -> None:
        """Have every answer from now on say `Connection: close`; idle connections get
        `IDLE_WHILE_DRAINING_S` for one more request. New ones are still accepted."""
        if not self.is_draining:
            self.is_draining = True
            until = self.clock.now() + IDLE_WHILE_DRAINING_S
            for connection in self._connections:
                connection.rest_until(until)

    def stop_accepting(self) -> None:
        for door in self._doors:
            door.shut()
        self._doors.clear()

    async def finish(self, seconds: float) -> None:
        """Wait until no exchange is under way. What still is after `seconds` is ended: streams
        with an error event, all others by 503; both say "draining"."""
        self.drain()
        end = self.clock.now() + seconds
        if await self._is_quiet_within(seconds):
            await self._keep_promises(end)
            if not self.under_way:
                return
        for connection in tuple(self._connections):
            connection.stop()
        await self._is_quiet_within(END_S)

    async def close(self) -> None:
        """Hang up on everybody."""
        self.stop_accepting()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self._opening:
            task.cancel()
        for connection in (*self._connections, *self._turned_away):
            connection.hang_up()
        await asyncio.sleep(0)  # the loop drops closed sockets in its next round

    def promised(self) -> float:
        """A connection whose stream began before draining did may bring another request: until
        when."""
        self._promised_until = self.clock.now() + IDLE_WHILE_DRAINING_S
        return self._promised_until

    async def _keep_promises(self, end: float) -> None:
        """Closing at once would meet the next request of a client who was not told."""
        while (now := self.clock.now()) < min(end, self._promised_until):
            if not any(each.is_promised for each in self._connections) and not self.under_way:
                return
            await self.clock.sleep(PROMISE_LOOK_S)
            if self.under_way:
                await self._is_quiet_within(end - now)

    async def _is_quiet_within(self, seconds: float) -> bool:
        if not self.under_way:
            return True
        quiet = self._quiet = asyncio.get_running_loop().create_future()
        timer = self.clock.call_later(seconds, self._stop_waiting)
        try:
            await quiet
        finally:
            timer.cancel()
            self._quiet = None
        return not self.under_way

    def _stop_waiting(self) -> None:
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)

    def _sweep(self) -> None:
        self.date = b"date: %b\r\n" % formatdate(self.clock.wall(), usegmt=True).encode()
        now = self.clock.now()
        for connection in (*self._connections, *self._turned_away):
            if connection.due <= now:
                connection.look(now)
        self._sweeper = self.clock.call_later(SWEEP_S, self._sweep)

    # Who comes in.

    def _accepted(self, client: socket.socket, address: object) -> None:
        host = str(address[0]) if isinstance(address, tuple) else ""
        each = self.limits.max_connections_per_address
        turned_away: Overloaded | None = None
        if self.connections >= self.most_connections:
            turned_away = self._refusal("full", f"{self.most_connections} connections are open")
        elif each is not None and self._by_address.get(host, 0) >= each:
            turned_away = self._refusal("address", f"{each} connections of your address are open")
        if turned_away is not None and len(self._turned_away) >= MOST_TURNED_AWAY:
            client.close()
            return
        connection = Connection(self, host, turned_away)
        if turned_away is not None:
            self._turned_away.add(connection)
        else:
            self._connections.add(connection)
            if each is not None:
                self._by_address[host] = self._by_address.get(host, 0) + 1
        task = asyncio.get_running_loop().create_task(self._open(client, connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _refusal(self, reason: Refused, message: str) -> Overloaded:
        if self._counting is not None:
            self._counting.connection_refused(reason)
        return Overloaded(
            f"{message}; try again soon", code="too_many_connections", retry_after_s=1.0
        )

    async def _open(self, client: socket.socket, connection: Connection) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _UNSENT is not None:
                client.setsockopt(socket.IPPROTO_TCP, _UNSENT, UNSENT_BYTES)
        except OSError:
            pass  # no TCP, or gone already
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, client)
        except BaseException:
            client.close()
            self.lost(connection)
            raise

    def _short(self) -> None:
        if self._counting is not None:
            self._counting.connection_refused("descriptors")

    # What connections tell.

    def lost(self, connection: Connection) -> None:
        if connection.is_turned_away:
            self._turned_away.discard(connection)
            return
        self._connections.discard(connection)
        if self.limits.max_connections_per_address is not None:
            left = self._by_address[connection.address] - 1
            if left:
                self._by_address[connection.address] = left
            else:
                del self._by_address[connection.address]

    def begun(self) -> None:
        self.under_way += 1

    def over(self) -> None:
        self.under_way -= 1
        if not self.under_way:
            self._stop_waiting()

    def cut(self, reason: Cut) -> None:
        if self._counting is not None:
            self._counting.connection_cut(reason)

    def __repr__(self) -> str:
        state = "draining" if self.is_draining else "open" if self._doors else "shut"
        return f"HttpServer({state}, {self.connections} connections, {self.under_way} under way)"


def _share_of(descriptors: int | None) -> int:
    """How many clients this process can take: half of its descriptors, after what is reserved,
    since each client's request may need a connection of ours to a provider."""
    if descriptors is None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors == resource.RLIM_INFINITY:
            descriptors = 1 << 20
    return max(1, (descriptors - RESERVED_DESCRIPTORS) // 2)
