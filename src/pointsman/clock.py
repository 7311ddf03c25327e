"""Time as an argument: everything that waits or measures takes a `Clock`.

The shipped fake is `pointsman.testing.FakeClock`; tests move it by hand and never sleep.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that is due later and can be called off."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Tell and await time in seconds."""

    def now(self) -> float:
        """Return monotonic seconds: for durations and deadlines, never for dates."""
        ...

    def wall(self) -> float:
        """Return seconds since the Unix epoch: for dates in the ledger, never for durations."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` on the event loop in `seconds`; cheap enough for one a request."""
        ...


class SystemClock:
    """The machine's clock; `call_later` needs a running event loop."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)

    def __repr__(self) -> str:
        return "SystemClock()"
