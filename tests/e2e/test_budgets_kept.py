"""Budgets in a store that two gateways share: what one spends, the other has not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from e2e_house import House, open_house
from test_budgets import CENT, billed, charged, everyone

from pointsman.budgets.check import check
from pointsman.clock import SystemClock
from pointsman.store.database import Database
from pointsman.store.open import Store

pytestmark = pytest.mark.slow

T = TypeVar("T")


async def flushed(*houses: House) -> None:
    for house in houses:
        async with asyncio.timeout(10):
            while any(bound.held for bound in house.gateway.books.treasury.bounds()):
                await asyncio.sleep(0.005)
        await asyncio.to_thread(house.gateway.ledger.flush)


async def rows(place: str, sql: str) -> list[tuple[Any, ...]]:
    return await asyncio.to_thread(in_store, place, lambda database: database.rows(sql))


def in_store(place: str, what: Callable[[Database], T]) -> T:
    database = Store.of(place if "://" in place else Path(place), SystemClock()).open()
    try:
        return what(database)
    finally:
        database.close()


def budget(config: dict[str, Any]) -> None:
    config["budgets"] = [everyone(0.01)]


async def test_two_gateways_spend_one_cent(store_place: str) -> None:
    async with AsyncExitStack() as stack:
        houses = [
            await stack.enter_async_context(open_house(budget, kept=store_place)) for _ in range(2)
        ]
        statuses: Counter[int] = Counter()
        for _ in range(4):
            got = await asyncio.gather(
                *(house.chat(f"{n}", max_tokens=500) for n in range(100) for house in houses)
            )
            statuses.update(each.status for each in got)
        assert set(statuses) == {200, 402}
        for house in houses:
            assert sum(entry.status == 200 for entry in await house.told(400)) > 0
        await flushed(*houses)
        bill = sum(billed(house) for house in houses)
        assert bill == sum(charged(house) for house in houses) <= CENT
    # Both have gone: nothing is leased any more, and nothing is missing.
    [(spent, leased)] = await rows(store_place, "SELECT sum(spent), sum(leased) FROM budget_slice")
    assert (int(spent), int(leased)) == (bill, 0)
    [(booked,)] = await rows(store_place, "SELECT sum(amount) FROM posting")
    assert int(booked) == bill
    [(kept,)] = await rows(store_place, "SELECT sum(cost_nano) FROM entry")
    assert int(kept) == bill
    assert await asyncio.to_thread(in_store, store_place, lambda db: check(db, quiet=True)) == []


async def test_what_was_spent_is_remembered_by_the_next_gateway(store_place: str) -> None:
    async with open_house(budget, kept=store_place) as first:
        while (await first.chat("word " * 100, max_tokens=1_000)).status == 200:
            pass
        bill = billed(first)
    async with open_house(budget, kept=store_place) as second:
        got = await second.chat("word " * 100, max_tokens=1_000)
        assert got.status == 402
        left = float(got.headers["x-pointsman-budget-left-usd"])
        assert left == pytest.approx((CENT - bill) / 1e9)


async def test_requests_a_minute_are_counted_over_both(store_place: str) -> None:
    def rate(config: dict[str, Any]) -> None:
        config["rates"] = [{"name": "twelve", "scope": "everyone", "requests_per_minute": 12}]

    async with AsyncExitStack() as stack:
        houses = [
            await stack.enter_async_context(open_house(rate, kept=store_place)) for _ in range(2)
        ]
        got = [await house.chat("hi") for _ in range(10) for house in houses]
        assert Counter(each.status for each in got) == {200: 12, 429: 8}


async def test_a_store_that_hangs_stops_nobody_who_has_a_lease(
    postgres_database: str, postgres: Any
) -> None:
    """And whoever has used up what was leased is told 503, not that the money is gone."""

    def large(config: dict[str, Any]) -> None:
        config["budgets"] = [everyone(1)]

    async with open_house(large, kept=postgres_database) as house:
        assert (await house.chat("hi", max_tokens=50)).status == 200
        postgres.freeze()
        try:
            got = [await house.chat("hi", max_tokens=50) for _ in range(5)]
            assert Counter(each.status for each in got) == {200: 5}
            dear = await house.chat("hi", max_tokens=15_000)
            assert (dear.status, dear.error["code"]) == (503, "storage_unavailable")
            assert dear.headers["x-should-retry"] == "true"
            assert int(dear.headers["retry-after"]) >= 1
        finally:
            postgres.thaw()
        async with asyncio.timeout(10):
            while (await house.chat("hi", max_tokens=15_000)).status != 200:
                await asyncio.sleep(0.1)
        await flushed(house)
        bill = billed(house)
    [(booked,)] = await rows(postgres_database, "SELECT sum(amount) FROM posting")
    assert int(booked) == bill
