"""Upkeep: sum the ledger now and then, so that a report finds little left to sum.

Any worker may; where two do, one of them has done it for nothing (reports/rollup.py).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from typing import Final

from pointsman.clock import Clock
from pointsman.reports.rollup import catch_up
from pointsman.store.errors import StorageError
from pointsman.store.open import Store

EVERY_S: Final = 60.0
MOST: Final = 20_000
"""Entries a time: about a second of a thread's work, which the event loop shares its core with."""

_log = logging.getLogger("pointsman")


class Upkeep:
    """`store` None: the ledger is in memory and there is nothing to sum."""

    def __init__(self, store: Store | None, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._store is not None:
            self._task = asyncio.create_task(self._run(self._store), name="upkeep")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, store: Store) -> None:
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                await asyncio.to_thread(_sum, store)
            except StorageError as error:
                _log.warning("upkeep.failed error=%r", str(error))


def _sum(store: Store) -> None:
    with closing(store.open()) as database:
        catch_up(database, most=MOST)
