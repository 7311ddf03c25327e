"""How late the event loop runs: one timer that measures by how much it is late.

Theory. All requests of a worker share one thread. Whatever holds it (a large body, a slow
expression, too many requests) delays all of them by the same amount, and a timer sees it: it is
due every 50 ms and runs when the loop gets to it. One late tick is a stumble that is over by the
time it is seen; two in a row mean that the loop does not catch up. So `now_s`, by which the gate
sheds, is the smaller of the last two, and a single blocked moment refuses nobody.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

from pointsman.clock import Clock, Timer

EVERY_S = 0.05
"""Between two looks, in seconds: the gate knows of an overload after 0.1 s."""
WINDOW = 1200
"""Looks that are remembered for `p99_s`: the last minute."""
BLOCKED_S = 1.0
"""A loop that stood still for so long is worth a line in the log …"""
QUIET_S = 10.0
"""… but not more often than this."""

_log = logging.getLogger("pointsman")


def _nobody(seconds: float) -> None:
    pass


class LoopLag:
    """Watch between `start` and `stop`, on the running loop; `observe` is told each lateness."""

    def __init__(self, clock: Clock, observe: Callable[[float], object] = _nobody) -> None:
        self._clock = clock
        self._observe = observe
        self._timer: Timer | None = None
        self._due = 0.0
        self._last_s = 0.0
        self._seen: deque[float] = deque(maxlen=WINDOW)
        self._told_at = -math.inf
        self._untold = 0
        self.now_s = 0.0
        """Seconds by which the loop runs late now."""
        self.looks = 0
        """Looks so far."""

    def start(self) -> None:
        if self._timer is None:
            self._set()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.now_s = self._last_s = 0.0

    @property
    def overdue_s(self) -> float:
        """By how much the next look is late already, in seconds; 0 where nobody watches."""
        return max(0.0, self._clock.now() - self._due) if self._timer is not None else 0.0

    @property
    def is_watching(self) -> bool:
        return self._timer is not None

    def p99_s(self) -> float:
        """99 of 100 looks of the last minute were not later than this, in seconds."""
        if not self._seen:
            return 0.0
        return sorted(self._seen)[math.ceil(len(self._seen) * 0.99) - 1]

    def worst_s(self) -> float:
        """The latest look of the last minute, in seconds."""
        return max(self._seen, default=0.0)

    def _set(self) -> None:
        self._due = self._clock.now() + EVERY_S
        self._timer = self._clock.call_later(EVERY_S, self._look)

    def _look(self) -> None:
        late = max(0.0, self._clock.now() - self._due)
        self.now_s = min(late, self._last_s)
        self._last_s = late
        self._seen.append(late)
        self.looks += 1
        self._observe(late)
        if late >= BLOCKED_S:
            self._tell(late)
        self._set()

    def _tell(self, late: float) -> None:
        now = self._clock.now()
        if now - self._told_at < QUIET_S:
            self._untold += 1
            return
        _log.warning("loop.blocked seconds=%.2f unmentioned=%d", late, self._untold)
        self._told_at, self._untold = now, 0

    def __repr__(self) -> str:
        return f"LoopLag(now {self.now_s:.3f} s, p99 {self.p99_s():.3f} s)"
