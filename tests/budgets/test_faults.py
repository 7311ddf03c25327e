"""Stores that are gone or hang, workers declared dead: what a client sees, what it never does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.budgets.race import ShippedLog, ask_of

from pointsman.budgets.escrow import AccountStanding, Back, Lease, Refused, Want
from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.holds import Hold
from pointsman.budgets.membership import Membership
from pointsman.budgets.treasury import Treasury
from pointsman.clock import SystemClock
from pointsman.domain.budgets import Budget
from pointsman.domain.windows import Window
from pointsman.errors import Overloaded, RateLimited
from pointsman.store.errors import StorageUnavailable
from pointsman.store.open import Store
from pointsman.testing.clock import FakeClock
from pointsman.testing.servers import PostgresServer

ASK = ask_of("red")
ALL = Budget("all", "everyone", 10_000, window=Window("total"))


class FarEscrow:
    """An escrow on the other side of a thread, that can be told to fail or to hang."""

    is_local = False
    is_logged = False
    lease_s = 60.0

    def __init__(self, clock: FakeClock) -> None:
        self._inner = MemoryEscrow(clock)
        self.is_down = False
        self.is_alive = True
        self.answers = threading.Event()
        self.answers.set()
        self.grants = 0

    def _reached(self) -> None:
        self.answers.wait(5.0)
        if self.is_down:
            raise StorageUnavailable("gone")

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        self._reached()
        self.grants += 1
        return self._inner.grant(wants)

    def give_back(self, parts: Sequence[Back]) -> None:
        self._reached()
        self._inner.give_back(parts)

    def renew(self) -> bool:
        self._reached()
        was, self.is_alive = self.is_alive, True
        return was

    def follow(self, budgets: Sequence[Budget]) -> None:
        self._reached()

    def standing(self, budgets: Sequence[Budget]) -> list[AccountStanding]:
        self._reached()
        return self._inner.standing(budgets)

    def close(self) -> None: ...


async def held(treasury: Treasury, amount: int) -> Hold:
    return await treasury.hold(ASK, "a", amount, amount, 1, b"", float("inf"))


async def soon(clock: FakeClock, task: asyncio.Task[Hold], within_s: float) -> None:
    """Move the clock while the escrow's thread, which knows no clock, does what it does."""
    for _ in range(200):
        if task.done():
            return
        await asyncio.sleep(0.001)
        await clock.run_for(within_s / 200, turns=2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def far(clock: FakeClock) -> FarEscrow:
    return FarEscrow(clock)


@pytest.fixture
def treasury(clock: FakeClock, far: FarEscrow) -> Treasury:
    return Treasury([ALL], far, clock, patience_s=1.0)


class TestGone:
    async def test_what_is_leased_is_used_and_then_the_store_is_to_blame(
        self, treasury: Treasury, far: FarEscrow, clock: FakeClock
    ) -> None:
        (await held(treasury, 100)).void()
        far.is_down = True
        for _ in range(4):
            await held(treasury, 25)
        with pytest.raises(Overloaded) as refused:
            await held(treasury, 300)
        assert (refused.value.code, refused.value.status) == ("storage_unavailable", 503)
        assert refused.value.retry_after_s is not None
        far.is_down = False
        clock.advance(1.1)
        await held(treasury, 300)
        await treasury.close()

    async def test_nobody_asks_again_at_once(
        self, treasury: Treasury, far: FarEscrow, clock: FakeClock
    ) -> None:
        far.is_down = True
        for _ in range(50):
            with pytest.raises(Overloaded):
                await held(treasury, 100)
        far.is_down = False
        assert far.grants == 0
        await treasury.close()

    async def test_without_the_store_a_worker_stops_before_its_leases_end(
        self, treasury: Treasury, far: FarEscrow, clock: FakeClock
    ) -> None:
        """By then another may have taken them: what lies in the drawer is not touched."""
        (await held(treasury, 100)).void()
        far.is_down = True
        clock.advance(57.9)
        (await held(treasury, 10)).void()
        clock.advance(0.2)
        with pytest.raises(Overloaded):
            await held(treasury, 10)
        far.is_down = False
        await treasury.close()


class TestHung:
    async def test_leases_go_on_and_then_nobody_waits_longer_than_patience(
        self, treasury: Treasury, far: FarEscrow, clock: FakeClock
    ) -> None:
        (await held(treasury, 100)).void()
        far.answers.clear()
        began = clock.now()
        (await held(treasury, 90)).void()
        waiting = [asyncio.create_task(held(treasury, 300)) for _ in range(20)]
        for task in waiting:
            await soon(clock, task, 2.0)
            with pytest.raises(Overloaded) as refused:
                await task
            assert refused.value.code == "storage_unavailable"
        assert clock.now() - began <= 1.1
        (await held(treasury, 90)).void()
        far.answers.set()
        await treasury.close()

    async def test_who_is_cancelled_while_the_store_hangs_holds_nothing(
        self, treasury: Treasury, far: FarEscrow, clock: FakeClock
    ) -> None:
        far.answers.clear()
        task = asyncio.create_task(held(treasury, 300))
        await clock.run_for(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        far.answers.set()
        await treasury.close()
        assert [bound.held for bound in treasury.bounds()] == [0]
        (standing,) = far._inner.standing([ALL])
        assert (standing.spent, standing.leased) == (0, 0)


async def test_what_is_settled_after_the_end_troubles_nobody(
    treasury: Treasury, far: FarEscrow
) -> None:
    hold = await held(treasury, 9_900)
    await treasury.close()
    hold.settle(1, exact=True, tokens=1)
    with pytest.raises(Overloaded):
        await treasury.hold(ASK, "b", 10_000, 10_000, 1, b"", 0.0)
    await asyncio.sleep(0.02)


class TestFenced:
    async def test_holds_go_on_in_new_leases_and_old_ones_are_settled(
        self, treasury: Treasury, far: FarEscrow, clock: FakeClock
    ) -> None:
        old = await held(treasury, 100)
        far.is_alive = False
        clock.advance(30.0)
        treasury.sweep()
        await asyncio.sleep(0.05)
        assert treasury.fencings == 1
        new = await held(treasury, 50)
        old.settle(40, exact=True, tokens=1)
        new.settle(50, exact=True, tokens=1)
        await treasury.close()
        (standing,) = far._inner.standing([ALL])
        assert (standing.spent, standing.leased) == (90, 0)


class BrokenLog(ShippedLog):
    is_full = True

    def dispatch(
        self, attempt_id: str, parts: Sequence[tuple[int, int]], amount: int, note: bytes
    ) -> None:
        if self.is_full:
            raise StorageUnavailable("no space left on device")
        super().dispatch(attempt_id, parts, amount, note)


async def test_without_a_log_nobody_is_asked_and_nothing_stays_held(clock: FakeClock) -> None:
    log = BrokenLog("w")
    treasury = Treasury([ALL], MemoryEscrow(clock), clock, log=log)
    with pytest.raises(Overloaded) as refused:
        await held(treasury, 10_000)
    assert refused.value.code == "storage_unavailable"
    log.is_full = False
    (await held(treasury, 10_000)).void()
    assert log.open == {}


@pytest.mark.real
@pytest.mark.slow
async def test_a_server_that_hangs_is_not_waited_for(
    postgres: PostgresServer, postgres_database: str
) -> None:
    clock = SystemClock()
    store = Store.of(postgres_database, clock, timeout_s=0.25)
    store_escrow = StoreEscrow(store, Membership("w", "host", "boot", 60.0))
    treasury = Treasury([ALL], store_escrow, clock, log=ShippedLog("w"), patience_s=1.0)
    await asyncio.to_thread(store_escrow.renew)  # The tables are made with more patience.
    first = await treasury.hold(ASK, "a0", 100, 100, 1, b"", clock.now() + 10)
    first.void()
    postgres.freeze()
    began = time.monotonic()
    await asyncio.gather(
        *(treasury.hold(ASK, f"b{n}", 10, 10, 1, b"", clock.now() + 10) for n in range(9))
    )
    results = await asyncio.gather(
        *(treasury.hold(ASK, f"c{n}", 500, 500, 1, b"", clock.now() + 10) for n in range(9)),
        return_exceptions=True,
    )
    took = time.monotonic() - began
    assert {type(result) for result in results} == {Overloaded}
    assert took < 1.5
    postgres.thaw()
    for _ in range(50):
        try:
            await treasury.hold(ASK, f"d{_}", 500, 500, 1, b"", clock.now() + 10)
        except Overloaded:
            await asyncio.sleep(0.1)
        else:
            break
    else:
        pytest.fail("the store is back, and still nobody is served")
    await treasury.close()


@pytest.mark.slow
async def test_a_dead_workers_slots_come_back_when_its_lease_ends(tmp_path: Path) -> None:
    clock = SystemClock()
    few = Budget("few", "everyone", 3, unit="at_once", window=Window("total"))
    store = Store.of(tmp_path / "store.db", clock)

    def worker(name: str) -> Treasury:
        return Treasury([few], StoreEscrow(store, Membership(name, "host", "boot", 0.4)), clock)

    dead, other = worker("dead"), worker("other")
    for _ in range(3):
        await dead.admit(ASK, 1)
    with pytest.raises(RateLimited):
        await other.admit(ASK, 1)
    began = clock.now()
    while True:
        other.sweep()
        try:
            await other.admit(ASK, 1)
            break
        except RateLimited:
            await asyncio.sleep(0.02)
    assert 0.2 <= clock.now() - began < 1.5
    await other.close()
    await dead.close()
