"""A treasury whose rates a real Valkey counts, while that is killed, hung and emptied."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.budgets.subjects import Ask
from pointsman.budgets.treasury import Treasury
from pointsman.clock import SystemClock
from pointsman.config.settings_money import RedisSettings
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.domain.windows import Window
from pointsman.errors import RateLimited
from pointsman.shared.rates import SharedRates, rates_of
from pointsman.testing.servers import ValkeyServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

ASK = Ask(Caller("web", tenant="acme"), "chat", None, {}, None)
MINUTE = Window("minute", rolling=True)
PLENTY = (
    Budget("rpm", "key", 1_000_000, unit="requests", window=MINUTE),
    Budget("tpm", "key", 100_000_000, unit="tokens", window=MINUTE, strict=False),
    Budget("slots", "key", 1000, unit="at_once", window=Window("total")),
)


@asynccontextmanager
async def opened(
    settings: RedisSettings, *budgets: Budget
) -> AsyncIterator[tuple[Treasury, SharedRates]]:
    clock = SystemClock()
    rates = rates_of(settings, clock)
    treasury = Treasury(budgets, MemoryEscrow(clock), clock, rates=rates)
    await treasury.start()
    yield treasury, rates
    await treasury.close()


async def one(treasury: Treasury, hold_s: float = 0.005) -> float:
    began = time.monotonic()
    admission = await treasury.admit(ASK, 100, began + 5.0)
    took = time.monotonic() - began
    await asyncio.sleep(hold_s)
    admission.close(120)
    return took


async def load(treasury: Treasury, seconds: float, per_s: float = 200.0) -> list[float]:
    """Ask at a steady rate, whoever answers; raise what any of them was told."""
    tasks = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tasks.append(asyncio.create_task(one(treasury)))
        await asyncio.sleep(1 / per_s)
    return list(await asyncio.gather(*tasks))


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.02)


async def test_two_gateways_have_one_limit(settings: RedisSettings) -> None:
    budget = Budget("rpm", "key", 40, unit="requests", window=Window("hour", rolling=True))
    async with opened(settings, budget) as (first, _), opened(settings, budget) as (second, _):
        let_in = 0
        for turn in range(60):
            try:
                await one((first, second)[turn % 2], 0.0)
            except RateLimited:
                continue
            let_in += 1
        assert let_in == 40


@pytest.mark.parametrize("how", ["kill", "freeze", "empty"])
async def test_under_load_nobody_is_told_when_it_goes_and_comes_back(
    settings: RedisSettings, valkey: ValkeyServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(settings, timeout_s=0.05)
    caplog.set_level(logging.WARNING, "pointsman")
    async with opened(settings, *PLENTY) as (treasury, rates):
        calm = await load(treasury, 0.5)
        assert rates.is_shared
        running = asyncio.create_task(load(treasury, 4.0))
        await asyncio.sleep(0.3)
        if how == "empty":
            valkey.say("FLUSHALL")
        else:
            getattr(valkey, how)()
            await until(lambda: not rates.is_shared)
            await asyncio.sleep(1.5)
            if how == "kill":
                await asyncio.to_thread(valkey.start)
            else:
                valkey.thaw()
        await until(lambda: rates.is_shared)
        took = await running
    took.sort()
    assert len(took) > 400
    # At the 99th percentile; a request that meets the hung server itself waits its timeout once.
    assert took[int(len(took) * 0.99)] <= max(calm) + 0.1
    lines = [each.getMessage() for each in caplog.records if "redis." in each.getMessage()]
    expected = [] if how == "empty" else ["redis.lost use=rates", "redis.back use=rates"]
    assert [" ".join(line.split()[:2]) for line in lines] == expected


async def test_where_it_never_was_there_limits_hold_by_memory(
    settings: RedisSettings, valkey: ValkeyServer
) -> None:
    valkey.stop()
    budget = Budget("rpm", "key", 5, unit="requests", window=Window("hour", rolling=True))
    async with opened(settings, budget) as (treasury, rates):
        for _ in range(5):
            await one(treasury, 0.0)
        with pytest.raises(RateLimited):
            await one(treasury, 0.0)
        assert not rates.is_shared


async def test_without_it_each_has_its_share(settings: RedisSettings, valkey: ValkeyServer) -> None:
    budget = Budget("rpm", "key", 10, unit="requests", window=Window("hour", rolling=True))
    async with opened(settings, budget) as (first, one_), opened(settings, budget) as (second, two):
        await one(first, 0.0)
        await one(second, 0.0)
        await until(lambda: one_.shared.workers == two.shared.workers == 2)
        await asyncio.to_thread(valkey.kill)
        let_in = 0
        for turn in range(40):
            try:
                await one((first, second)[turn % 2], 0.0)
            except RateLimited:
                continue
            let_in += 1
        # What is left of the two leases of before, and five each.
        assert 10 <= let_in <= 12
