"""Deliveries: what is in the book comes to its sinks, sooner or later, without holding anyone up.

Each sink has a queue of its own and one task, so a mail server that hangs delays no webhook. What
was not taken is tried again after 2 s, 4 s and so on up to five minutes, with some chance in it,
until `GIVE_UP_S` after it was to be told. A delivery is at least once: where a worker dies between
the telling and noting it, another tells it again, with the same delivery id.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from pointsman.alerts.outbox import Due
from pointsman.alerts.sinks import NotTaken, Sink

GIVE_UP_S: Final = 3_600.0
FIRST_S: Final = 2.0
LONGEST_S: Final = 300.0
MOST_QUEUED: Final = 3
"""Deliveries that a worker takes for one sink at once: as many as surely end before another may
take them. The others stay in the book."""

Noted = Callable[[Due, str, float | None], Awaitable[None]]
"""Note how a delivery ended: the problem ("" for none), and in how many seconds to try again."""

_log = logging.getLogger("pointsman")


class Courier:
    """Bring what is due to the sinks by name. `now`: seconds since the epoch."""

    def __init__(
        self, sinks: Mapping[str, Sink], noted: Noted, now: Callable[[], float], rng: random.Random
    ) -> None:
        self.sinks = dict(sinks)
        self._noted = noted
        self._now = now
        self._rng = rng
        self._queues: dict[str, list[Due]] = {name: [] for name in sinks}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def idle(self) -> list[str]:
        """The sinks that something may be taken for."""
        return [name for name in self.sinks if name not in self._tasks]

    def follow(self, sinks: Mapping[str, Sink]) -> None:
        """Have other sinks from now on; what is under way ends as it began."""
        self.sinks = dict(sinks)
        for name in sinks:
            self._queues.setdefault(name, [])

    def bring(self, dues: list[Due]) -> None:
        for due in dues:
            self._queues[due.sink].append(due)
        for name in {due.sink for due in dues}:
            if name not in self._tasks:
                task = asyncio.create_task(self._work(name), name=f"alerts to {name}")
                self._tasks[name] = task
                task.add_done_callback(partial(self._ended, name))

    async def _work(self, name: str) -> None:
        queue = self._queues[name]
        while queue:
            due = queue.pop(0)
            await self._deliver(due)

    async def _deliver(self, due: Due) -> None:
        sink = self.sinks.get(due.sink)
        if sink is None:
            return  # Taken out of the configuration meanwhile.
        try:
            await sink(due.told)
        except NotTaken as problem:
            wait = self.wait(due)
            _log.warning(
                "alert.not_delivered id=%d sink=%s tries=%d reason=%r again_s=%s",
                *(due.told.id, due.sink, due.tries, str(problem)),
                "never" if wait is None else f"{wait:.0f}",
            )
            await self._noted(due, str(problem), wait)
        else:
            await self._noted(due, "", None)

    def wait(self, due: Due) -> float | None:
        """In how many seconds to try again; None: it was tried for long enough."""
        wait = min(LONGEST_S, FIRST_S * 2.0 ** min(due.tries - 1, 20))
        wait *= self._rng.uniform(0.75, 1.25)
        return wait if self._now() + wait - due.since <= GIVE_UP_S else None

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        self._queues[name].clear()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("alert.delivery_failed sink=%s error=%s", name, type(error).__name__)

    async def close(self, wait_s: float) -> None:
        """Let what is under way end, for so many seconds at most."""
        tasks = list(self._tasks.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=wait_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __repr__(self) -> str:
        return f"Courier({', '.join(self.sinks)})"
