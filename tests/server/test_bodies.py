"""Bodies are refused before they are held, and held within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from yard import LIVEZ, Yard, until

from pointsman.config.settings import ServerSettings
from pointsman.server.connection import HELD_BYTES
from pointsman.server.exchange import SKIP_BYTES, Exchange

CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
MOST = 1 << 20
"""What the desk takes."""


def post(size: int, *lines: bytes) -> bytes:
    more = b"".join(line + b"\r\n" for line in lines)
    return b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%b\r\n" % (size, more)


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    async with Yard() as yard:
        yield yard


async def no(exchange: Exchange) -> None:
    exchange.respond(401, b"no")


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
async def test_a_body_arrives_whole_however_it_is_cut(yard: Yard, pieces: int) -> None:
    bodies: list[bytes] = []

    async def keep(exchange: Exchange) -> None:
        bodies.append(await exchange.body(MOST))
        exchange.respond(200, b"")

    yard.desk.answer = keep
    body = bytes(index % 251 for index in range(10_000))
    client = await yard.client()
    client.send(post(len(body)))
    step = -(-len(body) // pieces)
    for place in range(0, len(body), step):
        client.send(body[place : place + step])
        await asyncio.sleep(0)
    assert (await client.told()).status == 200
    assert bodies == [body]


async def test_a_hundred_thousand_chunks_of_one_byte_are_one_body(yard: Yard) -> None:
    client = await yard.client()
    client.send(CHUNKED + b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")
    assert (await client.told()).body == b"100000"


async def test_a_length_above_the_limit_is_told_before_a_byte_is_sent(yard: Yard) -> None:
    client = await yard.client()
    told = await client.ask(post(MOST + 1))
    assert (told.status, told.body) == (413, b"body_too_large")
    assert await client.is_closed()
    assert yard.server.bodies_bytes == 0


async def test_a_client_that_sends_on_can_read_that_its_body_is_too_large(yard: Yard) -> None:
    """Not closed at once: a reset would take the answer back."""
    client = await yard.client()
    client.send(CHUNKED)
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(100):
        client.send(chunk)
        await asyncio.wait_for(client.writer.drain(), 5)
    told = await client.told()
    assert told.status == 413
    assert yard.desk.seen[0].received <= MOST + 300_000
    assert await client.is_closed()


@pytest.mark.parametrize("size", [MOST, MOST - 1])
async def test_a_body_up_to_the_limit_is_taken(yard: Yard, size: int) -> None:
    client = await yard.client()
    client.send(post(size) + b"x" * size)
    assert (await client.told()).body == b"%d" % size


async def test_a_client_that_waits_is_told_to_go_on(yard: Yard) -> None:
    client = await yard.client()
    client.send(post(5, b"expect: 100-Continue"))
    assert (await client.head()).status == 100
    assert (await client.ask(b"hello")).body == b"5"
    assert (await client.ask(LIVEZ)).status == 200


async def test_a_client_that_waits_is_refused_before_it_sends(yard: Yard) -> None:
    client = await yard.client()
    told = await client.ask(post(MOST + 1, b"expect: 100-continue"))
    assert told.status == 413
    assert await client.is_closed()
    yard.desk.answer = no
    other = await yard.client()
    assert (await other.ask(post(5, b"expect: 100-continue"))).status == 401
    assert await other.is_closed()


async def test_a_client_that_does_not_wait_after_all_is_not_told_to_go_on(yard: Yard) -> None:
    client = await yard.client()
    assert (await client.ask(post(5, b"expect: 100-continue") + b"hello")).status == 200


async def test_the_rest_of_a_small_body_is_skipped_and_the_connection_kept(yard: Yard) -> None:
    yard.desk.answer = no
    client = await yard.client()
    told = await client.ask(post(SKIP_BYTES))
    assert told.status == 401
    assert "connection" not in told.headers
    client.send(b"x" * 1000)
    await asyncio.sleep(0.005)
    client.send(b"x" * (SKIP_BYTES - 1000) + LIVEZ)
    assert (await client.told()).status == 401
    assert [exchange.method for exchange in yard.desk.seen] == ["POST", "GET"]


async def test_the_rest_of_a_large_body_ends_the_connection(yard: Yard) -> None:
    yard.desk.answer = no
    client = await yard.client()
    told = await client.ask(post(SKIP_BYTES + 1))
    assert (told.status, told.headers["connection"]) == (401, "close")
    assert await client.is_closed()


async def test_a_body_that_nobody_asked_for_is_left_in_the_network(yard: Yard) -> None:
    go = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await go.wait()
        exchange.respond(200, b"%d" % len(await exchange.body(30_000_000)))

    yard.desk.answer = later
    client = await yard.client()
    client.send(post(20_000_000) + b"x" * 20_000_000)
    await until(lambda: yard.desk.seen and yard.desk.seen[0].received > HELD_BYTES)
    await asyncio.sleep(0.02)
    assert yard.desk.seen[0].received < HELD_BYTES + 300_000
    go.set()
    assert (await client.told()).body == b"20000000"


async def test_bodies_are_held_within_a_bound_over_all_connections() -> None:
    limits = replace(ServerSettings(), bodies_bytes=100_000)
    async with Yard(limits=limits) as yard:
        first = await yard.client()
        first.send(post(60_000) + b"x" * 50_000)
        await until(lambda: yard.server.bodies_bytes == 50_000)
        second = await yard.client()
        told = await second.ask(post(60_000))
        assert (told.status, told.body) == (503, b"overloaded")
        third = await yard.client()
        third.send(CHUNKED + b"20000\r\n" + b"x" * 0x20000)
        assert (await third.told()).status == 503
        first.send(b"x" * 10_000)
        assert (await first.told()).body == b"60000"
        await until(lambda: yard.server.bodies_bytes == 0)
        assert (await first.ask(post(60_000) + b"x" * 60_000)).status == 200


async def test_a_client_that_leaves_takes_its_body_with_it(yard: Yard) -> None:
    client = await yard.client()
    client.send(post(60_000) + b"x" * 50_000)
    await until(lambda: yard.server.bodies_bytes == 50_000)
    client.leave()
    await until(lambda: yard.server.bodies_bytes == 0)
    assert yard.desk.left
    again = await yard.client()
    again.send(LIVEZ + post(60_000) + b"x" * 50_000)
    assert (await again.told()).status == 200
    await until(lambda: yard.server.bodies_bytes)
    again.leave()
    await until(lambda: yard.server.bodies_bytes == 0)
