"""HTTP/1.1 around a body, right or broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

from pointsman.testing.moves import Body, Close, Head, Move, Moves, Send, Stall
from pointsman.testing.plays import Broken

_FIN = Close(reset=False)
HUGE_HEADER = 100_000
MANY_HEADERS = 500


@dataclass(frozen=True, slots=True)
class _Manner:
    """How one kind of break differs from good HTTP.

    head: edits the rendered head. sized: True forces a Content-Length of the body plus
    `excess`, False forces chunks. plain: neither. after: moves at the very end.
    """

    head: Callable[[bytes], bytes] | None = None
    sized: bool | None = None
    excess: int = 0
    plain: bool = False
    bad_chunk: bool = False
    last_chunk: bool = True
    after: Moves = ()


def frame(moves: Moves, broken: Broken | None = None) -> Moves:
    """Turn heads and bodies into bytes on the wire."""
    if broken is not None and broken.kind == "not_http":
        return (Send(b"220 mail.example ESMTP ready\r\n"), _FIN)
    manner = _MANNERS[broken.kind] if broken is not None else _GOOD
    total = sum(len(move.data) for move in moves if isinstance(move, Body))
    framed: list[Move] = []
    chunked = False
    number = 0
    for move in moves:
        if isinstance(move, Head):
            head = move
            if manner.sized is not None:
                head = replace(move, length=total + manner.excess if manner.sized else None)
            chunked = head.length is None and not manner.plain
            data = render_head(head, chunked=chunked)
            framed.append(Send(manner.head(data) if manner.head else data))
        elif isinstance(move, Body):
            data = move.data
            if chunked:
                size = b"zz" if manner.bad_chunk and not number else b"%x" % len(data)
                data = size + b"\r\n" + data + b"\r\n"
            number += 1
            if data:
                framed.append(Send(data))
        else:
            framed.append(move)
    if _is_open(framed):
        if chunked and manner.last_chunk:
            framed.append(Send(b"0\r\n\r\n"))
        framed.extend(manner.after)
    return tuple(framed)


def render_head(head: Head, *, chunked: bool) -> bytes:
    try:
        phrase = HTTPStatus(head.status).phrase
    except ValueError:
        phrase = "Overloaded" if head.status == 529 else "Status"
    lines = [f"HTTP/1.1 {head.status} {phrase}"]
    lines.extend(f"{name}: {value}" for name, value in head.headers.items())
    if chunked:
        lines.append("transfer-encoding: chunked")
    elif head.length is not None:
        lines.append(f"content-length: {head.length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _is_open(moves: list[Move]) -> bool:
    """True unless the moves already end in a closed connection or an endless stall."""
    if not moves:
        return True
    last = moves[-1]
    return not (isinstance(last, Close) or (isinstance(last, Stall) and last.seconds is None))


def _status_line(data: bytes) -> bytes:
    return b"HTTP/1.1 OK two hundred" + data[data.index(b"\r\n") :]


def _with_lines(lines: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:-2] + lines + b"\r\n"


_GOOD = _Manner()
_MANNERS: Mapping[str, _Manner] = {
    "bad_status_line": _Manner(head=_status_line, after=(_FIN,)),
    "bad_header": _Manner(head=_with_lines(b"this line is no header\r\n"), after=(_FIN,)),
    "length_short": _Manner(sized=True, excess=-10),
    "length_long": _Manner(sized=True, excess=100, after=(_FIN,)),
    "bad_chunk": _Manner(sized=False, bad_chunk=True),
    "no_last_chunk": _Manner(sized=False, last_chunk=False, after=(_FIN,)),
    "length_and_chunked": _Manner(sized=False, head=_with_lines(b"content-length: 5\r\n")),
    "two_lengths": _Manner(sized=True, head=_with_lines(b"content-length: 5\r\n")),
    "garbage_after": _Manner(after=(Send(b"HTTP/1.1 200 OK\r\nx: unasked\r\n\r\n"),)),
    "close_after": _Manner(after=(_FIN,)),
    "huge_header": _Manner(head=_with_lines(b"x-pad: " + b"p" * HUGE_HEADER + b"\r\n")),
    "many_headers": _Manner(
        head=_with_lines(b"".join(b"x-pad-%d: p\r\n" % n for n in range(MANY_HEADERS)))
    ),
    "close_delimited": _Manner(
        plain=True, sized=False, head=_with_lines(b"connection: close\r\n"), after=(_FIN,)
    ),
    "informational": _Manner(
        head=lambda data: b"HTTP/1.1 103 Early Hints\r\nlink: </s>; rel=preload\r\n\r\n" + data
    ),
    "announced_close": _Manner(head=_with_lines(b"connection: close\r\n"), after=(_FIN,)),
}
