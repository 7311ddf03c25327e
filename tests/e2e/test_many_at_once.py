"""Many requests at once, with faults: books that agree, and nothing left behind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from e2e_house import Got, House

from pointsman.testing import Cut, ErrorEvent, Fail, FaultProvider, Slow, Truncate
from pointsman.testing.plays import Play

FAST = Slow(tokens_per_second=0)
FAULTS: list[Play] = [Fail(500), Fail(429), Cut(), Truncate(1), ErrorEvent(1), Cut("fin")]


@pytest.mark.slow
async def test_two_hundred_at_once_leave_honest_books_and_nothing_open(house: House) -> None:
    rng = random.Random(11)

    def steps(provider: FaultProvider) -> None:
        for _ in range(60):
            provider.script(rng.choice(FAULTS) if rng.random() < 0.5 else FAST)

    steps(house.openai)
    steps(house.claude)

    async def one(number: int) -> Got | None:
        ask = house.chat if number % 2 else house.message
        model = ("first", "second", "auto")[number % 3]
        asking = ask(f"words of request {number}", model=model, stream=bool(number % 5 % 2))
        if number % 10:
            return await asking
        task = asyncio.create_task(asking)
        await asyncio.sleep(rng.random() * 0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None

    answers = await asyncio.gather(*(one(number) for number in range(200)))
    for got in filter(None, answers):
        if got.headers["content-type"].startswith("text/event-stream"):
            last = got.events()[-1]
            is_end = last == "[DONE]" or last.get("type") == "message_stop"
            assert is_end != ("error" in last), last
        else:
            assert got.json
    async with asyncio.timeout(5):
        while any(stack.meter.in_flight for stack in house.gateway.stacks.values()):
            await asyncio.sleep(0.01)
    ids = [entry.request_id for entry in house.ledger.entries]
    assert len(ids) == len(set(ids))
    assert len(ids) >= sum(1 for got in answers if got is not None)
    await house.openai.journal.settled()
    await house.claude.journal.settled()
    for provider, name in ((house.openai, "first"), (house.claude, "second")):
        exact = [
            attempt
            for entry in house.ledger.entries
            for attempt in entry.attempts
            if attempt.deployment == name
            and attempt.outcome == "ok"
            and not attempt.usage.estimated
        ]
        whole = [
            call for call in provider.journal.calls if call.ended == "done" and call.status == 200
        ]
        assert exact and whole
        told = Counter((attempt.usage.input, attempt.usage.output) for attempt in exact)
        billed = Counter((call.billed.input, call.billed.output) for call in whole)
        assert told <= billed


async def test_a_server_that_stops_lets_a_stream_end(house: House) -> None:
    """A stream under way when the server is told to stop goes on to its end."""
    house.openai.script((Slow(tokens_per_second=40),))
    asking = asyncio.create_task(house.chat("a b c d e f g h", model="first", stream=True))
    async with asyncio.timeout(2):
        while not house.gateway.stacks["first"].meter.in_flight:
            await asyncio.sleep(0.005)
    house.server.drain()
    house.server.stop_accepting()
    await house.server.finish(5.0)
    assert (await asking).events()[-1] == "[DONE]"
