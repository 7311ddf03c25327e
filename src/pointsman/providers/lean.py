"""Our own HTTP/1.1 client: pooled connections on llhttp, no task and no timer a request.

What it leaves out on purpose: redirects, cookies, decompression, environment proxies and
timeouts for content. Callers own those clocks, and `abort` wakes whoever waits.

Pools are last in, first out: the warmest connection is used again and the others age until
`keep_alive_s`. A connection that was closed under our request before any byte of an answer is
retried once on a fresh one, but only where the loss came within a connect bound of the writing:
that is how a stale connection dies, and a provider that worked for seconds and then fell may
bill what it did.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import replace

from pointsman.providers.lean_connection import LeanConnection, LeanResponse
from pointsman.providers.lean_dial import Names, Resolve, dial, system_resolve, tls_context
from pointsman.providers.lean_request import Heads, Origin, parse_origin
from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    TransportError,
    TransportLimits,
)


class Pool:
    """The connections of one origin; those of `idle` are ordered by how long they have rested."""

    __slots__ = ("_allow_private", "_limits", "_names", "_now", "context", "idle", "live", "origin")

    def __init__(
        self,
        origin: Origin,
        context: ssl.SSLContext | None,
        names: Names,
        limits: TransportLimits,
        now: Callable[[], float],
        *,
        allow_private: bool = False,
    ) -> None:
        self.origin = origin
        self.context = context
        self.idle: list[LeanConnection] = []
        self.live: set[LeanConnection] = set()
        self._names = names
        self._limits = limits
        self._now = now
        self._allow_private = allow_private

    def take(self) -> LeanConnection | None:
        """Return the connection that was used last and still looks open, or None."""
        while self.idle:
            connection = self.idle.pop()
            if self._now() - connection.idle_since > self._limits.keep_alive_s:
                connection.close()
                self.expire()
            elif connection.is_usable:
                return connection
        return None

    def expire(self) -> None:
        """Close what has rested longer than `keep_alive_s`."""
        limit = self._now() - self._limits.keep_alive_s
        for connection in [one for one in self.idle if one.idle_since < limit]:
            connection.close()

    async def dial(self) -> LeanConnection:
        """Open a connection. Raises TransportError with sent=False."""
        return await dial(
            self.origin,
            self.context,
            self._names,
            self._limits,
            lambda: LeanConnection(self, self._limits, self._now),
            allow_private=self._allow_private,
        )

    def close(self) -> None:
        for connection in tuple(self.live):
            connection.fail("reset", "the transport was closed")

    def opened(self, connection: LeanConnection) -> None:
        self.live.add(connection)

    def free(self, connection: LeanConnection) -> None:
        if len(self.idle) < self._limits.idle_per_origin:
            self.idle.append(connection)
        else:
            connection.close()

    def lost(self, connection: LeanConnection) -> None:
        self.live.discard(connection)
        try:
            self.idle.remove(connection)
        except ValueError:
            pass  # it was in use


class LeanTransport:
    """A `Transport` on asyncio's own sockets; works on asyncio and uvloop."""

    def __init__(
        self,
        limits: TransportLimits | None = None,
        *,
        resolve: Resolve = system_resolve,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or TransportLimits()
        self._now = now
        self._names = Names(resolve, now)
        self._routes: dict[Endpoint, tuple[Pool, Heads]] = {}
        self._pools: dict[tuple[bool, str, int, Endpoint], Pool] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(self, request: HttpRequest) -> LeanResponse:
        pool, heads = self._route(request.endpoint)
        head = heads.head(request)
        connection = pool.take()
        if connection is not None:
            response = await self._exchange(connection, head, request.body)
            if response.error is None:
                return response
            rested = self._now() - connection.started
            is_stale = not connection.answered and rested <= self._limits.connect_s
            if not (is_stale and request.resend) or self._closed:
                raise response.error
        response = await self._exchange(await self._fresh(pool), head, request.body)
        if response.error is not None:
            raise response.error
        return response

    async def warm(self, endpoint: Endpoint) -> None:
        """Have a connection that will live a while: one that has rested for half of its time is
        none, and ends by itself."""
        pool, _ = self._route(endpoint)
        limit = self._now() - self._limits.keep_alive_s / 2
        if not pool.idle or pool.idle[-1].idle_since < limit:
            connection = await self._fresh(pool)
            connection.idle_since = self._now()
            pool.free(connection)

    async def close(self) -> None:
        """Close every connection; whoever waits for one gets TransportError("reset")."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for pool in self._pools.values():
            pool.close()
        await asyncio.sleep(0)  # the loop drops aborted sockets in its next round

    async def _exchange(self, connection: LeanConnection, head: bytes, body: bytes) -> LeanResponse:
        response = connection.start(head, body)
        while not response.status and response.error is None:
            await response.wait()
        return response

    async def _fresh(self, pool: Pool) -> LeanConnection:
        if self._sweeper is None and not self._closed:
            self._sweep()
        connection = None if self._closed else await pool.dial()
        if connection is None or self._closed:  # perhaps closed while we dialled
            if connection is not None:
                connection.close()
            raise TransportError("refused", "the transport is closed", sent=False)
        return connection

    def _route(self, endpoint: Endpoint) -> tuple[Pool, Heads]:
        route = self._routes.get(endpoint)
        if route is None:
            origin = parse_origin(endpoint.base_url)
            # All that says whom a connection may be to: none is shared with who asks for more.
            key = (origin.secure, origin.host, origin.port, replace(endpoint, base_url=""))
            pool = self._pools.get(key)
            if pool is None:
                context = tls_context(endpoint) if origin.secure else None
                pool = Pool(
                    origin,
                    context,
                    self._names,
                    self._limits,
                    self._now,
                    allow_private=endpoint.allow_private,
                )
                self._pools[key] = pool
            route = self._routes[endpoint] = (pool, Heads(origin))
        return route

    def _sweep(self) -> None:
        """Close rested connections now and then, one timer for all pools."""
        for pool in self._pools.values():
            pool.expire()
        self._sweeper = asyncio.get_running_loop().call_later(
            self._limits.keep_alive_s, self._sweep
        )

    def __repr__(self) -> str:
        pools = ", ".join(
            f"{pool.origin}: {len(pool.live)} open, {len(pool.idle)} idle"
            for pool in self._pools.values()
        )
        return f"LeanTransport({pools})"
