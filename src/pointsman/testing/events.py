"""From frames to the bytes of an event stream, straight or odd, with the time between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pointsman.testing.asked import DialectName
from pointsman.testing.canned import STREAM_ERRORS
from pointsman.testing.moves import Body, Generate, Move, Moves, Wait, split_after_tokens
from pointsman.testing.plays import ErrorEvent, Malformed, Truncate
from pointsman.testing.wire import Frame, dump

HUGE = 2 * 1024 * 1024
"""Bytes of the line that is twice what a reader need accept."""
BOM = b"\xef\xbb\xbf"
NESTED = 4000


def stream_moves(
    frames: Iterable[Frame], odd: Malformed | None, *, first_token_s: float, per_token_s: float
) -> Moves:
    """Turn frames into moves: each token is made, then sent."""
    write = _WRITERS.get(odd.kind, _plain) if odd is not None else _plain
    drop_end = odd is not None and odd.kind == "no_done"
    moves: list[Move] = []
    waited = False
    for index, frame in enumerate(frames):
        if drop_end and frame.part == "end":
            continue
        if frame.tokens:
            if not waited and first_token_s:
                moves.append(Wait(first_token_s))
            moves.append(
                Generate(frame.tokens, per_token_s * frame.tokens if waited else 0, frame.reasoning)
            )
            waited = True
        moves.extend(Body(piece) for piece in write(frame, index) if piece)
    if odd is not None and odd.kind == "after_done":
        moves.append(Body(b": bye\n\ndata: {}\n\n"))
    return tuple(moves)


def insert_broken(moves: Moves, odd: Malformed, dialect: DialectName) -> Moves:
    """Put an event that is not the protocol after the stated number of tokens."""
    bad = broken_event(odd.kind, dialect)
    if bad is None:
        return moves
    before, after = split_after_tokens(moves, odd.after_tokens)
    return (*before, Body(bad), *after)


def broken_event(kind: str, dialect: DialectName) -> bytes | None:
    data = _BROKEN.get(kind)
    if data is None:
        return None
    event = b"event: content_block_delta\n" if dialect == "anthropic" else b""
    return event + b"data: " + data() + b"\n\n"


def end_in_error(moves: Moves, play: ErrorEvent, dialect: DialectName) -> Moves:
    """Replace the rest of a stream by an error event."""
    before: Moves = ()
    if play.after_tokens is not None:
        before, _ = split_after_tokens(moves, play.after_tokens)
    frame = Frame(
        dump(STREAM_ERRORS[dialect][play.kind]),
        "finish",
        "error" if dialect == "anthropic" else None,
    )
    ended: Moves = (*before, Body(frame.sse()))
    if play.done:
        ended = (*ended, Body(_END[dialect]))
    return ended


def truncate(moves: Moves, play: Truncate) -> Moves:
    """Drop everything after the stated number of tokens, the protocol's end with it."""
    before, _ = split_after_tokens(moves, play.after_tokens)
    return before


def malformed_whole(body: bytes, kind: str) -> bytes:
    """Do to a whole JSON answer what the kind would do to an event; legal kinds do nothing."""
    change = _WHOLE.get(kind)
    return change(body) if change else body


def _plain(frame: Frame, index: int) -> Iterator[bytes]:
    yield frame.sse()


def _crlf(frame: Frame, index: int) -> Iterator[bytes]:
    yield frame.sse().replace(b"\n", b"\r\n")


def _mixed(frame: Frame, index: int) -> Iterator[bytes]:
    yield frame.sse().replace(b"\n", (b"\n", b"\r\n", b"\r")[index % 3])


def _bom(frame: Frame, index: int) -> Iterator[bytes]:
    yield frame.sse() if index else BOM + frame.sse()


def _comments(frame: Frame, index: int) -> Iterator[bytes]:
    yield b": keep-alive\n\n" + frame.sse()[:-1] + b":\n\n"


def _no_space(frame: Frame, index: int) -> Iterator[bytes]:
    event = b"" if frame.event is None else b"event:" + frame.event.encode() + b"\n"
    yield event + b"data:" + frame.data + b"\n\n"


def _two_lines(frame: Frame, index: int) -> Iterator[bytes]:
    # A line feed between two tokens of JSON is white space, so the joined lines still parse.
    if frame.data.startswith(b"{"):
        yield frame.sse().replace(b"data: {", b"data: {\ndata: ", 1)
    else:
        yield frame.sse()


def _split_utf8(frame: Frame, index: int) -> Iterator[bytes]:
    raw = frame.sse()
    start = 0
    for position, byte in enumerate(raw):
        if byte & 0b1100_0000 == 0b1000_0000:
            yield raw[start:position]
            start = position
    yield raw[start:]


def _unknown(frame: Frame, index: int) -> Iterator[bytes]:
    if frame.event is None:
        yield b'event: of_the_future\ndata: {"object":"of_the_future","choices":[]}\n\n'
    else:
        yield b'event: of_the_future\ndata: {"type":"of_the_future","more":1}\n\n'
    yield frame.sse()


def _id_and_retry(frame: Frame, index: int) -> Iterator[bytes]:
    yield f"id: {index}\nretry: 3000\n".encode() + frame.sse()


_WRITERS: dict[str, Callable[[Frame, int], Iterator[bytes]]] = {
    "crlf": _crlf,
    "mixed_newlines": _mixed,
    "bom": _bom,
    "comments": _comments,
    "no_space": _no_space,
    "two_data_lines": _two_lines,
    "split_utf8": _split_utf8,
    "unknown_event": _unknown,
    "id_and_retry": _id_and_retry,
}

_BROKEN: dict[str, Callable[[], bytes]] = {
    "bad_json": lambda: b'{"choices":[{"index":0,"delta":{"content":"bro',
    "not_utf8": lambda: b'{"choices":[{"index":0,"delta":{"content":"\xff\xfe\xc3"}}]}',
    "wrong_shape": lambda: b"42",
    "huge_line": lambda: b'{"pad":"' + b"x" * HUGE + b'"}',
    "nan": lambda: b'{"choices":[{"index":0,"delta":{},"score":NaN}]}',
    "deep": lambda: b'{"choices":' + b"[" * NESTED + b"]" * NESTED + b"}",
}

_WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "bom": lambda body: BOM + body,
    "bad_json": lambda body: body[:-1],
    "not_utf8": lambda body: body[:-1] + b',"note":"\xff\xfe\xc3"}',
    "wrong_shape": lambda body: b"42",
    "huge_line": lambda body: body[:-1] + b',"pad":"' + b"x" * HUGE + b'"}',
    "nan": lambda body: body[:-1] + b',"score":NaN}',
    "deep": lambda body: body[:-1] + b',"deep":' + b"[" * NESTED + b"]" * NESTED + b"}",
}

PING: dict[DialectName, bytes] = {
    "openai": b": ping\n\n",
    "anthropic": b'event: ping\ndata: {"type":"ping"}\n\n',
}
"""What says that a stream is still alive, and nothing else."""

_END: dict[DialectName, bytes] = {
    "openai": b"data: [DONE]\n\n",
    "anthropic": b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
}
