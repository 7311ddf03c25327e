"""What a client may say as HTTP: bytes sent, status told, and whether the connection goes on.

After RFC 9112. Where two readers could take a request in two
ways, it is refused and the connection closed.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
from yard import LIVEZ, Client, connect

from pointsman.gateway import Gateway
from pointsman.server.app import App
from pointsman.server.http import HttpServer

KEY = "sk-raw-0123456789abcdef"
CONFIG = {
    "server": {"keys": [{"key": "env:RAW_KEY", "app": "tests"}], "body_mb": 1},
    "providers": {"oa": {"url": "http://127.0.0.1:9/v1", "dialect": "openai"}},
    "deployments": [{"name": "first", "provider": "oa", "model": "m", "price": "free"}],
    "routes": [{"name": "auto", "deployments": ["first"]}],
}
AUTH = b"authorization: Bearer " + KEY.encode() + b"\r\n"


def get(target: bytes = b"/livez", *lines: bytes, version: bytes = b"1.1") -> bytes:
    head = (b"GET " + target + b" HTTP/" + version, b"Host: x", *lines)
    return b"\r\n".join(head) + b"\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", path: bytes = b"/v1/chat/completions") -> bytes:
    head = (b"POST " + path + b" HTTP/1.1", b"Host: x", AUTH[:-2], *lines)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def sized(body: bytes, *lines: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
    return post(b"Content-Length: %d" % len(body), *lines, body=body, path=path)


CHUNKED = b"Transfer-Encoding: chunked"
KEPT, CLOSED = False, True

CASES: dict[str, tuple[bytes, int, bool]] = {
    # What is well formed.
    "plain": (get(), 200, KEPT),
    "a query": (get(b"/livez?a=b&c=%64"), 200, KEPT),
    "header names in any case": (b"GET /livez HTTP/1.1\r\nHOST: x\r\n\r\n", 200, KEPT),
    "blank lines before": (b"\r\n\r\n" + get(), 200, KEPT),
    "an underscore in a name": (get(b"/livez", b"a_b: c"), 200, KEPT),
    "an empty value": (get(b"/livez", b"a:"), 200, KEPT),
    "bytes above ASCII in a value": (get(b"/livez", b"a: \xc3\xa9\xff"), 200, KEPT),
    "an empty host": (b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n", 200, KEPT),
    "a host with a port": (b"GET /livez HTTP/1.1\r\nHost: a.b:80\r\n\r\n", 200, KEPT),
    "an IPv6 host": (b"GET /livez HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200, KEPT),
    "a header twice": (get(b"/livez", b"accept: a", b"accept: b"), 200, KEPT),
    "an absolute target": (get(b"http://evil.example/livez"), 200, KEPT),
    "an absolute target without a path": (get(b"http://evil.example"), 404, KEPT),
    "close asked for": (get(b"/livez", b"Connection: close"), 200, CLOSED),
    "close among others": (get(b"/livez", b"Connection: te, Close"), 200, CLOSED),
    "1.0": (get(version=b"1.0"), 200, CLOSED),
    "1.0 without a host": (b"GET /livez HTTP/1.0\r\n\r\n", 200, CLOSED),
    "1.0 kept alive": (get(b"/livez", b"Connection: keep-alive", version=b"1.0"), 200, KEPT),
    "a body of no use": (
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        200,
        KEPT,
    ),
    "chunks": (post(CHUNKED, body=b"2\r\n{}\r\n0\r\n\r\n"), 400, KEPT),
    "a chunk extension": (post(CHUNKED, body=b"2;a=b\r\n{}\r\n0\r\n\r\n"), 400, KEPT),
    "trailers": (post(CHUNKED, body=b"2\r\n{}\r\n0\r\na: b\r\n\r\n"), 400, KEPT),
    "Chunked in capitals": (
        post(b"Transfer-Encoding: CHUNKED", body=b"2\r\n{}\r\n0\r\n\r\n"),
        400,
        KEPT,
    ),
    "identity as the body's encoding": (sized(b"{}", b"Content-Encoding: identity"), 400, KEPT),
    # Framing: where does the body end?
    "length and chunks": (
        post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n"),
        400,
        CLOSED,
    ),
    "chunks and length": (post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), 400, CLOSED),
    "two lengths": (post(b"Content-Length: 2", b"Content-Length: 9", body=b"{}"), 400, CLOSED),
    "one length twice": (post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"), 400, CLOSED),
    "a list of lengths": (post(b"Content-Length: 2, 2", body=b"{}"), 400, CLOSED),
    "a length with a sign": (post(b"Content-Length: +2", body=b"{}"), 400, CLOSED),
    "a negative length": (post(b"Content-Length: -2", body=b"{}"), 400, CLOSED),
    "a length in hexadecimal": (post(b"Content-Length: 0x2", body=b"{}"), 400, CLOSED),
    "an empty length": (post(b"Content-Length:", body=b"{}"), 400, CLOSED),
    "a length beyond 64 bits": (post(b"Content-Length: " + b"9" * 30), 400, CLOSED),
    "chunked not last": (post(b"Transfer-Encoding: chunked, gzip"), 400, CLOSED),
    "chunked after another": (post(b"Transfer-Encoding: gzip, chunked"), 501, CLOSED),
    "an unknown coding": (post(b"Transfer-Encoding: xchunked"), 501, CLOSED),
    "identity as a coding": (post(b"Transfer-Encoding: identity"), 501, CLOSED),
    "chunked twice": (post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 400, CLOSED),
    "a coding behind a tab": (post(b"Transfer-Encoding:\x0bchunked"), 400, CLOSED),
    "chunked with a space before the colon": (post(b"Transfer-Encoding : chunked"), 400, CLOSED),
    "chunks in 1.0": (
        b"POST /v1/messages HTTP/1.0\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n",
        400,
        CLOSED,
    ),
    "a chunk that is no number": (post(CHUNKED, body=b"zz\r\n"), 400, CLOSED),
    "a chunk with a sign": (post(CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n"), 400, CLOSED),
    "a chunk with 0x": (post(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"), 400, CLOSED),
    "a chunk beyond 64 bits": (post(CHUNKED, body=b"f" * 17 + b"\r\n"), 400, CLOSED),
    "a chunk longer than it says": (post(CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n"), 400, CLOSED),
    "chunks with bare LF": (post(CHUNKED, body=b"2\n{}\n0\n\n"), 400, CLOSED),
    "a space in a chunk's size": (post(CHUNKED, body=b"2 \r\n{}\r\n0\r\n\r\n"), 400, CLOSED),
    "LF in a chunk's extension": (post(CHUNKED, body=b"2;a\nb\r\n{}\r\n0\r\n\r\n"), 400, CLOSED),
    "a length in the trailers": (
        post(CHUNKED, body=b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"),
        400,
        CLOSED,
    ),
    # Lines: where does a header end?
    "bare LF after the request line": (b"GET /livez HTTP/1.1\nHost: x\r\n\r\n", 400, CLOSED),
    "bare LF after a header": (b"GET /livez HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400, CLOSED),
    "bare LF everywhere": (b"GET /livez HTTP/1.1\nHost: x\n\n", 400, CLOSED),
    "bare LF at the end": (b"GET /livez HTTP/1.1\r\nHost: x\r\n\n", 400, CLOSED),
    "bare CR": (b"GET /livez HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", 400, CLOSED),
    "a folded line": (get(b"/livez", b"a: b", b" c"), 400, CLOSED),
    "a line folded by a tab": (get(b"/livez", b"a: b", b"\tc"), 400, CLOSED),
    "a first line that is folded": (b"GET /livez HTTP/1.1\r\n Host: x\r\n\r\n", 400, CLOSED),
    "a space before the colon": (get(b"/livez", b"a : b"), 400, CLOSED),
    "no colon": (get(b"/livez", b"abc"), 400, CLOSED),
    "no name": (get(b"/livez", b": b"), 400, CLOSED),
    "a space in a name": (get(b"/livez", b"a b: c"), 400, CLOSED),
    "a slash in a name": (get(b"/livez", b"a/b: c"), 400, CLOSED),
    "a name beyond ASCII": (get(b"/livez", b"a\xff: c"), 400, CLOSED),
    "NUL in a name": (get(b"/livez", b"a\0: c"), 400, CLOSED),
    "NUL in a value": (get(b"/livez", b"a: b\0c"), 400, CLOSED),
    "a control character in a value": (get(b"/livez", b"a: b\x01c"), 400, CLOSED),
    "DEL in a value": (get(b"/livez", b"a: b\x7fc"), 400, CLOSED),
    # Who is meant, and who asks?
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400, CLOSED),
    "two hosts": (get(b"/livez", b"Host: y"), 400, CLOSED),
    "the same host twice": (get(b"/livez", b"Host: x"), 400, CLOSED),
    "a path in the host": (b"GET /livez HTTP/1.1\r\nHost: x/admin?\r\n\r\n", 400, CLOSED),
    "a user in the host": (b"GET /livez HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, CLOSED),
    "two hosts in one": (b"GET /livez HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, CLOSED),
    "two authorizations": (sized(b"{}", b"Authorization: Bearer other"), 400, CLOSED),
    "two api keys": (sized(b"{}", b"x-api-key: a", b"X-Api-Key: b"), 400, CLOSED),
    "two content types": (sized(b"{}", b"content-type: a/b", b"content-type: c/d"), 400, CLOSED),
    # The request line.
    "no version": (b"GET /livez\r\n\r\n", 400, CLOSED),
    "0.9 by name": (get(version=b"0.9"), 400, CLOSED),
    "1.2": (get(version=b"1.2"), 505, CLOSED),
    "2.0": (get(version=b"2.0"), 505, CLOSED),
    "3.0": (get(version=b"3.0"), 505, CLOSED),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, CLOSED),
    "a version in small letters": (b"GET /livez http/1.1\r\nHost: x\r\n\r\n", 400, CLOSED),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, CLOSED),
    "an unknown method": (b"FOO /livez HTTP/1.1\r\nHost: x\r\n\r\n", 400, CLOSED),
    "a method in small letters": (b"get /livez HTTP/1.1\r\nHost: x\r\n\r\n", 400, CLOSED),
    "a space in the target": (get(b"/li vez"), 400, CLOSED),
    "a tab in the target": (get(b"/li\tvez"), 400, CLOSED),
    "a control character in the target": (get(b"/li\x01vez"), 400, CLOSED),
    "bytes above ASCII in the target": (get(b"/livez\xc3\xa9"), 400, CLOSED),
    "a fragment": (get(b"/livez#top"), 400, CLOSED),
    "another scheme": (get(b"ftp://x/livez"), 400, CLOSED),
    "a relative target": (get(b"livez"), 400, CLOSED),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404, KEPT),
    "CONNECT": (b"CONNECT a.b:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501, CLOSED),
    "an upgrade": (get(b"/livez", b"Connection: Upgrade", b"Upgrade: websocket"), 501, CLOSED),
    "an upgrade to HTTP/2": (
        sized(b"{}", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"),
        501,
        CLOSED,
    ),
    "an unknown expectation": (sized(b"{}", b"Expect: the-best"), 417, CLOSED),
    # One resource has one name.
    "an encoded path": (get(b"/%6civez"), 404, KEPT),
    "an encoded slash": (get(b"/v1%2fmodels", AUTH[:-2]), 404, KEPT),
    "two slashes": (get(b"//livez"), 404, KEPT),
    "two slashes in the middle": (get(b"/v1//models", AUTH[:-2]), 404, KEPT),
    "a dot": (get(b"/v1/./models", AUTH[:-2]), 404, KEPT),
    "a way up": (get(b"/v1/../livez"), 404, KEPT),
    "a slash at the end": (get(b"/livez/"), 404, KEPT),
    "capitals": (get(b"/LIVEZ"), 404, KEPT),
    "another method": (b"DELETE /livez HTTP/1.1\r\nHost: x\r\n\r\n", 405, KEPT),
    # Sizes.
    "100 headers": (get(b"/livez", *[b"a: b"] * 99), 200, KEPT),
    "101 headers": (get(b"/livez", *[b"a: b"] * 100), 431, CLOSED),
    "30 KB of headers": (get(b"/livez", *[b"a: " + b"b" * 990] * 30), 200, KEPT),
    "33 KB of headers": (get(b"/livez", *[b"a: " + b"b" * 990] * 34), 431, CLOSED),
    "one header of 40 KB": (get(b"/livez", b"a: " + b"b" * 40_000), 431, CLOSED),
    "a name that never ends": (b"GET /livez HTTP/1.1\r\n" + b"a" * 60_000, 431, CLOSED),
    "blank lines without end": (b"\r\n" * 30_000, 431, CLOSED),
    "a target of 8 KB": (get(b"/livez?" + b"a" * 8185), 200, KEPT),
    "a longer target": (get(b"/livez?" + b"a" * 8186), 414, CLOSED),
    "101 trailers": (
        post(CHUNKED, body=b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 101 + b"\r\n"),
        431,
        CLOSED,
    ),
    "an extension that never ends": (post(CHUNKED, body=b"2;" + b"a" * 200_000), 431, CLOSED),
    "a length above the limit": (post(b"Content-Length: 99999999"), 413, CLOSED),
    "chunks above the limit": (
        post(CHUNKED, body=b"200000\r\n" + b" " * 0x200000),
        413,
        CLOSED,
    ),
    "a compressed body": (sized(b"\x1f\x8b", b"Content-Encoding: gzip"), 415, KEPT),
    # Bodies (the rest of it is in tests/e2e/test_bad_input.py).
    "a broken body": (sized(b"{"), 400, KEPT),
    "depth": (sized(b'{"a":' * 1000 + b"1" + b"}" * 1000), 400, KEPT),
    "not UTF-8": (sized(b'{"model":"\xff"}'), 400, KEPT),
    "a key twice": (sized(b'{"model":"a","model":"b"}'), 400, KEPT),
    "no key": (b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 401, KEPT),
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    gateway = Gateway.from_config(CONFIG, env={"RAW_KEY": KEY})
    async with gateway:
        server = HttpServer(App(gateway), gateway.settings.server, counting=gateway.metrics)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await server.start([listener])
            yield listener.getsockname()[1]
            await server.close()


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    client = await connect(port)
    yield client
    client.leave()


@pytest.mark.parametrize("name", CASES)
async def test_raw_bytes_have_one_answer(client: Client, port: int, name: str) -> None:
    data, status, closed = CASES[name]
    told = await client.ask(data)
    assert told.status == status, told.body
    assert told.headers["x-pointsman-request-id"].startswith("req_")
    assert told.headers["x-pointsman-generation"]
    assert (told.headers.get("connection") == "close") == closed
    if status >= 400:
        assert set(told.json["error"]) >= {"message", "type"}
        assert told.json["request_id"] == told.headers["x-pointsman-request-id"]
        assert told.headers["x-should-retry"] == "false"
        assert KEY not in told.body.decode()
    if closed:
        assert await client.is_closed()
    else:
        assert (await client.ask(LIVEZ)).status == 200
    other = await connect(port)
    assert (await other.ask(LIVEZ)).status == 200
    other.leave()


def test_the_list_is_long_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    ("path", "shape"),
    [(b"/v1/messages", "error"), (b"/v1/messages/x", "error"), (b"/v1/chat/completions", None)],
)
async def test_what_is_no_http_is_told_in_the_shape_of_its_path(
    client: Client, path: bytes, shape: str | None
) -> None:
    told = await client.ask(post(b"Content-Length: 2", b"Content-Length: 3", path=path))
    assert (told.status, told.json.get("type")) == (400, shape)


async def test_a_method_that_is_not_taken_is_told_which_is(client: Client) -> None:
    told = await client.ask(b"GET /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (told.status, told.headers["allow"]) == (405, "POST")


async def test_head_is_get_without_its_body(client: Client) -> None:
    client.send(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n" + LIVEZ)
    head = await client.told(head_only=True)
    whole = await client.told()
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert whole.body == b'{"status":"alive"}'


async def test_the_configuration_that_answers_is_named_and_the_date(client: Client) -> None:
    told = await client.ask(LIVEZ)
    assert told.headers["date"].endswith("GMT")


@pytest.mark.parametrize("name", ["plain", "two lengths", "chunks", "33 KB of headers"])
async def test_bytes_that_come_one_by_one_are_told_the_same(client: Client, name: str) -> None:
    data, status, _ = CASES[name]
    for place in range(0, len(data), 1 if len(data) < 1000 else 997):
        client.send(data[place : place + (1 if len(data) < 1000 else 997)])
        await client.writer.drain()
    assert (await client.told()).status == status
