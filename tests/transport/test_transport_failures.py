"""Networks that fail: every way has its fault, and a short body is never taken for a whole one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from pointsman.providers.transport import (
    HttpRequest,
    TransportError,
    TransportLimits,
)

if TYPE_CHECKING:
    from tests.transport.conftest import (
        AiohttpFails,
        Authority,
        FaultOf,
        Kit,
        OpenTransport,
        OpenWire,
        Peer,
    )

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"


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
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    authority: Authority,
    fault_of: FaultOf,
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
    fault_of: FaultOf,
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
    fault_of: FaultOf,
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
    open_wire: OpenWire,
    open_transport: OpenTransport,
    fault_of: FaultOf,
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
