"""Clients that are slow on purpose or by accident are bounded, by the clock and not by a timer
each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from yard import LIVEZ, Yard, until

from pointsman.config.settings import ServerSettings
from pointsman.server.exchange import Exchange
from pointsman.testing import FakeClock

LIMITS = ServerSettings()
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def yard(clock: FakeClock) -> AsyncIterator[Yard]:
    async with Yard(clock) as yard:
        yield yard


async def test_a_head_that_does_not_end_is_told_408(yard: Yard, clock: FakeClock) -> None:
    client = await yard.client()
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
    await until(lambda: yard.server.connections == 1)
    await asyncio.sleep(0.01)
    clock.advance(5)
    client.send(b"a: b\r\n")
    await asyncio.sleep(0.01)
    clock.advance(LIMITS.header_timeout_s - 5 + 1.5)
    told = await client.told()
    assert (told.status, told.body) == (408, b"request_timeout")
    assert await client.is_closed()
    assert yard.counts.cut == ["slow_head"]


async def test_a_connection_without_a_byte_is_closed_without_a_word(
    yard: Yard, clock: FakeClock
) -> None:
    client = await yard.client()
    await until(lambda: yard.server.connections == 1)
    clock.advance(LIMITS.header_timeout_s + 1.5)
    assert await client.is_closed()
    await until(lambda: yard.server.connections == 0)
    assert yard.counts.cut == []


async def test_a_kept_connection_rests_for_as_long_as_is_set(yard: Yard, clock: FakeClock) -> None:
    client = await yard.client()
    for _ in range(2):
        assert (await client.ask(LIVEZ)).status == 200
        clock.advance(LIMITS.keep_alive_s - 1.5)
    assert yard.server.connections == 1
    clock.advance(3)
    assert await client.is_closed()


async def test_a_head_after_a_rest_has_its_own_time(yard: Yard, clock: FakeClock) -> None:
    client = await yard.client()
    assert (await client.ask(LIVEZ)).status == 200
    clock.advance(60)
    client.send(LIVEZ[:9])
    await asyncio.sleep(0.01)
    clock.advance(9)
    client.send(LIVEZ[9:])
    assert (await client.told()).status == 200
    client.send(LIVEZ[:9])
    await asyncio.sleep(0.01)
    clock.advance(12)
    assert (await client.told()).status == 408


async def test_a_head_behind_an_exchange_is_timed_when_its_turn_comes(
    yard: Yard, clock: FakeClock
) -> None:
    go = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await go.wait()
        exchange.respond(200, b"late")

    yard.desk.answer = later
    client = await yard.client()
    client.send(LIVEZ + LIVEZ[:9])
    await until(lambda: yard.desk.seen)
    clock.advance(300)
    go.set()
    assert (await client.told()).status == 200
    client.send(LIVEZ[9:])
    assert (await client.told()).status == 200
    client.send(LIVEZ + LIVEZ[:9])
    assert (await client.told()).status == 200
    clock.advance(12)
    assert (await client.told()).status == 408


async def test_a_body_that_stops_is_told_408(yard: Yard, clock: FakeClock) -> None:
    client = await yard.client()
    client.send(POST + b"a" * 50_000)
    await until(lambda: yard.desk.seen and yard.desk.seen[0].received == 50_000)
    clock.advance(6)  # the first seconds brought enough
    assert not yard.desk.seen[0].ended
    clock.advance(6)
    told = await client.told()
    assert (told.status, told.body) == (408, b"request_timeout")
    assert await client.is_closed()
    assert yard.counts.cut == ["slow_body"]


async def test_a_body_that_drips_is_told_408_and_one_that_flows_is_not(
    yard: Yard, clock: FakeClock
) -> None:
    slow, steady = await yard.client(), await yard.client()
    slow.send(POST)
    steady.send(POST)
    await until(lambda: len(yard.desk.seen) == 2 and all(e.is_wanted for e in yard.desk.seen))
    for second in range(1, 11):
        if not yard.counts.cut:
            slow.send(b"a" * 100)
        steady.send(b"a" * 1100)
        await until(lambda: sum(e.received for e in yard.desk.seen) >= 1100 * second)  # noqa: B023
        await asyncio.sleep(0.005)
        clock.advance(1)
    assert (await slow.told()).status == 408
    steady.send(b"a" * (100_000 - 10 * 1100))
    assert (await steady.told()).body == b"100000"


async def test_a_client_that_was_never_asked_for_its_body_is_not_slow(
    yard: Yard, clock: FakeClock
) -> None:
    go = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await go.wait()
        exchange.respond(200, b"%d" % len(await exchange.body(1 << 20)))

    yard.desk.answer = later
    client = await yard.client()
    client.send(POST)
    await until(lambda: yard.desk.seen)
    clock.advance(100)
    go.set()
    client.send(b"a" * 100_000)
    assert (await client.told()).body == b"100000"


async def flood(exchange: Exchange) -> None:
    exchange.start(200, (), b"text/plain")
    for _ in range(1000):
        exchange.write(b"x" * 100_000)
        if exchange.is_full:
            await exchange.drained()
    exchange.end()


async def test_a_reader_that_takes_nothing_holds_the_stream_back_and_is_cut(
    yard: Yard, clock: FakeClock
) -> None:
    written = 0

    async def counted(exchange: Exchange) -> None:
        nonlocal written
        exchange.start(200, (), b"text/plain")
        while True:
            exchange.write(b"x" * 100_000)
            written += 100_000
            if exchange.is_full:
                await exchange.drained()

    yard.desk.answer = counted
    client = await yard.client(limit=1000)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.send(LIVEZ)
    await until(lambda: yard.desk.seen and yard.desk.seen[0].is_full)
    await asyncio.sleep(0.02)
    held = written
    clock.advance(LIMITS.stall_s - 1)
    await asyncio.sleep(0.01)
    assert written == held
    assert held < 20_000_000
    assert not yard.desk.left
    clock.advance(3)
    await until(lambda: yard.desk.left)
    await until(lambda: yard.server.connections == 0)
    assert yard.counts.cut == ["stalled"]
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        while await client.reader.read(1 << 16):
            pass


async def test_the_kernel_does_not_hoard_what_nobody_reads(yard: Yard, clock: FakeClock) -> None:
    written = 0

    async def counted(exchange: Exchange) -> None:
        nonlocal written
        exchange.start(200, (), b"text/plain")
        while True:
            exchange.write(b"x" * 10_000)
            written += 10_000
            await asyncio.sleep(0)
            if exchange.is_full:
                await exchange.drained()

    yard.desk.answer = counted
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.connect(("127.0.0.1", yard.port))
        plug.sendall(LIVEZ)
        await until(lambda: yard.desk.seen and yard.desk.seen[0].is_full)
        await asyncio.sleep(0.02)
    assert written < 1_000_000


async def test_a_reader_that_takes_a_little_is_not_cut(yard: Yard, clock: FakeClock) -> None:
    yard.desk.answer = flood
    client = await yard.client()
    client.send(LIVEZ)
    await until(lambda: yard.desk.seen)
    taken = 0
    for _ in range(15):
        clock.advance(LIMITS.stall_s / 2)
        async with asyncio.timeout(5):
            while taken < 5_000_000:
                taken += len(await client.reader.read(1 << 16))
        taken = 0
        await asyncio.sleep(0.005)
    assert yard.counts.cut == []
    assert not yard.desk.left


async def test_a_whole_answer_that_nobody_takes_is_cut_too(yard: Yard, clock: FakeClock) -> None:
    async def huge(exchange: Exchange) -> None:
        exchange.respond(200, b"x" * 30_000_000)

    yard.desk.answer = huge
    client = await yard.client(limit=1000)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.send(LIVEZ)
    await until(lambda: yard.desk.seen and yard.desk.seen[0].ended)
    await asyncio.sleep(0.02)
    clock.advance(LIMITS.stall_s + 3)
    await until(lambda: yard.server.connections == 0)
    assert yard.counts.cut == ["stalled"]


async def test_a_client_that_reads_its_last_answer_late_still_gets_it(
    yard: Yard, clock: FakeClock
) -> None:
    client = await yard.client()
    client.send(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
    await asyncio.sleep(0.02)
    assert (await client.told()).status == 400
    clock.advance(7)
    await until(lambda: yard.server.connections == 0)


async def test_limits_are_those_of_the_settings(clock: FakeClock) -> None:
    async with Yard(clock, replace(LIMITS, header_timeout_s=2.0)) as yard:
        client = await yard.client()
        client.send(b"GET")
        await until(lambda: yard.server.connections == 1)
        await asyncio.sleep(0.01)
        clock.advance(3.5)
        assert (await client.told()).status == 408
