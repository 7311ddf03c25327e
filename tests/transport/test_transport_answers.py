"""What goes out, what comes back: both transports against exact bytes."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from pointsman.providers.transport import Endpoint, HttpRequest, TransportError

if TYPE_CHECKING:
    from tests.transport.conftest import Kit, OpenTransport, OpenWire, Peer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_a_request_is_one_head_and_its_body(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers(OK))
    request = wire.post(b'{"a":1}', "/chat?x=%20y", authorization="Bearer k", **{"x-odd": "é"})
    response = await open_transport().send(request)
    assert await response.read() == b"ok"
    head, _, body = wire.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert line == b"POST /v1/chat?x=%20y HTTP/1.1"
    seen = {h.partition(b": ")[0].lower(): h.partition(b": ")[2] for h in headers}
    assert seen.pop(b"host") == f"127.0.0.1:{wire.port}".encode()
    assert seen.pop(b"x-odd") in ("é".encode("latin-1"), "é".encode())
    assert seen == {
        b"accept-encoding": b"identity",
        b"authorization": b"Bearer k",
        b"content-length": b"7",
    }
    assert body == b'{"a":1}'


async def test_a_get_has_no_body(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers(OK))
    request = HttpRequest(wire.endpoint(), "/models", b"", method="GET")
    response = await open_transport().send(request)
    assert await response.read() == b"ok"
    assert wire.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"content-length" not in wire.requests[0].lower()


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        pytest.param(OK, b"ok", id="content-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", id="empty"),
        pytest.param(CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n", b"abc", id="chunked"),
        pytest.param(CHUNKED + b"1\r\na\r\n0\r\nx-end: 1\r\n\r\n", b"a", id="trailers"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="204"),
        pytest.param(b"HTTP/1.1 304 Same\r\ncontent-length: 5\r\n\r\n", b"", id="304"),
        pytest.param(b"HTTP/1.1 200 \r\ncontent-length: 1\r\n\r\na", b"a", id="no reason"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok", id="100"),
        pytest.param(
            b"HTTP/1.1 103 Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK,
            b"ok",
            id="103 and 102",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x00",
            b"\x1f\x8b\x00",
            id="not decompressed",
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_an_answer_is_read_whole_however_it_is_split(
    raw: bytes,
    body: bytes,
    step: int,
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        for start in range(0, len(raw), step):
            await peer.write(raw[start : start + step])
            await asyncio.sleep(0)
        await peer.request()
        await peer.write(OK)
        await peer.closed_by_client()

    wire = await open_wire(play)
    transport = open_transport()
    response = await transport.send(wire.post())
    assert await response.read() == body
    assert "link" not in response.headers
    again = await transport.send(wire.post())
    assert await again.read() == b"ok"
    assert len(wire.peers) == 1


async def test_a_body_without_length_ends_with_the_connection(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.cuts(b"HTTP/1.1 200 OK\r\n\r\nabc"))
    transport = open_transport()
    for _ in range(2):
        response = await transport.send(wire.post())
        assert await response.read() == b"abc"
    assert len(wire.peers) == 2


async def test_header_names_are_lowered_and_repeats_joined(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    raw = (
        b"HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\nX-A: 1\r\nx-a: 2\r\nEmpty:\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    wire = await open_wire(kit.answers(raw))
    response = await open_transport().send(wire.post())
    assert response.status == 429
    assert response.headers == {
        "retry-after": "3",
        "x-a": "1, 2",
        "empty": "",
        "content-length": "0",
    }
    assert await response.read() == b""


async def test_a_redirect_is_an_answer_like_any_other(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    raw = b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    wire = await open_wire(kit.answers(raw))
    response = await open_transport().send(wire.post())
    assert (response.status, await response.read()) == (307, b"")
    assert len(wire.requests) == 1


async def test_cookies_are_not_kept(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    raw = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
    wire = await open_wire(kit.answers(raw, raw))
    transport = open_transport()
    for _ in range(2):
        await (await transport.send(wire.post())).read()
    assert b"cookie" not in wire.requests[1].lower()


async def test_the_environment_names_no_proxy(
    open_wire: OpenWire,
    open_transport: OpenTransport,
    kit: Kit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    wire = await open_wire(kit.answers(OK))
    response = await open_transport().send(wire.post())
    assert await response.read() == b"ok"


async def test_a_stream_is_read_as_it_comes(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    """Each event reaches the reader before the next one is sent; nothing is held back."""
    seen = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED)
        for number in range(5):
            await peer.write(b"8\r\ndata: %d\n\r\n" % number)
            await seen.wait()
            seen.clear()
        await peer.write(b"0\r\n\r\n")
        await peer.closed_by_client()

    wire = await open_wire(play)
    response = await open_transport().send(wire.post())
    events = []
    async with asyncio.timeout(2):
        for _ in range(5):
            events.append(await response.read_some())
            seen.set()
        assert await response.read_some() == b""
        assert await response.read_some() == b""
    assert events == [b"data: %d\n" % number for number in range(5)]


async def test_what_was_read_in_part_is_not_read_again(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED + b"1\r\na\r\n")
        await go_on.wait()
        await peer.write(b"1\r\nb\r\n0\r\n\r\n")
        await peer.closed_by_client()

    go_on = asyncio.Event()
    wire = await open_wire(play)
    response = await open_transport().send(wire.post())
    assert await response.read_some() == b"a"
    go_on.set()
    assert await response.read() == b"b"


async def test_two_hundred_at_once_get_their_own_answers(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            body = (await peer.request()).partition(b"\r\n\r\n")[2]
            await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
            await peer.write(body)

    wire = await open_wire(echo)
    transport = open_transport()

    async def ask(number: int) -> bytes:
        return await (await transport.send(wire.post(b"%d" % number))).read()

    for _ in range(2):
        replies = await asyncio.gather(*(ask(number) for number in range(200)))
        assert replies == [b"%d" % number for number in range(200)]
    assert len(wire.requests) == 400
    assert len(wire.peers) <= 200


async def test_a_large_body_arrives_whole(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    body = bytes(range(256)) * 8192
    wire = await open_wire(kit.answers(OK))
    response = await open_transport().send(wire.post(body))
    assert await response.read() == b"ok"
    assert wire.requests[0].endswith(body)


async def test_an_answer_before_the_body_was_taken_ends_the_connection(
    open_wire: OpenWire, open_transport: OpenTransport
) -> None:
    """What is left of the body would be read as the next request."""

    async def play(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await asyncio.sleep(0.05)
        await peer.closed_by_client()

    wire = await open_wire(play)
    transport = open_transport()
    response = await transport.send(wire.post(bytes(16 * 1024 * 1024)))
    assert response.status == 413
    assert await response.read() == b""
    await transport.close()
    await wire.all_gone()


async def test_an_ipv6_literal_is_dialled(
    open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    try:
        wire = await open_wire(kit.answers(OK), host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    request = HttpRequest(wire.endpoint("[::1]"), "/chat", b"{}")
    assert await (await open_transport().send(request)).read() == b"ok"
    assert f"host: [::1]:{wire.port}".encode() in wire.requests[0].lower()


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"x": "a\r\ny: b"}},
        {"headers": {"x": "a\nb"}},
        {"headers": {"x": "a\x00"}},
        {"headers": {"x": "\N{SNOWMAN}"}},
        {"headers": {"x y": "a"}},
        {"headers": {"x:": "a"}},
        {"headers": {"": "a"}},
        {"headers": {"é": "a"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"host": "other"}},
        {"headers": {"connection": "upgrade"}},
        {"headers": {"expect": "100-continue"}},
        {"headers": {"accept-encoding": "gzip"}},
        {"path": "/a b"},
        {"path": "/a\r\nx: y"},
        {"path": "/a#b"},
        {"path": "/é"},
        {"path": "chat"},
        {"path": ""},
        {"method": "HEAD"},
        {"method": "CONNECT"},
        {"method": "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"},
        {"endpoint": Endpoint("ftp://127.0.0.1")},
        {"endpoint": Endpoint("http://")},
        {"endpoint": Endpoint("http://user:secret@127.0.0.1")},
        {"endpoint": Endpoint("http://127.0.0.1:99999")},
        {"endpoint": Endpoint("http://127.0.0.1/a?b")},
    ],
    ids=str,
)
async def test_a_request_that_could_be_misread_is_not_sent(
    change: dict[str, object], open_wire: OpenWire, open_transport: OpenTransport, kit: Kit
) -> None:
    wire = await open_wire(kit.answers_always(OK))
    request = HttpRequest(**{"endpoint": wire.endpoint(), "path": "/", "body": b"", **change})  # type: ignore[arg-type]
    with pytest.raises(TransportError) as caught:
        await open_transport().send(request)
    assert (caught.value.fault, caught.value.sent) == ("protocol", False)
    assert "secret" not in str(caught.value)
    assert wire.peers == []


async def test_sockets_send_small_writes_at_once(
    open_wire: OpenWire, kit: Kit, open_transport: OpenTransport, kind: str
) -> None:
    if kind == "aiohttp":
        pytest.skip("aiohttp shows no sockets; it sets TCP_NODELAY itself")
    from pointsman.providers.lean import LeanTransport

    wire = await open_wire(kit.answers_always(OK))
    transport = open_transport()
    assert isinstance(transport, LeanTransport)
    await transport.warm(wire.endpoint())
    (pool,) = transport._pools.values()
    (connection,) = pool.live
    assert connection._transport is not None
    sock = connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
