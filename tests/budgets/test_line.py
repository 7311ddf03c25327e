"""Who stands in line at a store that answers, but has too many to serve, is not told it is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from tests.budgets.test_faults import ALL, FarEscrow, held

from pointsman.budgets.escrow import Lease, Refused, Want
from pointsman.budgets.holds import Hold
from pointsman.budgets.treasury import Treasury
from pointsman.errors import Overloaded
from pointsman.testing.clock import FakeClock


class BusyEscrow(FarEscrow):
    """Grants so many as it was let, one after another."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.lets = threading.Semaphore(0)

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        self.lets.acquire(timeout=5.0)
        return super().grant(wants)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def served(tasks: Sequence[asyncio.Task[Hold]], count: int) -> None:
    async with asyncio.timeout(5):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.001)


async def test_patience_begins_anew_with_every_answer(clock: FakeClock) -> None:
    far = BusyEscrow(clock)
    treasury = Treasury([ALL], far, clock, patience_s=1.0)
    # A fifth of the budget each, so that one trip serves one of them.
    tasks = [asyncio.create_task(held(treasury, 2_000)) for _ in range(4)]
    await asyncio.sleep(0.01)
    for count in (1, 2, 3):
        clock.advance(0.9)
        far.lets.release()
        await served(tasks, count)
        assert all(task.exception() is None for task in tasks if task.done())
    clock.advance(1.1)
    await served(tasks, 4)
    refused = [task.exception() for task in tasks if task.exception() is not None]
    assert len(refused) == 1
    assert isinstance(refused[0], Overloaded) and refused[0].code == "storage_unavailable"
    far.lets.release(100)
    for task in tasks:
        if task.exception() is None:
            task.result().void()
    await treasury.close()


async def test_the_line_has_an_end(clock: FakeClock) -> None:
    far = BusyEscrow(clock)
    big = type(ALL)(ALL.name, ALL.scope, 1_000_000, window=ALL.window)
    treasury = Treasury([big], far, clock, patience_s=1.0)
    tasks = [asyncio.create_task(held(treasury, 30_000)) for _ in range(30)]
    await asyncio.sleep(0.01)
    for count in range(1, 13):
        clock.advance(0.9)
        far.lets.release()
        await served(tasks, count)
    assert any(task.done() and task.exception() is not None for task in tasks)
    far.lets.release(100)
    await served(tasks, 30)
    for task in tasks:
        if task.exception() is None:
            task.result().void()
    await treasury.close()
