"""What the edge of the house does to a call, its provider and the ledger."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from e2e_house import House
from test_streams_end import Held, openai_events

from pointsman.config.settings import ServerSettings
from pointsman.server.app import App
from pointsman.server.http import HttpServer
from pointsman.testing import FakeClock, Hang, Slow

LIMITS = ServerSettings()
HI = [{"role": "user", "content": "hi"}]


def ask(house: House, **fields: object) -> bytes:
    data = json.dumps({"model": "solo", "messages": HI, **fields}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        f"authorization: {house.auth['authorization']}\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    ).encode() + data


def port_of(house: House) -> int:
    return int(house.url.rpartition(":")[2])


@asynccontextmanager
async def by_hand(house: House) -> AsyncIterator[tuple[int, FakeClock]]:
    """A second server on the same gateway, whose clock is moved by hand."""
    clock = FakeClock()
    server = HttpServer(App(house.gateway), LIMITS, clock=clock, counting=house.gateway.metrics)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.start([listener])
        yield listener.getsockname()[1], clock
        await server.close()


@pytest.mark.parametrize("behind", [b"", b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_providers_work_at_once(
    house: House, behind: bytes, stream: bool
) -> None:
    """Also behind a pipelined request; well within the 250 ms of the contract."""
    house.openai.script((Slow(tokens_per_second=20),))
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(house))
    writer.write(ask(house, stream=stream, messages=[{"role": "user", "content": "a " * 100}]))
    if stream:
        await reader.readuntil(b"data: ")
    else:
        async with asyncio.timeout(5):
            while not house.gateway.stacks["first"].meter.in_flight:
                await asyncio.sleep(0.001)
    writer.write(behind)
    await asyncio.sleep(0.01)
    writer.transport.abort()
    async with asyncio.timeout(0.25):
        while house.gateway.stacks["first"].meter.in_flight:
            await asyncio.sleep(0.001)
    (entry,) = await house.told()
    assert (entry.outcome, entry.status, entry.error_code) == ("abandoned", 499, "client_closed")
    assert len(entry.attempts) == 1
    assert entry.attempts[0].usage.input > 0
    if stream:
        assert entry.usage.output > 0
    async with asyncio.timeout(5):
        while not house.openai.journal.calls:
            await asyncio.sleep(0.001)
    assert len(house.ledger.entries) == 1


async def test_a_reader_that_stalls_is_cut_and_accounted(house: House) -> None:
    flood = [next(openai_events("x" * 200_000))] * 100
    async with Held(house, "first", flood), by_hand(house) as (port, clock):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(ask(house, stream=True))
        await reader.readuntil(b"data: ")
        await asyncio.sleep(0.1)
        assert house.gateway.stacks["first"].meter.in_flight == 1
        clock.advance(LIMITS.stall_s + 3)
        (entry,) = await house.told()
        writer.transport.abort()
    assert (entry.status, entry.outcome) == (499, "abandoned")
    assert entry.usage.output > 10_000
    assert house.gateway.stacks["first"].meter.in_flight == 0
    assert 'cut_total{reason="stalled"} 1.0' in house.gateway.metrics.exposition().decode()


async def test_a_call_that_a_shutdown_ends_is_told_503_and_entered_so(house: House) -> None:
    house.openai.script((Hang(),))
    asking = asyncio.create_task(house.chat(model="solo"))
    async with asyncio.timeout(5):
        while not house.gateway.stacks["first"].meter.in_flight:
            await asyncio.sleep(0.001)
    await house.server.finish(0.0)
    got = await asking
    assert (got.status, got.error["code"]) == (503, "draining")
    assert (got.headers["x-should-retry"], got.headers["connection"]) == ("true", "close")
    (entry,) = await house.told()
    assert (entry.status, entry.outcome, entry.error_code) == (503, "rejected", "draining")


async def test_a_mistake_of_ours_is_a_500_that_is_logged(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def trip(self: object, call: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(type(house.gateway), "handle", trip)
    caplog.set_level("ERROR", logger="pointsman")
    got = await house.chat()
    assert (got.status, got.error["code"]) == (500, "internal_error")
    assert "a mistake" not in got.body.decode()
    assert any("crashed" in record.message for record in caplog.records)
    assert (await house.get("/livez")).status == 200


async def test_every_answer_names_its_request_and_its_configuration(house: House) -> None:
    for got in (
        await house.chat(),
        await house.chat(stream=True),
        await house.chat(model="nobody"),
        await house.get("/livez"),
        await house.get("/nowhere"),
    ):
        assert got.headers["x-pointsman-request-id"].startswith("req_")
        assert got.headers["x-pointsman-generation"] == house.gateway.generation
