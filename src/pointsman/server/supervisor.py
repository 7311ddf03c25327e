"""The supervisor: a parent that binds once, keeps N workers alive, and replaces them in turn.

Workers are new interpreters that share the listening socket, so a successor runs the code and the
configuration that are on the disk when it starts, and what one does not accept another does.

    a worker dies     another is started, after a pause that doubles; where none ever gets ready
                      we give up, with the status of the last one
    SIGHUP            passed on
    SIGUSR2           rolling restart: a successor is started; once it is ready the old one
                      retires; then the next. One that does not get ready ends it: nothing changes
    SIGTERM, SIGINT   passed on; the second one too, which ends workers at once
    we die            workers notice the end of a pipe, and stop by themselves

Workers are in sessions of their own: a terminal's Ctrl-C comes to us alone.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from pointsman.clock import Clock
from pointsman.server.child import Child, Launch

START_S = 60.0
"""For a worker to get ready, in seconds."""

PAUSE_S = (0.1, 5.0)
"""The shortest and longest pause before a dead worker is replaced."""

IMMEDIATE_S = 5.0
"""One that dies within so many seconds of its start counts as not having worked."""

MOST_DEATHS = 6
"""Immediate deaths in a row before we give up: some seconds of trying."""

GRACE_S = 20.0
"""Beyond the time to drain, before a worker that does not end is killed, in seconds."""

_log = logging.getLogger("pointsman")


class Supervisor:
    def __init__(self, launch: Launch, workers: int, clock: Clock) -> None:
        self._launch = launch
        self._workers = workers
        self._clock = clock
        self._children: set[Child] = set()
        self._watching: set[asyncio.Task[None]] = set()
        self._places: list[Child | None] = [None] * workers
        self._deaths = [0] * workers
        self._stopping = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None
        self._status = 0

    async def run(self) -> int:
        """Keep workers alive until told to stop. Returns an exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGINT, self._stop, signal.SIGINT)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR2, self._roll)
        try:
            for place in range(self._workers):
                await self._fill(place)
            await self._stopping.wait()
            # What we hold of the socket would keep clients waiting for nobody.
            for listener in self._launch.listeners:
                listener.close()
            await self._all_ended()
        finally:
            if self._rolling is not None:
                self._rolling.cancel()
            for child in self._children:
                child.signal(signal.SIGKILL)
            while self._watching:
                await asyncio.wait(self._watching)
        return self._status

    async def _all_ended(self) -> None:
        try:
            async with asyncio.timeout(self._launch.drain_s + GRACE_S):
                while self._watching:
                    await asyncio.wait(self._watching)
        except TimeoutError:
            _log.error("worker.killed reason='it did not end'")
            self._status = 1

    # Workers.

    async def _fill(self, place: int) -> None:
        """Put a new worker in a place that is empty."""
        child = await self._start(place)
        if self._places[place] is None:
            self._places[place] = child
        else:
            child.retire()  # a rolling restart was here first

    async def _start(self, place: int) -> Child:
        child = await Child.start(self._launch, self._clock)
        self._children.add(child)
        _log.info("worker.started place=%d pid=%d", place, child.process.pid)
        watching = asyncio.create_task(self._watch(place, child))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        if self._stopping.is_set():
            child.signal(signal.SIGTERM)
        return child

    async def _watch(self, place: int, child: Child) -> None:
        """See a worker to its end, and replace it where nobody wanted that end."""
        status = await child.wait()
        self._children.discard(child)
        is_ours = self._places[place] is child
        if self._stopping.is_set():
            is_expected = status == 0 or not child.ready.is_set()
            self._status = self._status or (0 if is_expected else 1)
            return
        if child.is_retired or not is_ours:
            _log.info("worker.ended place=%d pid=%d status=%d", place, child.process.pid, status)
            return
        lived_s = self._clock.now() - child.started
        is_immediate = not child.ready.is_set() or lived_s < IMMEDIATE_S
        self._deaths[place] = self._deaths[place] + 1 if is_immediate else 0
        _log.error(
            "worker.died place=%d pid=%d status=%d lived_s=%.1f",
            place,
            child.process.pid,
            status,
            lived_s,
        )
        self._places[place] = None
        if self._deaths[place] >= MOST_DEATHS and not self._anybody_ready():
            _log.error("supervisor.gives_up deaths=%d", self._deaths[place])
            self._status = status if status > 0 else 1
            self._stop(signal.SIGTERM)
            return
        shortest, longest = PAUSE_S
        pause_s = min(longest, shortest * 2.0 ** self._deaths[place])
        if not await self._stops_within(pause_s) and self._places[place] is None:
            await self._fill(place)

    def _anybody_ready(self) -> bool:
        return any(child is not None and child.ready.is_set() for child in self._places)

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    # Signals.

    def _stop(self, number: signal.Signals) -> None:
        if self._rolling is not None:
            self._rolling.cancel()
        for child in self._children:
            child.signal(number)
        self._stopping.set()

    def _reload(self) -> None:
        for child in self._children:
            child.reload()

    def _roll(self) -> None:
        if self._rolling is not None and not self._rolling.done():
            _log.warning("restart.refused reason='one is under way'")
        elif not self._stopping.is_set():
            self._rolling = asyncio.create_task(self._replace_all())

    async def _replace_all(self) -> None:
        for place in range(self._workers):
            old = self._places[place]
            successor = await self._start(place)
            if not await self._gets_ready(successor):
                _log.error(
                    "restart.aborted place=%d reason='the successor did not get ready'", place
                )
                successor.is_retired = True
                successor.signal(signal.SIGKILL)
                return
            # The old one may have died meanwhile, and have a replacement by now.
            leaving = {each for each in (old, self._places[place]) if each is not None}
            self._places[place] = successor
            self._deaths[place] = 0
            for each in leaving:
                each.retire()
            for each in leaving:
                await each.ended.wait()
        _log.info("restart.done workers=%d", self._workers)

    async def _gets_ready(self, child: Child) -> bool:
        ready = asyncio.create_task(child.ready.wait())
        ended = asyncio.create_task(child.ended.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        return child.ready.is_set() and not child.ended.is_set()
