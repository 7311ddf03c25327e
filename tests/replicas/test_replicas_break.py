"""What may break beside three replicas, under load, and what nobody may notice of it."""

from __future__ import annotations

import asyncio

import pytest
from tests.replicas.replica_house import Fleet, statuses

from pointsman.testing import Rule, Slow
from pointsman.testing.servers import PostgresServer, ValkeyServer

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PER_S = 40.0


async def test_a_postgresql_that_hangs_for_ten_seconds_stops_nobody(
    fleet: Fleet, postgres: PostgresServer
) -> None:
    key = await fleet.new_key()
    assert statuses(await fleet.burst(key, 60)) == {200: 60}
    async with fleet.under_load(key, PER_S) as told:
        postgres.freeze()
        await asyncio.sleep(10)
        postgres.thaw()
        await asyncio.sleep(0.5)
    found = statuses(told)
    assert found[200] >= 0.99 * len(told) > 300
    assert set(found) <= {200, 503}
    await fleet.verified()


async def test_a_valkey_that_hangs_and_dies_is_missed_by_nobody(
    fleet: Fleet, valkey: ValkeyServer
) -> None:
    key = await fleet.new_key(limits={"requests_per_minute": 6_000})
    async with (
        fleet.under_load(key, PER_S) as told,
        fleet.under_load(key, 10, model="kept") as kept,
    ):
        await asyncio.sleep(0.5)
        valkey.freeze()
        await asyncio.sleep(2)
        valkey.thaw()
        await asyncio.sleep(0.5)
        valkey.kill()
        await asyncio.sleep(1.5)
        valkey.start()
        await asyncio.sleep(1.5)
    assert set(statuses([*told, *kept])) == {200}
    assert len(told) > 150
    await fleet.verified()


async def test_a_replica_that_is_killed_is_missed_by_its_own_clients_only(fleet: Fleet) -> None:
    """Nor is a nano-USD: its log tells what it had under way, when it is back."""
    key = await fleet.new_key()
    lost, *others = fleet.replicas
    fleet.provider.set_rules(Rule((Slow(first_byte_s=0.3),), model="slow"))
    async with (
        fleet.under_load(key, PER_S, [lost], model="slow") as gone,
        fleet.under_load(key, PER_S, others, model="slow") as told,
    ):
        await asyncio.sleep(1)
        await lost.kill()
        await asyncio.sleep(1)
    fleet.provider.heal()
    assert set(statuses(told)) == {200}
    assert set(statuses(gone)) == {200, 0}
    await lost.start()
    assert statuses(await fleet.burst(key, 30)) == {200: 30}
    await fleet.verified()
    crashed = await fleet.rows(
        "SELECT count(DISTINCT attempt_id) FROM posting WHERE exact = 0 AND kind = 'charge'"
    )
    assert crashed[0][0] >= 1
