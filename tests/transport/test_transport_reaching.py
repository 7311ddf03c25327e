"""Before a byte of a request has left: names, addresses, connections, TLS."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    TransportLimits,
)

if TYPE_CHECKING:
    from tests.transport.conftest import Authority, FaultOf, Kit, OpenTransport, OpenWire, Peer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


# reaching the provider


async def test_a_closed_port_refuses(
    open_transport: OpenTransport,
    fault_of: FaultOf,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets the port
        endpoint = Endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}")
        error = await fault_of(open_transport(), HttpRequest(endpoint, "/", b""))
    assert (error.fault, error.sent) == ("refused", False)


async def test_a_server_that_takes_no_connection_times_out(
    open_transport: OpenTransport,
    fault_of: FaultOf,
) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        where = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(where)
        limits = TransportLimits(connect_s=0.1, tls_s=0.1)
        request = HttpRequest(Endpoint(f"http://127.0.0.1:{where[1]}"), "/", b"")
        error = await fault_of(open_transport(limits), request)
        for filler in fillers:
            filler.close()
    assert (error.fault, error.sent) == ("connect_timeout", False)


async def test_an_unknown_name_is_a_dns_fault(
    open_transport: OpenTransport,
    fault_of: FaultOf,
) -> None:
    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    request = HttpRequest(Endpoint("http://nowhere.test"), "/", b"")
    error = await fault_of(open_transport(resolve=resolve), request)
    assert (error.fault, error.sent) == ("dns", False)


async def test_a_name_without_addresses_is_a_dns_fault(
    open_transport: OpenTransport,
    fault_of: FaultOf,
) -> None:
    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        return []

    request = HttpRequest(Endpoint("http://nowhere.test"), "/", b"")
    error = await fault_of(open_transport(resolve=resolve), request)
    assert (error.fault, error.sent) == ("dns", False)


async def test_a_resolver_that_hangs_is_given_up(
    open_transport: OpenTransport,
    fault_of: FaultOf,
) -> None:
    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        await asyncio.Event().wait()
        return []

    limits = TransportLimits(connect_s=0.05)
    request = HttpRequest(Endpoint("http://slow.test"), "/", b"")
    error = await fault_of(open_transport(limits, resolve=resolve), request)
    assert (error.fault, error.sent) == ("dns", False)


async def test_the_next_address_is_tried_and_then_preferred(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    asked: list[str] = []

    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        asked.append(host)
        return [(socket.AF_INET, "127.0.0.9"), (socket.AF_INET, "127.0.0.1")]

    close = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    wire = await open_wire(kit.answers_always(close))
    transport = open_transport(resolve=resolve)
    request = HttpRequest(wire.endpoint("two.test", allow_private=True), "/", b"")
    for _ in range(2):
        assert await (await transport.send(request)).read() == b"ok"
    assert asked == ["two.test"]
    assert f"host: two.test:{wire.port}".encode() in wire.requests[0].lower()


# TLS


async def test_a_certificate_of_the_given_authority_is_trusted(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, authority: Authority
) -> None:
    wire = await open_wire(kit.answers_always(OK), tls=authority.server("127.0.0.1", "localhost"))
    transport = open_transport()
    for host in ("127.0.0.1", "localhost", "localhost"):
        endpoint = wire.endpoint(host, "https", ca_file=authority.ca_file)
        assert await (await transport.send(HttpRequest(endpoint, "/", b""))).read() == b"ok"
    assert len(wire.peers) == 2


async def test_a_certificate_must_name_the_host_as_it_was_written(
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    authority: Authority,
    fault_of: FaultOf,
) -> None:
    wire = await open_wire(kit.answers_always(OK), tls=authority.server("localhost"))
    transport = open_transport()
    by_name = wire.endpoint("localhost", "https", ca_file=authority.ca_file)
    assert await (await transport.send(HttpRequest(by_name, "/", b""))).read() == b"ok"
    by_number = wire.endpoint("127.0.0.1", "https", ca_file=authority.ca_file)
    error = await fault_of(transport, HttpRequest(by_number, "/", b""))
    assert (error.fault, error.sent) == ("tls", False)


@pytest.mark.parametrize(
    ("names", "expired", "trusted"),
    [
        pytest.param(["other.test"], False, True, id="wrong name"),
        pytest.param(["127.0.0.1"], True, True, id="expired"),
        pytest.param(["127.0.0.1"], False, False, id="untrusted"),
    ],
)
async def test_a_bad_certificate_is_a_tls_fault(
    names: list[str],
    expired: bool,
    trusted: bool,
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    authority: Authority,
    fault_of: FaultOf,
) -> None:
    wire = await open_wire(kit.answers_always(OK), tls=authority.server(*names, expired=expired))
    endpoint = wire.endpoint(scheme="https", ca_file=authority.ca_file if trusted else None)
    transport = open_transport()
    error = await fault_of(transport, HttpRequest(endpoint, "/", b""))
    assert (error.fault, error.sent) == ("tls", False)
    assert wire.requests == []


async def test_verification_can_be_turned_off(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, authority: Authority
) -> None:
    wire = await open_wire(kit.answers_always(OK), tls=authority.server("other.test"))
    endpoint = wire.endpoint(scheme="https", verify_tls=False)
    response = await open_transport().send(HttpRequest(endpoint, "/", b""))
    assert await response.read() == b"ok"


async def test_a_missing_authority_file_is_a_tls_fault(
    open_transport: OpenTransport,
    fault_of: FaultOf,
) -> None:
    endpoint = Endpoint("https://127.0.0.1:1", ca_file="/nowhere/ca.pem")
    error = await fault_of(open_transport(), HttpRequest(endpoint, "/", b""))
    assert (error.fault, error.sent) == ("tls", False)
    assert "/nowhere/ca.pem" in str(error)


async def test_a_handshake_that_hangs_is_given_up(
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    kind: str,
    fault_of: FaultOf,
) -> None:
    wire = await open_wire(kit.says_nothing)
    limits = TransportLimits(connect_s=0.05, tls_s=0.1)
    request = HttpRequest(wire.endpoint(scheme="https"), "/", b"")
    error = await fault_of(open_transport(limits), request)
    # aiohttp has one bound for both, so it cannot tell them apart
    assert error.fault == ("tls" if kind == "lean" else "connect_timeout")
    assert error.sent is False
    await wire.all_gone()


@pytest.mark.parametrize("way", ["plain", "closes", "resets"])
async def test_a_handshake_that_breaks_is_a_tls_fault(
    way: str,
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kind: str,
    fault_of: FaultOf,
) -> None:
    async def play(peer: Peer) -> None:
        await peer.reader.read(1)
        if way == "plain":
            await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif way == "resets":
            peer.reset()

    wire = await open_wire(play)
    request = HttpRequest(wire.endpoint(scheme="https"), "/", b"")
    error = await fault_of(open_transport(), request)
    # aiohttp does not say in which phase a connection was lost
    assert error.fault in (("tls",) if kind == "lean" else ("tls", "refused", "reset"))
    assert error.sent is (error.fault == "reset")
