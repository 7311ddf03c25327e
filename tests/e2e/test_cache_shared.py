"""Two gateways with one Valkey: one cache and one set of rates, and neither needs it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from e2e_house import open_house

from pointsman.config.settings_money import CacheSettings, RedisSettings
from pointsman.domain.secret import Secret
from pointsman.errors import RateLimited
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.testing.servers import ValkeyServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

MESSAGES = [{"role": "user", "content": "What do we share?"}]


async def two(stack: AsyncExitStack, valkey: ValkeyServer, **more: Any) -> tuple[Gateway, Gateway]:
    """Two gateways as of two machines, and providers for them."""

    def rated(config: dict[str, Any]) -> None:
        config["rates"] = more.get("rates", [])

    house = await stack.enter_async_context(open_house(rated))
    redis = RedisSettings(Secret(valkey.url), timeout_s=0.25)
    settings = replace(
        house.gateway.settings, redis=redis, cache=CacheSettings("exact", store="redis")
    )
    gateways = [Gateway(settings, ledger=MemoryLedger()) for _ in range(2)]
    for gateway in gateways:
        await stack.enter_async_context(gateway)
    return gateways[0], gateways[1]


async def test_what_one_was_answered_the_other_has(valkey: ValkeyServer) -> None:
    async with AsyncExitStack() as stack:
        one, other = await two(stack, valkey)
        first = await one.chat(MESSAGES)
        async with asyncio.timeout(5):
            while not (again := await other.chat(MESSAGES)).is_cached:
                await asyncio.sleep(0.01)
        assert again.text == first.text
        assert (again.cost_nano, again.usage.total, again.attempts) == (0, 0, ())
        events = await other.stream(MESSAGES)
        async with events:
            assert await events.text() == first.text
        assert events.cost_usd == 0


async def test_when_it_hangs_questions_are_answered_all_the_same(valkey: ValkeyServer) -> None:
    async with AsyncExitStack() as stack:
        one, other = await two(stack, valkey)
        await one.chat(MESSAGES)
        valkey.freeze()
        answers = await asyncio.gather(*(other.chat(MESSAGES) for _ in range(50)))
        assert not any(answer.is_cached for answer in answers)
        valkey.thaw()


async def test_metrics_tell_whether_it_answers(valkey: ValkeyServer) -> None:
    async with AsyncExitStack() as stack:
        one, _ = await two(stack, valkey)

        def shown() -> dict[str, str]:
            lines = one.metrics.exposition().decode().splitlines()
            return dict(each.rsplit(" ", 1) for each in lines if "pointsman_redis_up{" in each)

        rates, cache = ('pointsman_redis_up{use="rates"}', 'pointsman_redis_up{use="cache"}')
        await one.chat(MESSAGES)
        assert shown() == {rates: "1.0", cache: "1.0"}
        valkey.freeze()
        async with asyncio.timeout(10):
            while shown()[cache] == "1.0":
                await one.chat(MESSAGES)
        valkey.thaw()


async def test_a_rate_counts_over_both_machines(valkey: ValkeyServer) -> None:
    rates = [{"name": "few", "scope": "everyone", "requests_per_minute": 20}]
    async with AsyncExitStack() as stack:
        one, other = await two(stack, valkey, rates=rates)
        let_in = 0
        for turn in range(40):
            try:
                await (one, other)[turn % 2].chat([{"role": "user", "content": f"{turn}"}])
            except RateLimited:
                continue
            let_in += 1
        assert let_in == 20
