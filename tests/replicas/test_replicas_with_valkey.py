"""Three replicas over PostgreSQL and Valkey: one budget, one limit, one word on every key."""

from __future__ import annotations

import asyncio

import pytest
from tests.replicas import rate_checks
from tests.replicas.replica_house import Fleet, new_text, statuses

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def test_a_race_for_a_cap_ends_below_it_and_nearly_at_it(fleet: Fleet) -> None:
    cap = 50_000_000
    key = await fleet.new_key(limits={"budget_usd": cap / 1e9})
    before = fleet.calls
    told = []
    for _ in range(30):
        told += await fleet.burst(key, 60, words=20)
        if statuses(told[-60:]) == {402: 60}:
            break
    assert set(statuses(told)) == {200, 402}
    assert next(one for one in told if one.status == 402).error["code"] == "budget_exceeded"
    await fleet.provider.journal.settled()
    assert 0.95 * cap <= fleet.billed(before) <= cap
    await fleet.verified()


async def test_requests_a_minute(fleet: Fleet) -> None:
    await rate_checks.requests_a_minute(fleet)


async def test_tokens_a_minute(fleet: Fleet) -> None:
    await rate_checks.tokens_a_minute(fleet)


async def test_requests_at_once(fleet: Fleet) -> None:
    await rate_checks.at_once(fleet)


async def test_a_key_is_good_and_gone_everywhere_within_two_seconds(fleet: Fleet) -> None:
    first, second, third = fleet.replicas
    made = await first.admin("POST", "keys", {"name": "shortlived"})
    assert await fleet.until(made["key"], lambda status: status == 200, "auto") < 2
    await third.admin("POST", f"keys/{made['id']}/revoke", {})
    assert await fleet.until(made["key"], lambda status: status in (401, 429)) < 2
    assert (await second.admin("GET", f"keys/{made['id']}"))["state"] == "revoked"


async def test_a_limit_set_on_one_replica_holds_on_all(fleet: Fleet) -> None:
    first, second, third = fleet.replicas
    key = await fleet.new_key(team="web")
    assert await fleet.until(key, lambda status: status == 200, "auto") < 2
    rule = {"scope": "team", "match": ["web"], "limit_usd": 0.000001}
    await second.admin("PUT", "rules/tight/budget", rule)
    assert await fleet.until(key, lambda status: status == 402, "auto") < 2
    told = [await each.admin("GET", "rules/tight") for each in (first, third)]
    assert told[0] == told[1]
    await third.admin("DELETE", "rules/tight")
    assert await fleet.until(key, lambda status: status == 200, "auto") < 2


async def test_a_request_repeated_on_every_replica_is_made_once(fleet: Fleet) -> None:
    key = await fleet.new_key()
    before = fleet.calls
    texts = [new_text() for _ in range(10)]
    told = await asyncio.gather(
        *(
            each.chat(key, text, headers={"idempotency-key": f"one-{number}"})
            for _ in range(2)
            for number, text in enumerate(texts)
            for each in fleet.replicas
        )
    )
    assert statuses(told) == {200: 60}
    assert fleet.calls - before == 10
    for number in range(10):
        assert len({one.body for one in told[number * 3 :: 30]}) == 1


async def test_what_one_replica_was_told_the_others_need_not_ask(fleet: Fleet) -> None:
    key = await fleet.new_key()
    before = fleet.calls
    text = new_text()
    async with asyncio.timeout(5):
        while (await fleet.replicas[0].chat(key, text, model="kept", max_tokens=100)).headers.get(
            "x-pointsman-cache"
        ) != "hit":
            await asyncio.sleep(0.02)
    asked = fleet.calls - before
    for each in fleet.replicas:
        told = await each.chat(key, text, model="kept", max_tokens=100)
        assert (told.status, told.headers["x-pointsman-cache"]) == (200, "hit")
    assert fleet.calls - before == asked <= 2
