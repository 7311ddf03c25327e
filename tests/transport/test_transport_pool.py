"""When a connection is used again, when never, and what happens when it was stale."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from pointsman.providers.lean import LeanTransport
from pointsman.providers.transport import HttpRequest, TransportError, TransportLimits

if TYPE_CHECKING:
    from tests.transport.conftest import (
        AiohttpFails,
        Authority,
        Kit,
        OpenTransport,
        OpenWire,
        Peer,
        Wire,
    )

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def ask(transport: object, request: HttpRequest) -> bytes:
    response = await transport.send(request)  # type: ignore[attr-defined]
    body: bytes = await response.read()
    return body


async def test_one_connection_serves_one_request_after_the_other(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport()
    for _ in range(10):
        assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 1


async def test_a_stream_read_to_its_end_gives_the_connection_back(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport()
    for _ in range(3):
        response = await transport.send(wire.post())
        while await response.read_some():
            pass
    assert len(wire.peers) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_server_that_wants_to_close_is_let_go(
    raw: bytes, open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers_always(raw))
    transport = open_transport()
    for _ in range(2):
        assert await ask(transport, wire.post()) == b"ok"
    await wire.all_gone()
    assert [len(peer.requests) for peer in wire.peers] == [1, 1]


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"junk"])
async def test_bytes_after_the_answer_never_answer_the_next_request(
    extra: bytes,
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    aiohttp_fails: AiohttpFails,
) -> None:
    if extra == b"junk":
        aiohttp_fails("the answer before the junk is lost with it")
    wire = await open_wire(kit.answers_always(OK + extra))
    transport = open_transport()
    for _ in range(3):
        assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 3


async def test_bytes_that_nobody_asked_for_close_an_idle_connection(
    open_wire: OpenWire, open_transport: OpenTransport, aiohttp_fails: AiohttpFails
) -> None:
    aiohttp_fails("aiohttp takes them for the answer to the next request")

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await go_on.wait()
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await peer.closed_by_client()

    go_on = asyncio.Event()
    wire = await open_wire(play)
    transport = open_transport()
    assert await ask(transport, wire.post()) == b"ok"
    go_on.set()
    await asyncio.sleep(0.02)
    assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 2


async def test_a_connection_that_closed_while_idle_is_not_used(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.cuts(OK))
    transport = open_transport()
    for _ in range(3):
        assert await ask(transport, wire.post()) == b"ok"
        await wire.all_gone()
        await asyncio.sleep(0.01)
    assert len(wire.peers) == 3


@pytest.mark.parametrize("reset", [False, True])
async def test_a_stale_connection_is_followed_by_a_fresh_one(
    reset: bool, open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    """It looked open, took the request, and closed before any byte of an answer."""

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        if reset:
            peer.reset()

    wire = await open_wire(play, kit.answers_always(OK))
    transport = open_transport()
    for _ in range(3):
        assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers[0].requests) == 2
    assert sum(len(peer.requests) for peer in wire.peers[1:]) == 2


async def test_a_request_that_is_paid_for_is_not_sent_again_unseen(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()

    wire = await open_wire(play)
    transport = open_transport()
    assert await ask(transport, wire.post()) == b"ok"
    with pytest.raises(TransportError) as caught:
        await transport.send(replace(wire.post(), resend=False))
    assert (caught.value.fault, caught.value.sent) == ("reset", True)
    assert len(wire.requests) == 2


async def test_the_fresh_connection_is_not_followed_by_another(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()

    wire = await open_wire(play, kit.cuts(b""))
    transport = open_transport()
    assert await ask(transport, wire.post()) == b"ok"
    with pytest.raises(TransportError) as caught:
        await transport.send(wire.post())
    assert (caught.value.fault, caught.value.sent) == ("reset", True)
    assert len(wire.peers) == 2


async def test_a_first_connection_that_closes_is_not_retried(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.cuts(b""))
    with pytest.raises(TransportError) as caught:
        await open_transport().send(wire.post())
    assert (caught.value.fault, caught.value.sent) == ("reset", True)
    assert len(wire.requests) == 1


@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 200 OK\r\n", OK[:-3]])
async def test_nothing_is_retried_once_an_answer_began(
    part: bytes, open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        await peer.write(part)

    wire = await open_wire(play)
    transport = open_transport()
    assert await ask(transport, wire.post()) == b"ok"
    with pytest.raises(TransportError) as caught:
        await ask(transport, wire.post())
    assert caught.value.fault == "protocol"
    assert len(wire.requests) == 2


async def test_a_provider_that_worked_and_then_fell_is_not_asked_again(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    """Only a loss soon after the writing is a stale connection; later ones may have been billed."""
    clock = [0.0]

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        clock[0] += 5.0

    wire = await open_wire(play)
    transport = open_transport(now=lambda: clock[0])
    assert await ask(transport, wire.post()) == b"ok"
    with pytest.raises(TransportError) as caught:
        await transport.send(wire.post())
    assert (caught.value.fault, caught.value.sent) == ("reset", True)
    assert len(wire.requests) == 2


async def test_a_connection_that_rested_too_long_is_closed(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport(TransportLimits(keep_alive_s=0.05))
    assert await ask(transport, wire.post()) == b"ok"
    await wire.all_gone()
    assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 2


async def test_a_rested_connection_is_not_used_before_the_sweep_either(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, kind: str
) -> None:
    if kind == "aiohttp":
        pytest.skip("aiohttp reads the loop's clock")
    clock = [0.0]
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport(TransportLimits(keep_alive_s=60.0), now=lambda: clock[0])
    assert await ask(transport, wire.post()) == b"ok"
    clock[0] = 59.0
    assert await ask(transport, wire.post()) == b"ok"
    clock[0] = 120.0
    assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 2


async def test_the_connection_used_last_is_used_first(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, kind: str
) -> None:
    if kind == "aiohttp":
        pytest.skip("aiohttp's pool is first in, first out")
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport()
    first = await transport.send(wire.post())
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(ask(transport, wire.post())) for _ in range(3)]
    await first.read()
    assert [task.result() for task in others] == [b"ok"] * 3
    before = [len(peer.requests) for peer in wire.peers]
    for _ in range(5):
        await ask(transport, wire.post())
    grown = [len(p.requests) - n for p, n in zip(wire.peers, before, strict=True)]
    assert sorted(grown)[-1] == 5


async def test_idle_connections_are_bounded(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, kind: str
) -> None:
    if kind == "aiohttp":
        pytest.skip("aiohttp bounds open connections, not idle ones")
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport(TransportLimits(idle_per_origin=2))
    await asyncio.gather(*(ask(transport, wire.post()) for _ in range(6)))
    assert isinstance(transport, LeanTransport)
    assert "2 open, 2 idle" in repr(transport)


async def test_an_aborted_answer_closes_its_connection(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf"
    wire = await open_wire(kit.answers(half), kit.answers_always(OK))
    transport = open_transport()
    response = await transport.send(wire.post())
    assert await response.read_some() == b"half"
    response.abort()
    await wire.all_gone()
    with pytest.raises(TransportError) as caught:
        await response.read_some()
    assert caught.value.fault == "reset"
    response.abort()
    assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 2


async def test_an_old_answer_cannot_touch_the_connection_of_a_new_one(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        await peer.write(OK[:-1])
        await go_on.wait()
        await peer.write(OK[-1:])
        await peer.closed_by_client()

    go_on = asyncio.Event()
    wire = await open_wire(play)
    transport = open_transport()
    old = await transport.send(wire.post())
    assert await old.read() == b"ok"
    new = await transport.send(wire.post())
    old.abort()
    go_on.set()
    assert await new.read() == b"ok"
    assert len(wire.peers) == 1


async def test_warming_opens_the_connection_that_is_used_next(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport()
    await transport.warm(wire.endpoint())
    assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 1


async def test_warming_renews_what_has_rested_for_half_of_its_time(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, kind: str
) -> None:
    if kind == "aiohttp":
        pytest.skip("aiohttp reads the loop's clock")
    clock = [0.0]
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport(TransportLimits(keep_alive_s=60.0), now=lambda: clock[0])
    for at, peers in ((0.0, 1), (29.0, 1), (31.0, 2), (60.0, 2), (62.0, 3)):
        clock[0] = at
        await transport.warm(wire.endpoint())
        assert await has_peers(wire, peers)
    assert await ask(transport, wire.post()) == b"ok"
    assert len(wire.peers) == 3


async def has_peers(wire: Wire, peers: int) -> bool:
    """Has the server seen so many connections? It hears of one a little later than we do."""
    for _ in range(100):
        if len(wire.peers) >= peers:
            break
        await asyncio.sleep(0.005)
    return len(wire.peers) == peers


async def test_endpoints_of_one_origin_share_connections(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport()
    await ask(transport, wire.post())
    endpoint = type(wire.endpoint())(f"http://127.0.0.1:{wire.port}/other/v2/")
    await ask(transport, HttpRequest(endpoint, "/x", b""))
    assert wire.requests[1].startswith(b"POST /other/v2/x HTTP/1.1\r\n")
    assert len(wire.peers) == 1


async def test_other_tls_settings_mean_other_connections(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, authority: Authority
) -> None:
    """What was opened without verification must not carry a request that asks for it."""
    wire = await open_wire(kit.answers_always(OK), tls=authority.server("127.0.0.1"))
    transport = open_transport()
    lax = wire.endpoint(scheme="https", verify_tls=False)
    strict = wire.endpoint(scheme="https", ca_file=authority.ca_file)
    for endpoint in (lax, strict, lax, strict):
        assert await ask(transport, HttpRequest(endpoint, "/", b"")) == b"ok"
    assert len(wire.peers) == 2


async def test_closing_ends_what_waits_and_refuses_what_comes(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(
        kit.answers(OK[:-1]), kit.answers(OK[:-1]), kit.says_nothing, kit.answers_always(OK)
    )
    transport = open_transport()
    unread = await transport.send(wire.post())
    response = await transport.send(wire.post())
    reading = asyncio.create_task(response.read())
    sending = asyncio.create_task(transport.send(wire.post()))
    async with asyncio.timeout(1):
        while len(wire.peers) < 3:
            await asyncio.sleep(0.005)
    assert await ask(transport, wire.post()) == b"ok"
    await transport.close()
    await wire.all_gone()
    async with asyncio.timeout(1):
        for waits in (unread.read(), reading, sending):
            with pytest.raises(TransportError) as caught:
                await waits
            assert caught.value.fault == "reset"
    with pytest.raises(TransportError) as caught:
        await transport.send(wire.post())
    assert caught.value.sent is False
    assert len(wire.peers) == 4


async def test_closing_while_a_connection_is_opened_leaves_none(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, kind: str
) -> None:
    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        asked.set()
        await go_on.wait()
        return [(socket.AF_INET, "127.0.0.1")]

    asked, go_on = asyncio.Event(), asyncio.Event()
    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport(resolve=resolve)
    request = HttpRequest(wire.endpoint("slow.test", allow_private=True), "/", b"")
    sending = asyncio.create_task(transport.send(request))
    await asked.wait()
    await transport.close()
    go_on.set()
    async with asyncio.timeout(2):
        with pytest.raises(TransportError) as caught:
            await sending
    # aiohttp does not say how far it was; that a byte may have left is the safe answer
    assert caught.value.sent is (kind == "aiohttp")
    await wire.all_gone()
    assert wire.requests == []


async def test_closing_during_a_handshake_ends_it(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, aiohttp_fails: AiohttpFails
) -> None:
    aiohttp_fails("a handshake goes on until its bound")
    wire = await open_wire(kit.says_nothing)
    transport = open_transport()
    request = HttpRequest(wire.endpoint(scheme="https"), "/", b"")
    sending = asyncio.create_task(transport.send(request))
    async with asyncio.timeout(0.5):
        while not wire.peers:
            await asyncio.sleep(0.005)
        await transport.close()
        with pytest.raises(TransportError) as caught:
            await sending
    assert caught.value.sent is False
    await wire.all_gone()
