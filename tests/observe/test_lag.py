"""The event loop's lateness: measured by a timer, believed when it lasts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import pytest

from pointsman.clock import SystemClock
from pointsman.observe.lag import EVERY_S, LoopLag
from pointsman.testing import FakeClock


class LateClock(FakeClock):
    """A loop that runs its next timers late, by the seconds in `late`."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[float] = []

    def call_later(self, seconds: float, callback: Callable[[], object]):  # type: ignore[no-untyped-def]
        late = self.late.pop(0) if self.late else 0.0
        return super().call_later(seconds + late, callback)


def watched(late: Iterable[float]) -> tuple[LoopLag, LateClock, list[float]]:
    """A watch whose ticks are `late`, all but the last of which have happened."""
    clock, seen = LateClock(), []  # type: tuple[LateClock, list[float]]
    clock.late = list(late)
    lag = LoopLag(clock, seen.append)
    lag.start()
    return lag, clock, seen


def tick(clock: LateClock) -> None:
    clock.advance(clock.pending[0] - clock.now())


def test_a_loop_on_time_is_not_late() -> None:
    lag, clock, seen = watched([])
    clock.advance(10 * EVERY_S + 0.001)
    assert seen == pytest.approx([0.0] * 10, abs=1e-9)
    assert lag.now_s == pytest.approx(0.0, abs=1e-9)


def test_one_stumble_is_measured_but_is_not_lateness_that_sheds() -> None:
    lag, clock, seen = watched([0.0, 0.7, 0.0])
    for _ in range(2):
        tick(clock)
    assert seen[-1] == pytest.approx(0.7)
    assert lag.now_s == pytest.approx(0.0, abs=1e-9)
    assert lag.worst_s() == pytest.approx(0.7)


def test_late_twice_in_a_row_is_lateness_until_it_catches_up() -> None:
    lag, clock, _ = watched([0.3, 0.25, 0.4, 0.0])
    said = []
    for _ in range(4):
        tick(clock)
        said.append(lag.now_s)
    assert said == pytest.approx([0.0, 0.25, 0.25, 0.0], abs=1e-9)


def test_the_99th_percentile_is_of_the_last_minute() -> None:
    lag, clock, _ = watched([5.0, *[0.2] * 15])
    for _ in range(1199):
        tick(clock)
    assert lag.p99_s() == pytest.approx(0.2)
    assert lag.worst_s() == pytest.approx(5.0)
    for _ in range(1200):
        tick(clock)
    assert lag.p99_s() == lag.worst_s() == pytest.approx(0.0, abs=1e-9)


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def test_a_blocked_loop_is_told_once_in_ten_seconds() -> None:
    lag, clock, _ = watched([1.5, 2.0, 2.0, *[0.0] * 200, 3.0])
    lines = Lines()
    logging.getLogger("pointsman").addHandler(lines)
    try:
        for _ in range(204):
            tick(clock)
    finally:
        logging.getLogger("pointsman").removeHandler(lines)
    assert lines.said == [
        "loop.blocked seconds=1.50 unmentioned=0",
        "loop.blocked seconds=3.00 unmentioned=2",
    ]
    assert lag.is_watching


def test_stopped_it_leaves_no_timer_and_is_not_late() -> None:
    lag, clock, _ = watched([0.3, 0.3])
    tick(clock)
    tick(clock)
    assert lag.now_s > 0
    lag.stop()
    assert (clock.pending, lag.now_s, lag.is_watching) == ((), 0.0, False)
    lag.stop()
    lag.start()
    lag.start()
    assert len(clock.pending) == 1


async def test_on_a_real_loop_a_block_is_seen() -> None:
    seen: list[float] = []
    lag = LoopLag(SystemClock(), seen.append)
    lag.start()
    # Blocking is the very thing that is measured here.
    time.sleep(0.15)
    async with asyncio.timeout(5):
        while not seen:
            await asyncio.sleep(0.005)
    lag.stop()
    assert seen[0] >= 0.09


def test_a_look_that_is_due_and_does_not_come_is_lateness_too() -> None:
    class Stuck(FakeClock):
        stuck_s = 0.0

        def now(self) -> float:
            return super().now() + self.stuck_s

    clock = Stuck()
    lag = LoopLag(clock)
    assert lag.overdue_s == 0.0
    lag.start()
    clock.stuck_s = EVERY_S + 0.3
    assert lag.overdue_s == pytest.approx(0.3)
    clock.stuck_s = 0.0
    assert (lag.overdue_s, lag.looks) == (0.0, 0)
    clock.advance(EVERY_S)
    assert lag.looks == 1
