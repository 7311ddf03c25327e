"""How many a server takes, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from yard import LIVEZ, Client, Desk, Yard, connect, until

from pointsman.config.settings import ServerSettings
from pointsman.pipeline.account import DRAINING
from pointsman.server.door import REST_S, Door
from pointsman.server.exchange import Exchange
from pointsman.server.http import IDLE_WHILE_DRAINING_S, MOST_TURNED_AWAY, HttpServer
from pointsman.testing import FakeClock

LIMITS = ServerSettings()


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    async with Yard() as yard:
        yield yard


async def full(yard: Yard, count: int) -> list[Client]:
    clients = [await yard.client() for _ in range(count)]
    await until(lambda: yard.server.connections == count)
    return clients


async def test_one_connection_too_many_is_told_so_and_closed() -> None:
    async with Yard(limits=replace(LIMITS, max_connections=3)) as yard:
        clients = await full(yard, 3)
        extra = await yard.client()
        told = await extra.told()
        assert (told.status, told.body) == (503, b"too_many_connections")
        assert await extra.is_closed()
        assert yard.counts.refused == ["full"]
        for client in clients:
            assert (await client.ask(LIVEZ)).status == 200
        clients[0].leave()
        await until(lambda: yard.server.connections == 2)
        assert (await (await yard.client()).ask(LIVEZ)).status == 200


async def test_an_address_has_its_own_bound() -> None:
    async with Yard(limits=replace(LIMITS, max_connections_per_address=2)) as yard:
        clients = await full(yard, 2)
        assert (await (await yard.client()).told()).status == 503
        assert yard.counts.refused == ["address"]
        clients[0].leave()
        await until(lambda: yard.server.connections == 1)
        assert (await (await yard.client()).ask(LIVEZ)).status == 200


async def test_those_turned_away_are_bounded_too(yard: Yard) -> None:
    async with Yard(limits=replace(LIMITS, max_connections=1)) as yard:
        await full(yard, 1)
        crowd = [await yard.client() for _ in range(MOST_TURNED_AWAY + 10)]
        await until(lambda: len(yard.counts.refused) == len(crowd))
        told = 0
        for client in crowd:
            try:
                told += (await client.told()).status == 503
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
        assert MOST_TURNED_AWAY <= told < len(crowd)


@pytest.mark.parametrize(("descriptors", "most"), [(1024, 480), (256, 96), (66, 1), (0, 1)])
def test_by_default_half_of_the_descriptors_are_for_clients(descriptors: int, most: int) -> None:
    assert HttpServer(Desk(), LIMITS, descriptors=descriptors).most_connections == most


class Short(socket.socket):
    """A listener in a process that has no descriptors left."""

    tried = 0
    is_short = True

    def accept(self) -> Any:
        self.tried += 1
        if self.is_short:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_accepting_rests_and_goes_on() -> None:
    clock = FakeClock()
    taken: list[socket.socket] = []
    short: list[bool] = []
    listener = Short(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    door = Door(listener, clock, lambda s, address: taken.append(s), lambda: short.append(True))
    door.open()
    client = await connect(listener.getsockname()[1])
    await until(lambda: listener.tried == 1)
    await asyncio.sleep(0.02)
    assert (listener.tried, short) == (1, [True])
    clock.advance(REST_S)
    await until(lambda: listener.tried == 2)
    listener.is_short = False
    clock.advance(REST_S)
    await until(lambda: taken)
    door.shut()
    client.leave()
    taken[0].close()
    listener.close()


async def slowly(exchange: Exchange) -> None:
    exchange.start(200, (), b"text/plain")
    exchange.write(b"begun")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as cancelled:
        exchange.write(str(cancelled.args[0]).encode())
        exchange.end()
        raise


async def test_a_server_that_drains_says_so_and_still_serves(yard: Yard) -> None:
    kept = await yard.client()
    assert (await kept.ask(LIVEZ)).status == 200
    yard.server.drain()
    told = await kept.ask(LIVEZ)
    assert (told.status, told.headers["connection"]) == (200, "close")
    assert await kept.is_closed()
    new = await yard.client()
    assert (await new.ask(LIVEZ)).headers["connection"] == "close"


async def test_idle_connections_get_one_more_chance() -> None:
    clock = FakeClock()
    async with Yard(clock) as yard:
        client = await yard.client()
        assert (await client.ask(LIVEZ)).status == 200
        yard.server.drain()
        clock.advance(IDLE_WHILE_DRAINING_S - 1)
        assert yard.server.connections == 1
        clock.advance(3)
        assert await client.is_closed()


async def test_a_server_that_does_not_accept_leaves_clients_to_others(yard: Yard) -> None:
    yard.server.stop_accepting()
    client = await yard.client()
    client.send(LIVEZ)
    await asyncio.sleep(0.02)
    assert yard.server.connections == 0
    other = Desk()
    second = HttpServer(other, LIMITS)
    await second.start([yard.listener])
    assert (await client.told()).status == 200
    await second.close()


async def test_what_is_under_way_is_waited_for(yard: Yard) -> None:
    go = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await go.wait()
        exchange.respond(200, b"late")

    yard.desk.answer = later
    client = await yard.client()
    client.send(LIVEZ)
    await until(lambda: yard.server.under_way == 1)
    yard.server.drain()
    finishing = asyncio.create_task(yard.server.finish(60))
    await asyncio.sleep(0.01)
    assert not finishing.done()
    go.set()
    await finishing
    assert (await client.told()).body == b"late"
    assert await client.is_closed()


async def begin_and_end_while_draining(yard: Yard) -> tuple[Client, asyncio.Task[None]]:
    """A stream's head goes out before draining begins, so without `Connection: close`."""
    go = asyncio.Event()

    async def streamed(exchange: Exchange) -> None:
        if len(yard.desk.seen) > 1:
            exchange.respond(200, b"one more")
            return
        exchange.start(200, (), b"text/plain")
        exchange.write(b"begun")
        await go.wait()
        exchange.end()

    yard.desk.answer = streamed
    client = await yard.client()
    client.send(LIVEZ)
    assert "connection" not in (await client.head()).headers
    assert await client.chunk() == b"begun"
    yard.server.drain()
    yard.server.stop_accepting()
    finishing = asyncio.create_task(yard.server.finish(60))
    go.set()
    assert await client.chunk() == b""
    await asyncio.sleep(0.01)
    assert not finishing.done()
    return client, finishing


async def test_who_was_promised_another_request_has_it_while_draining(yard: Yard) -> None:
    client, finishing = await begin_and_end_while_draining(yard)
    told = await client.ask(LIVEZ)
    assert (told.body, told.headers["connection"]) == (b"one more", "close")
    await until(finishing.done)


async def test_who_was_promised_another_request_is_not_waited_for_long() -> None:
    clock = FakeClock()
    async with Yard(clock) as yard:
        client, finishing = await begin_and_end_while_draining(yard)
        clock.advance(IDLE_WHILE_DRAINING_S + 2)
        await until(finishing.done)
        assert await client.is_closed()


async def test_what_does_not_end_in_time_is_told_to(yard: Yard) -> None:
    yard.desk.answer = slowly
    client = await yard.client()
    client.send(LIVEZ)
    await until(lambda: yard.desk.seen)
    await yard.server.finish(0.01)
    assert (await client.told()).body == b"begun" + DRAINING.encode()
    assert yard.counts.cut == ["draining"]
    assert yard.server.under_way == 0


async def test_a_closed_server_has_hung_up_on_everybody(yard: Yard) -> None:
    yard.desk.answer = slowly
    idle, busy = await yard.client(), await yard.client()
    busy.send(LIVEZ)
    await until(lambda: yard.desk.seen)
    await yard.server.close()
    assert await idle.is_closed()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await busy.told()
    await until(lambda: (yard.server.connections, yard.server.under_way) == (0, 0))
