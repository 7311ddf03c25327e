"""An event loop that is its own clock, and draws what happens next from a seed.

asyncio promises that callbacks run in the order in which they were scheduled, and that is kept.
Nothing is promised between what comes from outside (timers, the network, clients) and what is
ready: at each step a drawn choice is made between the next callback and the next thing that is
due, and things due at the same moment come in a drawn order. Time moves only when nothing else
can happen.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

START = 1000.0
EPOCH = 1_700_000_000.0


MOST_STEPS = 50_000
"""More than any sequence needs: beyond it something goes round in a circle."""


class Stuck(Exception):
    """Nothing is left that could ever happen and somebody still waits, or it never ends."""


class SimLoop(asyncio.AbstractEventLoop):
    """Enough of an event loop for tasks, futures and timers; and a `pointsman.clock.Clock`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now = START
        self._ready: deque[asyncio.Handle] = deque()
        self._due: list[tuple[float, float, asyncio.TimerHandle]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.errors: list[dict[str, Any]] = []
        """What asyncio told its exception handler."""
        self.steps = 0
        self.jumped_s = 0.0

    # A Clock.

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return EPOCH + self._now - START

    async def sleep(self, seconds: float) -> None:
        woken = self.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    # An event loop.

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._due, (when, self._rng.random(), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio's own hook; cancelled timers are passed over when their time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], **more: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **more)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    # The scheduler.

    def jump(self, seconds: float) -> None:
        """Stand still for `seconds`, as when the process gets no time: all is late afterwards."""
        self._now += seconds
        self.jumped_s += seconds

    def pending(self) -> list[asyncio.TimerHandle]:
        """Timers that still run."""
        return [timer for _, _, timer in self._due if not timer.cancelled()]

    def is_idle(self) -> bool:
        """Nothing is ready to run now."""
        return not self._ready

    def run_until(self, is_done: Callable[[], bool], look: Callable[[], None]) -> None:
        """Go on until `is_done`, calling `look` after each step."""
        asyncio.events._set_running_loop(self)
        try:
            while not is_done():
                self._step()
                look()
        finally:
            asyncio.events._set_running_loop(None)

    def abandon(self) -> None:
        """Cancel what still runs, and let it end: a story that broke off leaves nothing behind."""
        left = [task for task in self._tasks if not task.done()]
        self._tasks.clear()
        if not left:
            return
        for task in left:
            task.cancel()
        self.steps = 0
        try:
            self.run_until(lambda: all(task.done() for task in left), lambda: None)
        except Stuck:
            pass  # What swallows even that is the mistake that was to be found.

    def _step(self) -> None:
        ready, due = self._ready, self._due
        while due and due[0][2].cancelled():
            heapq.heappop(due)
        if not ready and due:
            self._now = max(self._now, due[0][0])
        is_timer = bool(due) and due[0][0] <= self._now
        if is_timer and (not ready or self._rng.random() < 0.5):
            heapq.heappop(due)[2]._run()
        elif ready:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
        else:
            raise Stuck(f"at {self._now - START:.3f} s somebody waits for what never comes")
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Stuck(f"at {self._now - START:.3f} s it goes round in a circle")
