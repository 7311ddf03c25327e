"""Open-loop load: requests are sent when they are due, whether or not earlier ones were answered.

So a target that slows down cannot slow the load down, and latency counts from when a request was
due (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chaos.client import Answer


@dataclass(slots=True)
class Measured:
    """Answers in the order they were due; `start` is the monotonic second of the first."""

    start: float
    answers: list[Answer] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """By how much the generator itself was late, in seconds, at each request."""

    def between(self, start_s: float, end_s: float) -> list[Answer]:
        """Those due in this span, in seconds from the start."""
        return [a for a in self.answers if start_s <= a.due - self.start < end_s]

    @property
    def success(self) -> float:
        return success(self.answers)


def success(answers: Sequence[Answer]) -> float:
    """The share in [0, 1] that was answered properly."""
    return sum(a.ok for a in answers) / len(answers) if answers else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 for none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def p99_ms(answers: Sequence[Answer], *, first: bool = False) -> float:
    times = [a.first_s if first else a.seconds for a in answers if a.ok]
    return percentile(times, 0.99) * 1e3


def p50_ms(answers: Sequence[Answer], *, first: bool = False) -> float:
    times = [a.first_s if first else a.seconds for a in answers if a.ok]
    return percentile(times, 0.5) * 1e3


async def open_loop(
    ask: Callable[[float], Awaitable[Answer]],
    rate: float,
    seconds: float,
    rng: random.Random,
    *,
    poisson: bool = True,
) -> Measured:
    """Call `ask(due)` `rate` times a second for `seconds`, and wait for all answers."""
    start = time.monotonic()
    measured = Measured(start)
    due = start
    async with asyncio.TaskGroup() as tasks:
        asked: list[asyncio.Task[Answer]] = []
        while due - start < seconds:
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            measured.late.append(time.monotonic() - due)
            asked.append(tasks.create_task(_ask(ask, due)))
            due += rng.expovariate(rate) if poisson else 1 / rate
    measured.answers = [task.result() for task in asked]
    return measured


async def _ask(ask: Callable[[float], Awaitable[Answer]], due: float) -> Answer:
    return await ask(due)
