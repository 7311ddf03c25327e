"""What must hold of rates over replicas, whoever counts them."""

from __future__ import annotations

import asyncio

from tests.replicas.replica_house import SLOTS, Fleet, statuses

from pointsman.testing import Rule, Slow
from pointsman.testing.journal import JournalEntry


async def requests_a_minute(fleet: Fleet) -> None:
    key = await fleet.new_key(limits={"requests_per_minute": 40})
    before = fleet.calls
    told = await fleet.burst(key, 120)
    assert statuses(told) == {200: 40, 429: 80}
    assert fleet.calls - before == 40
    refused = next(one for one in told if one.status == 429)
    assert refused.error["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1


async def tokens_a_minute(fleet: Fleet) -> None:
    limit = 4_000
    key = await fleet.new_key(limits={"tokens_per_minute": limit})
    before = fleet.calls
    told = await fleet.burst(key, 400)
    assert set(statuses(told)) == {200, 429}
    await fleet.provider.journal.settled()
    used = sum(
        call.billed.input + call.billed.output for call in fleet.provider.journal.calls[before:]
    )
    assert 0.9 * limit <= used <= limit


async def at_once(fleet: Fleet) -> None:
    key = await fleet.new_key(team="slots")
    before = fleet.calls
    fleet.provider.set_rules(Rule((Slow(first_byte_s=0.3),), model="slow"))
    told = await fleet.burst(key, 60, model="slow")
    fleet.provider.heal()
    await fleet.provider.journal.settled()
    assert set(statuses(told)) == {200, 429}
    assert _most_at_once(fleet.provider.journal.calls[before:]) == SLOTS
    # All of them come back: a worker gives its slot back beside the answer, not before it.
    async with asyncio.timeout(5):
        while statuses(told := await fleet.burst(key, 12, at_once=3)) != {200: 12}:
            assert set(statuses(told)) == {200, 429}


def _most_at_once(calls: tuple[JournalEntry, ...]) -> int:
    turns = sorted(turn for call in calls for turn in ((call.arrived_at, 1), (call.ended_at, -1)))
    most = now = 0
    for _, change in turns:
        now += change
        most = max(most, now)
    return most
