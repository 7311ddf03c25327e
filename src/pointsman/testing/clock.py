"""A clock that stands still until a test moves it.

Theory. Timers live in one heap ordered by (due, order of creation). `advance` pops what is due,
sets the time to exactly that moment, and runs it: timers set by a timer are part of the same
march. A sleeper is a timer that resolves a future, so its task goes on when the loop next runs;
`run_for` is `advance` with the loop let run in between, so that a task woken at 2 s can sleep
until 3 s within the same march.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

EPOCH = 1_700_000_000.0
"""Where `wall` begins: a round moment in November 2023, never the machine's own date."""

SETTLING_TURNS = 40
"""Turns of the loop that count as settled: more than any chain of awakenings here takes."""


class FakeTimer:
    """A callback in the heap of a `FakeClock`."""

    __slots__ = ("callback", "cancelled", "due")

    def __init__(self, due: float, callback: Callable[[], object]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __repr__(self) -> str:
        return f"FakeTimer(due={self.due:g}{', cancelled' if self.cancelled else ''})"


class FakeClock:
    """Implement `pointsman.clock.Clock` by hand. `start` is what `now` says first, in seconds."""

    def __init__(self, start: float = 1000.0, *, epoch: float = EPOCH) -> None:
        self._start = start
        self._now = start
        self._epoch = epoch
        self._heap: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._epoch + (self._now - self._start)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> FakeTimer:
        """Run `callback` inside the `advance` that passes its moment, never by itself."""
        timer = FakeTimer(self._now + max(0.0, seconds), callback)
        heapq.heappush(self._heap, (timer.due, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved by `seconds`; 0 is one turn of the loop."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    @property
    def pending(self) -> tuple[float, ...]:
        """The moments, in seconds of `now`, at which something is still due; soonest first."""
        return tuple(sorted(due for due, _, timer in self._heap if not timer.cancelled))

    def advance(self, seconds: float) -> None:
        """Move by `seconds`, running what comes due on the way, in order.

        What a callback raises comes out here, with the clock at that callback's moment.
        """
        target = self._target(seconds)
        while self._run_next(target):
            pass
        self._now = target

    async def run_for(self, seconds: float, *, turns: int = SETTLING_TURNS) -> None:
        """Move by `seconds`, letting woken tasks run before the next thing that is due."""
        target = self._target(seconds)
        await settle(turns)
        while self._run_next(target):
            await settle(turns)
        self._now = target
        await settle(turns)

    def _target(self, seconds: float) -> float:
        if seconds < 0:
            raise ValueError(f"FakeClock: cannot move by {seconds:g} s; time only goes forward")
        return self._now + seconds

    def _run_next(self, target: float) -> bool:
        while self._heap and self._heap[0][0] <= target:
            due, _, timer = heapq.heappop(self._heap)
            if timer.cancelled:
                continue
            self._now = max(self._now, due)
            timer.cancelled = True
            timer.callback()
            return True
        return False

    def __repr__(self) -> str:
        return f"FakeClock(now={self._now:g}, pending={len(self.pending)})"


async def settle(turns: int = SETTLING_TURNS) -> None:
    """Let the event loop turn, so that whatever can run without time passing has run."""
    for _ in range(turns):
        await asyncio.sleep(0)
