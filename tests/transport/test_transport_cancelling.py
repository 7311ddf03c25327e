"""Cancel an exchange at any of its steps, or abort it: nothing stays open, nothing is mixed up."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from pointsman.providers.transport import (
    HttpRequest,
    TransportError,
)

if TYPE_CHECKING:
    from tests.transport.conftest import FaultOf, Kit, OpenTransport, OpenWire, Peer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"


async def test_cancelling_while_connecting_leaves_nothing_open(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.says_nothing)  # the TLS handshake is never answered
    transport = open_transport()
    request = HttpRequest(wire.endpoint(scheme="https"), "/", b"")
    sending = asyncio.create_task(transport.send(request))
    async with asyncio.timeout(2):
        while not wire.peers:
            await asyncio.sleep(0.005)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await wire.all_gone()


async def test_cancelling_a_look_up_leaves_the_name_askable(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    hangs = asyncio.Event()
    asked = asyncio.Event()

    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        asked.set()
        await hangs.wait()
        return [(socket.AF_INET, "127.0.0.1")]

    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport(resolve=resolve)
    request = HttpRequest(wire.endpoint("slow.test", allow_private=True), "/", b"")
    sending = asyncio.create_task(transport.send(request))
    await asked.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    hangs.set()
    assert await (await transport.send(request)).read() == b"ok"


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 20", HEAD + b"x: y\r\n"])
async def test_cancelling_while_waiting_for_the_head_closes(
    part: bytes, open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers(part), kit.answers_always(OK))
    transport = open_transport()
    sending = asyncio.create_task(transport.send(wire.post()))
    async with asyncio.timeout(2):
        while not wire.requests:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.01)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await wire.all_gone()
    assert await (await transport.send(wire.post())).read() == b"ok"


@pytest.mark.parametrize("whole", [True, False])
async def test_cancelling_while_reading_the_body_closes(
    whole: bool, open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers(CHUNKED), kit.answers_always(OK))
    transport = open_transport()
    response = await transport.send(wire.post())
    reading = asyncio.create_task(response.read() if whole else response.read_some())
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await wire.all_gone()
    assert await (await transport.send(wire.post())).read() == b"ok"


async def test_cancelling_at_any_step_neither_hangs_nor_mixes_answers_up(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    """Let an exchange run n turns of the loop, cancel it, and use the pool again."""

    async def echo(peer: Peer) -> None:
        while True:
            body = (await peer.request()).partition(b"\r\n\r\n")[2]
            await peer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body))
            await asyncio.sleep(0)
            await peer.write(body)

    wire = await open_wire(echo)
    transport = open_transport()

    async def ask(body: bytes) -> bytes:
        return await (await transport.send(wire.post(body))).read()

    for turns in range(30):
        asking = asyncio.create_task(ask(b"cancelled %d" % turns))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        try:
            assert await asking == b"cancelled %d" % turns
        except asyncio.CancelledError:
            pass
        async with asyncio.timeout(2):
            assert await ask(b"next %d" % turns) == b"next %d" % turns


@pytest.mark.parametrize("whole", [True, False])
async def test_aborting_wakes_whoever_reads(
    whole: bool, open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers(CHUNKED))
    response = await open_transport().send(wire.post())
    reading = asyncio.create_task(response.read() if whole else response.read_some())
    await asyncio.sleep(0.01)
    response.abort()
    async with asyncio.timeout(2):
        with pytest.raises(TransportError) as caught:
            await reading
        assert caught.value.fault == "reset"
        await wire.all_gone()


async def test_a_fault_never_shows_a_header(
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    fault_of: FaultOf,
) -> None:
    wire = await open_wire(kit.answers(b"rubbish\r\n\r\n"))
    error = await fault_of(open_transport(), wire.post(authorization="Bearer sk-secret"))
    assert "sk-secret" not in f"{error!r} {error} {error.__cause__!r}"
