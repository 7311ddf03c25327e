"""Requests one after the other, clients that leave, and what a crash looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from yard import LIVEZ, Client, Yard, until

from pointsman.server.connection import HELD_BYTES, MOST_WAITING
from pointsman.server.exchange import Exchange


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    async with Yard() as yard:
        yield yard


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: x", *lines, "", ""]).encode()


async def echo(exchange: Exchange) -> None:
    exchange.respond(200, exchange.path.encode())


class Held:
    """An answer that waits until it is let go, and may be a stream."""

    def __init__(self, *, stream: bool = False) -> None:
        self.go = asyncio.Event()
        self.stream = stream

    async def __call__(self, exchange: Exchange) -> None:
        if self.stream:
            exchange.start(200, (), b"text/plain")
            exchange.write(b"begun")
        gone: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        exchange.watch(gone.cancel)
        waiting: asyncio.Future[object] = asyncio.ensure_future(self.go.wait())
        await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if gone.cancelled():
            waiting.cancel()
            raise asyncio.CancelledError
        gone.cancel()
        if self.stream:
            exchange.end()
        else:
            await echo(exchange)


async def test_requests_in_one_piece_are_answered_in_order(yard: Yard) -> None:
    async def slower_first(exchange: Exchange) -> None:
        for _ in range(10 - int(exchange.path[1:])):
            await asyncio.sleep(0)
        await echo(exchange)

    yard.desk.answer = slower_first
    client = await yard.client()
    client.send(b"".join(get(f"/{n}") for n in range(10)))
    assert [(await client.told()).body for n in range(10)] == [b"/%d" % n for n in range(10)]


async def test_requests_behind_one_another_are_answered_in_order(yard: Yard) -> None:
    held = Held()
    yard.desk.answer = held
    client = await yard.client()
    for n in range(10):
        client.send(get(f"/{n}"))
        await asyncio.sleep(0.002)
    held.go.set()
    assert [(await client.told()).body for n in range(10)] == [b"/%d" % n for n in range(10)]


async def test_bodies_in_one_piece_belong_to_their_requests(yard: Yard) -> None:
    client = await yard.client()
    client.send(
        b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
        b"POST /b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        b"POST /c HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab"
    )
    assert [(await client.told()).body for _ in range(2)] == [b"3", b"5"]
    assert (await client.ask(b"cd")).body == b"4"


async def test_more_requests_in_one_piece_than_are_kept_end_the_connection(yard: Yard) -> None:
    yard.desk.answer = echo
    client = await yard.client()
    client.send(b"".join(get(f"/{n}") for n in range(MOST_WAITING * 2)))
    answers = [await client.told() for _ in range(MOST_WAITING + 1)]
    assert [told.body for told in answers] == [b"/%d" % n for n in range(MOST_WAITING + 1)]
    assert [told.headers.get("connection") for told in answers] == [None] * MOST_WAITING + ["close"]
    assert await client.is_closed()


async def test_what_follows_a_last_request_is_not_read(yard: Yard) -> None:
    client = await yard.client()
    client.send(get("/", "connection: close") + get("/second"))
    assert (await client.told()).status == 200
    assert await client.is_closed()
    assert len(yard.desk.seen) == 1


async def test_a_malformed_request_behind_a_good_one_is_told_after_it(yard: Yard) -> None:
    held = Held()
    yard.desk.answer = held
    client = await yard.client()
    client.send(get("/good") + b"\0\0\r\n\r\n")
    await until(lambda: yard.desk.seen)
    held.go.set()
    assert (await client.told()).body == b"/good"
    told = await client.told()
    assert (told.status, told.headers["connection"]) == (400, "close")
    assert await client.is_closed()


async def test_what_waits_behind_an_exchange_is_bounded(yard: Yard) -> None:
    held = Held()
    yard.desk.answer = held
    client = await yard.client()
    client.send(get("/0"))
    await until(lambda: yard.desk.seen)
    client.send(get("/n") * 500_000)
    await asyncio.sleep(0.05)
    (connection,) = yard.server._connections
    assert HELD_BYTES < len(connection._held) < HELD_BYTES + 300_000
    assert client.writer.transport.get_write_buffer_size() > 1_000_000
    held.go.set()
    for _ in range(5):
        assert (await client.told()).status == 200


def by_reset(client: Client) -> None:
    client.leave()


def by_fin(client: Client) -> None:
    client.writer.close()


def by_half_close(client: Client) -> None:
    client.writer.write_eof()


@pytest.mark.parametrize("leave", [by_reset, by_fin, by_half_close])
@pytest.mark.parametrize("behind", [b"", LIVEZ, LIVEZ * 100, b"GET /"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_is_noticed_also_behind_a_pipelined_request(
    yard: Yard, leave: object, behind: bytes, stream: bool
) -> None:
    yard.desk.answer = Held(stream=stream)
    client = await yard.client()
    client.send(LIVEZ)
    await until(lambda: yard.desk.seen)
    client.send(behind)
    await asyncio.sleep(0.005)
    assert callable(leave)
    leave(client)
    await until(lambda: yard.desk.left)
    await until(lambda: (yard.server.connections, yard.server.under_way) == (0, 0))
    assert len(yard.desk.seen) == 1


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_noticed(yard: Yard) -> None:
    client = await yard.client()
    client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
    await until(lambda: yard.desk.seen)
    client.leave()
    await until(lambda: yard.desk.left)


async def test_a_client_that_leaves_after_its_answer_is_none_of_our_business(yard: Yard) -> None:
    client = await yard.client()
    await client.ask(LIVEZ)
    client.leave()
    await until(lambda: yard.server.connections == 0)
    assert yard.desk.left == []


async def test_an_exchange_that_never_ends_its_answer_is_cut(yard: Yard) -> None:
    """A cut is never taken for an end."""

    async def half(exchange: Exchange) -> None:
        exchange.start(200, (), b"text/plain")
        exchange.write(b"half")

    yard.desk.answer = half
    client = await yard.client()
    client.send(LIVEZ)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.told()


async def test_a_stream_is_in_chunks_and_the_connection_goes_on(yard: Yard) -> None:
    async def three(exchange: Exchange) -> None:
        exchange.start(200, ((b"a", b"b"),), b"text/plain")
        for piece in (b"one", b"", b"two", b"three"):
            exchange.write(piece)
            await asyncio.sleep(0)
        exchange.end()

    yard.desk.answer = three
    client = await yard.client()
    for _ in range(2):
        told = await client.ask(LIVEZ)
        assert (told.body, told.headers["a"]) == (b"onetwothree", "b")
        assert told.headers["x-stamp"] == "1"


async def test_a_stream_without_a_piece_is_an_empty_one(yard: Yard) -> None:
    async def empty(exchange: Exchange) -> None:
        exchange.start(200, (), b"text/plain")
        exchange.end()

    yard.desk.answer = empty
    client = await yard.client()
    assert (await client.ask(LIVEZ)).body == b""
    assert (await client.ask(LIVEZ)).body == b""


async def test_a_stream_to_an_old_client_ends_with_the_connection(yard: Yard) -> None:
    async def two(exchange: Exchange) -> None:
        exchange.start(200, (), b"text/plain")
        exchange.write(b"one")
        exchange.write(b"two")
        exchange.end()

    yard.desk.answer = two
    client = await yard.client()
    told = await client.ask(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    assert (told.body, told.headers["connection"]) == (b"onetwo", "close")
    assert "transfer-encoding" not in told.headers


async def test_an_old_client_that_wants_to_stay_is_told_that_it_may(yard: Yard) -> None:
    client = await yard.client()
    for _ in range(2):
        told = await client.ask(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert told.headers["connection"] == "keep-alive"


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
async def test_a_header_of_ours_never_becomes_two(yard: Yard, value: bytes) -> None:
    """A provider's header value goes into an answer; no event loop's client lets one in."""
    caught: list[ValueError] = []

    async def split(exchange: Exchange) -> None:
        try:
            exchange.respond(200, b"", [(b"x-upstream-a", value)])
        except ValueError as error:
            caught.append(error)
            exchange.started = False
            exchange.respond(500, b"")

    yard.desk.answer = split
    client = await yard.client()
    told = await client.ask(LIVEZ)
    assert (told.status, len(caught)) == (500, 1)
    assert "set-cookie" not in told.headers


async def test_large_answers_arrive_whole(yard: Yard) -> None:
    body = bytes(range(256)) * 40_000

    async def large(exchange: Exchange) -> None:
        exchange.respond(200, body)

    yard.desk.answer = large
    client = await yard.client()
    for _ in range(2):
        assert (await client.ask(LIVEZ)).body == body
