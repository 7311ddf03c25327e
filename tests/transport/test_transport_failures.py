"""Networks that fail: every way has its fault, and a short body is never taken for a whole one."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    Transport,
    TransportError,
    TransportLimits,
)

if TYPE_CHECKING:
    from tests.transport.conftest import AiohttpFails, Authority, Kit, OpenTransport, OpenWire, Peer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"


async def fault_of(
    transport: Transport, request: HttpRequest, within_s: float = 5.0
) -> TransportError:
    """Return how an exchange fails, be it at its head or in its body."""
    async with asyncio.timeout(within_s):
        with pytest.raises(TransportError) as caught:
            await (await transport.send(request)).read()
    return caught.value


# reaching the provider


async def test_a_closed_port_refuses(open_transport: OpenTransport) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets the port
        endpoint = Endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}")
        error = await fault_of(open_transport(), HttpRequest(endpoint, "/", b""))
    assert (error.fault, error.sent) == ("refused", False)


async def test_a_server_that_takes_no_connection_times_out(open_transport: OpenTransport) -> None:
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


async def test_an_unknown_name_is_a_dns_fault(open_transport: OpenTransport) -> None:
    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    request = HttpRequest(Endpoint("http://nowhere.test"), "/", b"")
    error = await fault_of(open_transport(resolve=resolve), request)
    assert (error.fault, error.sent) == ("dns", False)


async def test_a_name_without_addresses_is_a_dns_fault(open_transport: OpenTransport) -> None:
    async def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
        return []

    request = HttpRequest(Endpoint("http://nowhere.test"), "/", b"")
    error = await fault_of(open_transport(resolve=resolve), request)
    assert (error.fault, error.sent) == ("dns", False)


async def test_a_resolver_that_hangs_is_given_up(open_transport: OpenTransport) -> None:
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
    request = HttpRequest(wire.endpoint("two.test"), "/", b"")
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


async def test_a_missing_authority_file_is_a_tls_fault(open_transport: OpenTransport) -> None:
    endpoint = Endpoint("https://127.0.0.1:1", ca_file="/nowhere/ca.pem")
    error = await fault_of(open_transport(), HttpRequest(endpoint, "/", b""))
    assert (error.fault, error.sent) == ("tls", False)
    assert "/nowhere/ca.pem" in str(error)


async def test_a_handshake_that_hangs_is_given_up(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, kind: str
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
    way: str, open_wire: OpenWire, open_transport: OpenTransport, kind: str
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


# answers that are cut

FRAMED = [
    pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\ndata: {}\n\n\n\n", id="length"),
    pytest.param(CHUNKED + b"4\r\ndata\r\n8\r\n: {}\n\n\n\n\r\n0\r\n\r\n", id="chunked"),
    pytest.param(CHUNKED + b"c\r\ndata: {}\n\n\n\n\r\n0\r\nx-t: 1\r\n\r\n", id="trailers"),
]


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("raw", FRAMED)
async def test_an_answer_cut_at_any_byte_is_an_error_or_whole(
    raw: bytes, reset: bool, open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    cut = 0

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(raw[:cut])
        if reset:
            peer.reset()

    wire = await open_wire(play)
    transport = open_transport()
    for cut in range(len(raw) + 1):
        try:
            response = await transport.send(wire.post())
            body = b""
            while some := await response.read_some():
                body += some
        except TransportError as error:
            assert error.fault in ("reset", "protocol")
            assert error.sent is True
            if not reset:
                assert error.fault == ("protocol" if cut else "reset"), cut
        else:
            assert body == b"data: {}\n\n\n\n"
            assert cut == len(raw)


async def test_a_tls_answer_cut_short_is_an_error(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit, authority: Authority
) -> None:
    wire = await open_wire(kit.cuts(OK[:-1]), tls=authority.server("127.0.0.1"))
    endpoint = wire.endpoint(scheme="https", ca_file=authority.ca_file)
    error = await fault_of(open_transport(), HttpRequest(endpoint, "/", b""))
    assert error.fault in ("protocol", "reset")


async def test_a_failed_answer_fails_again_when_read_again(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.cuts(OK[:-1]))
    response = await open_transport().send(wire.post())
    for _ in range(2):
        with pytest.raises(TransportError):
            await response.read()


# answers that are no HTTP, or too much of it

LAX = "aiohttp's client parser is lenient here"


@pytest.mark.parametrize(
    ("raw", "lenient"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", ""),
        (b"<html>\r\n\r\n", ""),
        (b"HTTP/1.1 99 Low\r\ncontent-length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 2000 High\r\ncontent-length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 000 Zero\r\ncontent-length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 999 High\r\ncontent-length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhi", ""),
        (HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", ""),
        (HEAD + b"content-length: -1\r\n\r\n", ""),
        (HEAD + b"content-length: 1, 1\r\n\r\na", ""),
        (HEAD + b"content-length: 99999999999999999999\r\n\r\na", ""),
        (HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        (HEAD + b"transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n0\r\n\r\n", ""),
        (HEAD + b"a : b\r\ncontent-length: 0\r\n\r\n", ""),
        (HEAD + b"a: b\x00c\r\ncontent-length: 0\r\n\r\n", ""),
        (HEAD + b"a: b\r\n c\r\ncontent-length: 0\r\n\r\n", LAX),
        (b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", LAX),
        (CHUNKED + b"zz\r\nab\r\n0\r\n\r\n", ""),
        (CHUNKED + b"-1\r\nab\r\n0\r\n\r\n", ""),
        (CHUNKED + b"fffffffffffffffff\r\nab\r\n0\r\n\r\n", ""),
        (CHUNKED + b"1\r\nabc\r\n0\r\n\r\n", ""),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else "",
)
async def test_what_is_not_http_is_a_protocol_fault(
    raw: bytes,
    lenient: str,
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    kind: str,
    aiohttp_fails: AiohttpFails,
) -> None:
    if lenient:
        aiohttp_fails(lenient)
    wire = await open_wire(kit.answers(raw))
    transport = open_transport()
    error = await fault_of(transport, wire.post())
    assert (error.fault, error.sent) == ("protocol", True)
    if kind == "lean":  # aiohttp may keep a connection whose answer we refused but it did not
        await wire.all_gone()


SMALL = TransportLimits(header_bytes=2048, header_count=20, body_bytes=4096)


@pytest.mark.parametrize(
    ("raw", "unable"),
    [
        pytest.param(HEAD + b"a: b\r\n" * 21 + b"\r\n", "", id="many lines"),
        pytest.param(HEAD + b"a: " + b"b" * 4096 + b"\r\n\r\n", "", id="a long line"),
        pytest.param(HEAD + b"a" * 4096 + b": b\r\n\r\n", "", id="a long name"),
        pytest.param(HEAD + (b"a: " + b"b" * 400 + b"\r\n") * 10 + b"\r\n", "", id="long lines"),
        pytest.param(
            b"HTTP/1.1 103 Hints\r\nlink: <a>\r\n\r\n" * 200,
            "aiohttp reads interim answers for as long as they come",
            id="interim answers without end",
        ),
        pytest.param(CHUNKED + b"0\r\n" + b"a: b\r\n" * 5000, "", id="trailers without end"),
        pytest.param(HEAD + b"content-length: 5000\r\n\r\n", "", id="announced body"),
        pytest.param(CHUNKED + b"400\r\n" + b"a" * 1024 + b"\r\n", "", id="chunk of body"),
        pytest.param(HEAD + b"\r\n" + b"a" * 5000, "", id="body until close"),
    ],
)
async def test_too_much_is_cut_off(
    raw: bytes,
    unable: str,
    open_wire: OpenWire,
    open_transport: OpenTransport,
    aiohttp_fails: AiohttpFails,
) -> None:
    if unable:
        aiohttp_fails(unable)

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(raw)
        while b"a" * 1024 in raw and raw.startswith(CHUNKED):
            await peer.write(raw[len(CHUNKED) :])
        await peer.closed_by_client()

    wire = await open_wire(play)
    transport = open_transport(SMALL)
    error = await fault_of(transport, wire.post(), within_s=0.2 if unable else 5.0)
    assert (error.fault, error.sent) == ("too_large", True)
    await wire.all_gone()


async def test_a_header_line_without_end_is_cut_off_as_it_comes(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(HEAD + b"a: ")
        while True:
            await peer.write(b"b" * 100)
            await asyncio.sleep(0)

    wire = await open_wire(play)
    error = await fault_of(open_transport(SMALL), wire.post())
    assert error.fault == "too_large"


@pytest.mark.slow
async def test_a_slow_reader_holds_the_provider_back(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    size = 48 * 1024 * 1024
    sent = 0

    async def play(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.write(HEAD + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.write(bytes(65536))
            sent += 65536
        await peer.closed_by_client()

    wire = await open_wire(play)
    transport = open_transport(TransportLimits(stream_buffer_bytes=64 * 1024))
    response = await transport.send(wire.post())
    before = -1
    async with asyncio.timeout(5):
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
    assert sent < size // 2  # what is missing has not even been written
    received = largest = 0
    while some := await response.read_some():
        received += len(some)
        largest = max(largest, len(some))
    assert received == size
    assert largest <= 64 * 1024 + 256 * 1024  # the bound and what one read of a loop can bring


@pytest.mark.slow
async def test_a_hundred_thousand_tiny_chunks_cost_linear_time(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    async def play(peer: Peer) -> None:
        while True:
            count = int((await peer.request()).partition(b"\r\n\r\n")[2])
            await peer.write(CHUNKED)
            await peer.write(b"1\r\nx\r\n" * count + b"0\r\n\r\n")

    wire = await open_wire(play)
    transport = open_transport()

    async def cost(count: int) -> float:
        started = time.process_time()
        response = await transport.send(wire.post(b"%d" % count))
        assert len(await response.read()) == count
        return time.process_time() - started

    small = min([await cost(20_000) for _ in range(3)])
    large = min([await cost(100_000) for _ in range(2)])
    assert large < 15 * small  # 5 times is linear, 25 times is not


# cancelling and aborting


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
    request = HttpRequest(wire.endpoint("slow.test"), "/", b"")
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
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers(b"rubbish\r\n\r\n"))
    error = await fault_of(open_transport(), wire.post(authorization="Bearer sk-secret"))
    assert "sk-secret" not in f"{error!r} {error} {error.__cause__!r}"
