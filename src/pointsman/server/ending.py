"""Ending: how a worker stops without anybody noticing.

    stop    not ready at once; accept for `LINGER_S` more, so that load balancers can notice
    quit    the same without the wait: a person at a terminal, a parent that is gone
    retire  a successor listens on the same socket already: accept nothing, and stay ready

In each, every answer says `Connection: close`, what is under way gets `server.drain_s` to end,
and what still is then ends with an error event. Asking to stop a second time ends at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Literal, Protocol

from pointsman.clock import Clock
from pointsman.health import Health

How = Literal["stop", "quit", "retire"]

LINGER_S = 2.0
"""A load balancer that asks every second has noticed by then."""

LINGER_VARIABLE = "POINTSMAN_LINGER_S"
"""Another number of seconds: 0 where no load balancer asks, as in tests."""

REST_S = 2.0
"""What idle connections to a retiring worker get for one more request, in seconds."""

AT_ONCE_S = 1.0
"""For streams to say that they were cut, after a second request to stop, in seconds."""

_log = logging.getLogger("pointsman")


def linger_s() -> float:
    try:
        return float(os.environ.get(LINGER_VARIABLE, LINGER_S))
    except ValueError:
        return LINGER_S


class Drained(Protocol):
    """What ends: `HttpServer`."""

    def drain(self) -> None: ...

    def stop_accepting(self) -> None: ...

    async def finish(self, seconds: float) -> None: ...


class Ending:
    """One worker's end: `ask` for it from anywhere on the loop, `carry_out` once `asked`."""

    def __init__(self, server: Drained, vitals: Health, clock: Clock, linger_s: float) -> None:
        self._server = server
        self._vitals = vitals
        self._clock = clock
        self._linger_s = linger_s
        self._how: How | None = None
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()

    def ask(self, how: How, *, insist: bool = False) -> None:
        """Ask for an end. `insist` is a person's or supervisor's word: the second one hurries."""
        if self._how is None or self._how == "retire":
            self._how = how
            self._asked.set()
        elif insist:
            self._hurried.set()

    async def asked(self) -> None:
        await self._asked.wait()

    async def carry_out(self, drain_s: float) -> None:
        """Return when nothing is under way any more."""
        gently = asyncio.create_task(self._gently(drain_s))
        at_once = asyncio.create_task(self._hurried.wait())
        try:
            await asyncio.wait({gently, at_once}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_done = gently.done()
            gently.cancel()
            at_once.cancel()
            await asyncio.gather(gently, at_once, return_exceptions=True)
        if is_done:
            gently.result()
            return
        _log.warning("worker.ends_at_once")
        self._server.stop_accepting()
        try:
            async with asyncio.timeout(AT_ONCE_S):
                await self._server.finish(0.0)
        except TimeoutError:
            pass  # They would not even be told; the close that follows hangs up.

    async def _gently(self, drain_s: float) -> None:
        how = self._how
        _log.info("worker.drains how=%s drain_s=%g", how, drain_s)
        if how == "retire":
            self._server.drain()
            self._server.stop_accepting()
            await self._clock.sleep(REST_S)
        else:
            self._vitals.phase = "draining"
            self._server.drain()
            if how == "stop":
                await self._clock.sleep(self._linger_s)
            self._server.stop_accepting()
        await self._server.finish(drain_s)
