"""Requests as bytes, spoilt as bytes, and a second parser's word on what they are.

What is sent is one to four good requests on one connection, changed where framing is decided:
line ends, colons, sizes, doubled lines, cuts. It goes out in random pieces.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import h11

SEPARATORS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\r\r\n", b"\x00", b" ", b"\t", b":",
    b",", b";", b"0", b"\r\n ", b"\x0b", b"\x0c", b"\x85", b"\xa0", b"\xff", b"  ",
)  # fmt: skip

LINES = (
    b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: +3", b"Content-Length: 3, 3",
    b"Content-Length: 99999999999999999999", b"Content-Length:\t3", b"Content-Length: 3 ",
    b"Content-Length: -1", b"Content-Length: 0x3", b"Content-Length: 03", b"Content-Length : 3",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: xchunked", b"transfer-encoding:chunked",
    b"Transfer_Encoding: chunked", b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked",
    b"Host: y", b"Host: a b", b"Host:", b"Connection: close", b"Connection: keep-alive",
    b"Connection: upgrade", b"Upgrade: websocket", b"Expect: 100-continue", b"Expect: 200",
    b"X: a\r\n b", b"X: a\r\n\tb", b"X: " + b"a" * 9000, b"X: \x01", b"X: \x7f", b"X\x00: a",
    b"(X): a", b": a", b"X", b"X:", b"\xff: a", b"Trailer: x", b"TE: trailers",
    b"HTTP2-Settings: AAA", b"Proxy-Connection: close",
)  # fmt: skip

STARTS = (
    b"GET  /a HTTP/1.1", b"GET /a  HTTP/1.1", b" GET /a HTTP/1.1", b"GET /a HTTP/1.1 ",
    b"GET /a HTTP/1.2", b"GET /a HTTP/2.0", b"GET /a HTTP/0.9", b"GET /a HTTP/1.0", b"GET /a",
    b"GET /a HTTP/1.10", b"GET /a http/1.1", b"GET /a RTSP/1.0", b"OPTIONS * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1", b"get /a HTTP/1.1", b"GETT /a HTTP/1.1", b"PRI * HTTP/2.0",
    b"GET\t/a\tHTTP/1.1", b"GET /a#b HTTP/1.1", b"GET http://h/a HTTP/1.1", b"GET a HTTP/1.1",
    b"GET /\xff HTTP/1.1", b"GET /%00 HTTP/1.1", b"POST /a HTTP/1.1", b"HEAD /a HTTP/1.1",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1", b"SOURCE /a ICE/1.0", b"DELETE /a HTTP/1.1", b"",
    b"OPTIONS /a RTSP/1.0", b"QUERY /a HTTP/1.1", b"M-SEARCH * HTTP/1.1", b"G\x00T /a HTTP/1.1",
)  # fmt: skip

CHUNKS = (
    b"3\r\nabc\r\n0\r\n\r\n", b"3;x=y\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"03\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX: y\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"4\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"3\r\nabc0\r\n\r\n", b"3\r\nabc\r\n0\r\n",
    b"ffffffffffffffff1\r\nabc", b"3;\r\nabc\r\n0\r\n\r\n", b'3;x="\r\n"\r\nabc\r\n0\r\n\r\n',
    b"3\r\nabc\r\n00000\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    b"3\r\r\nabc\r\n0\r\n\r\n", b"3;\xff\r\nabc\r\n0\r\n\r\n", b"3_0\r\nabc\r\n0\r\n\r\n",
)  # fmt: skip

Lines = list[bytes]


@dataclass(frozen=True)
class Seen:
    """A request as a parser has it."""

    method: str
    target: bytes
    body: bytes


def wild(number: int, seed: int) -> tuple[bytes, list[bytes]]:
    """Make case `number`: its bytes, whole and in pieces. One in ten stays good."""
    rng = random.Random(f"{seed}:{number}")
    data = b"".join(_request(rng, index) for index in range(rng.choice((1, 1, 2, 3, 4))))
    if rng.random() < 0.9:
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
            data = rng.choice(_BY_BYTE)(data, rng)
    return data, _pieces(data, rng)


def _request(rng: random.Random, index: int) -> bytes:
    path = b"/r%d" % index
    start = rng.choice((b"GET %b HTTP/1.1", b"POST %b HTTP/1.1", b"POST %b HTTP/1.1")) % path
    lines = [start, b"Host: x", b"Accept: */*"]
    body = b""
    if start[:4] == b"POST":
        if rng.random() < 0.5:
            body = b"b%d" % index * rng.choice((1, 2, 30))
            lines.append(b"Content-Length: %d" % len(body))
        else:
            body = rng.choice(CHUNKS[:1] * 20 + CHUNKS)
            lines.append(b"Transfer-Encoding: chunked")
    if rng.random() < 0.25:
        rng.choice(_BY_LINE)(lines, rng)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _pieces(data: bytes, rng: random.Random) -> list[bytes]:
    count = rng.choice((0, 0, 0, 1, 2, 6))
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(count))
    found = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [piece for piece in found if piece]


def _add_line(lines: Lines, rng: random.Random) -> None:
    lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(LINES))


def _odd_start(lines: Lines, rng: random.Random) -> None:
    lines[0] = rng.choice(STARTS)


def _twice(lines: Lines, rng: random.Random) -> None:
    lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(lines))


def _drop_line(lines: Lines, rng: random.Random) -> None:
    del lines[rng.randrange(len(lines))]


def _many(lines: Lines, rng: random.Random) -> None:
    lines += [b"x-%d: y" % each for each in range(rng.choice((90, 97, 98, 120)))]


_BY_LINE: tuple[Callable[[Lines, random.Random], None], ...] = (
    _add_line, _add_line, _add_line, _odd_start, _odd_start, _twice, _drop_line, _many,
)  # fmt: skip


def _spot(data: bytes, rng: random.Random) -> int:
    """A place to change: half of the time beside a line's end or a colon."""
    if rng.random() < 0.5:
        found = [at for at, byte in enumerate(data) if byte in b"\r\n: "]
        if found:
            return rng.choice(found) + rng.randint(0, 1)
    return rng.randrange(len(data) + 1)


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _spot(data, rng)
    return data[:at] + rng.choice(SEPARATORS) + data[at:]


def _delete(data: bytes, rng: random.Random) -> bytes:
    at = _spot(data, rng)
    return data[:at] + data[at + rng.choice((1, 1, 2, 9)) :]


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    at = _spot(data, rng)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _spot(data, rng)]


def _bare(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\r\n", b"\n", rng.choice((1, 2, -1)))


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at = _spot(data, rng)
    return data[:at] + data[at : at + 40] + data[at:]


_BY_BYTE: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _insert, _insert, _insert, _delete, _overwrite, _cut, _bare, _repeat,
)  # fmt: skip


def as_h11_has_it(data: bytes) -> tuple[list[Seen], bool]:
    """Return what h11 reads, whole requests only, and whether it found a fault."""
    seen: list[Seen] = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return seen, False
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                seen.append(Seen(request.method.decode(), bytes(request.target), body))
                status = 405 if request.method == b"CONNECT" else 200  # 2xx would be a tunnel
                answer = h11.Response(status_code=status, headers=[(b"content-length", b"0")])
                connection.send(answer)
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return seen, False
                connection.start_next_cycle()
            else:
                return seen, False
    except h11.RemoteProtocolError:
        return seen, True
