"""Alerts behind a real treasury, over both engines, and beside a store that hangs."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from tests.alerts.conftest import USD, stands
from tests.budgets.race import ShippedLog

from pointsman.access.principal import EVERYTHING
from pointsman.alerts.alerts import Alerts
from pointsman.alerts.book import list_alerts
from pointsman.budgets.escrow import Escrow
from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.membership import Membership
from pointsman.budgets.subjects import Ask
from pointsman.budgets.treasury import Treasury
from pointsman.clock import SystemClock
from pointsman.config.settings_money import AlertSettings
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.errors import BudgetExhausted
from pointsman.providers.lean import LeanTransport
from pointsman.store.open import Store
from pointsman.testing.servers import PostgresServer

BUDGET = Budget("month", "team", 100 * USD)
ASK = Ask(Caller("k", team="web", tenant="north"), "auto")


async def spend(treasury: Treasury, *usd: int) -> None:
    for at, each in enumerate(usd):
        with suppress(BudgetExhausted):
            hold = await treasury.hold(
                *(ASK, f"att-{at}", each * USD, None, 10, b"", SystemClock.now() + 5)
            )
            hold.settle(each * USD, exact=True, tokens=10)


async def told(
    treasury: Treasury, store: Store | None, *usd: int, log: ShippedLog | None = None
) -> list[object]:
    transport = LeanTransport()
    alerts = Alerts(AlertSettings(), store, SystemClock(), transport)
    treasury.listen(alerts.settled)
    treasury.listen_refused(alerts.refused)
    await treasury.start()
    await spend(treasury, *usd)
    await treasury.close()
    if store is not None and log is not None:
        await asyncio.to_thread(log.ship, store)
    await alerts.tick()
    lines = await alerts.ask(lambda db: list_alerts(db, EVERYTHING))
    await alerts.close()
    await transport.close()
    assert {line.tenant for line in lines} <= {"north"}
    return [line.facts.get("threshold") for line in lines if line.kind == "threshold"]


async def test_what_a_treasury_settles_is_told() -> None:
    clock = SystemClock()
    escrow: Escrow = MemoryEscrow(clock)
    assert await told(Treasury([BUDGET], escrow, clock), None, 30, 20, 35) == [0.8]
    escrow = MemoryEscrow(clock)
    assert await told(Treasury([BUDGET], escrow, clock), None, 30, 19) == []


async def test_what_is_written_in_the_store_is_told(store_place: str) -> None:
    clock = SystemClock()
    store = Store.of(store_place, clock)
    escrow = StoreEscrow(store, Membership("w1", "host", "boot", 30.0))
    log = ShippedLog("w1")
    treasury = Treasury([BUDGET], escrow, clock, log=log)
    assert await told(treasury, store, 30, 20, 35, log=log) == [0.8]


async def test_a_budget_that_refuses_is_told_to_be_used_up(store_place: str) -> None:
    clock = SystemClock()
    assert await told(Treasury([BUDGET], MemoryEscrow(clock), clock), None, 70, 29, 2) == [1.0]
    store = Store.of(store_place, clock)
    escrow = StoreEscrow(store, Membership("w1", "host", "boot", 30.0))
    log = ShippedLog("w1")
    treasury = Treasury([BUDGET], escrow, clock, log=log)
    assert await told(treasury, store, 70, 29, 2, log=log) == [1.0]


@pytest.mark.slow
@pytest.mark.real
async def test_a_store_that_hangs_holds_up_nobody(
    postgres: PostgresServer, postgres_database: str
) -> None:
    clock = SystemClock()
    transport = LeanTransport()
    store = Store.of(postgres_database, clock, timeout_s=0.3, connect_s=0.3)
    alerts = Alerts(AlertSettings(), store, clock, transport)
    await alerts.tick()
    postgres.freeze()
    began = time.monotonic()
    alerts.settled(stands(85, now=clock.wall()))
    looking = asyncio.create_task(alerts.tick())
    late = 0.0
    while not looking.done():
        before = time.monotonic()
        await asyncio.sleep(0.001)
        late = max(late, time.monotonic() - before)
    assert time.monotonic() - began < 3
    assert late < 0.2
    postgres.thaw()
    await alerts.tick()
    assert "well" in repr(alerts)
    await alerts.close()
    await transport.close()
