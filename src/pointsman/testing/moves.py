"""What a provider does on the wire, as a list of moves: pure, so that it can be cut anywhere.

Theory. A performance is first written down in `Body` pieces, with time (`Wait`) and work
(`Generate`) between them. Faults are then edits of that list: cut it, stall in it, end it early.
`framing.frame` turns `Head` and `Body` into `Send`; wire faults edit those. Only then is anything
performed, by `connection.py` over a socket. A token is billed when its `Generate` is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pointsman.testing.plays import Cut, Hang

MANY_PINGS = 1000


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and headers. `length` of the body in bytes, None for a chunked one."""

    status: int
    headers: Mapping[str, str]
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Body:
    data: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes as they stand on the wire."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Generate:
    """Make `tokens` in `seconds`. A client that leaves in the middle pays for those made."""

    tokens: int
    seconds: float = 0.0
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing for `seconds`, None for ever."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection: by RST, or by FIN in good order."""

    reset: bool


Move: TypeAlias = Head | Body | Send | Wait | Generate | Stall | Close
Moves: TypeAlias = tuple[Move, ...]


def interrupt(moves: Moves, play: Hang | Cut, *, framed: bool, ping: bytes = b"") -> Moves:
    """Put a hang or a cut where it belongs; leave the moves as they are in the other pass.

    1. `at_wire_byte`: only in the framed pass. 2. `at_byte`, `after_tokens`, `after_head` or, of
    none of these, at once: only before framing.
    """
    stop: Move = Stall(play.seconds) if isinstance(play, Hang) else Close(play.how == "rst")
    ends = not isinstance(stop, Stall) or stop.seconds is None
    if framed != (play.at_wire_byte is not None):
        return moves
    if play.at_wire_byte is not None:
        before, after = split_at_byte(moves, play.at_wire_byte, Send)
    elif play.at_byte is not None:
        before, after = split_at_byte(moves, play.at_byte, Body)
    elif play.after_tokens is not None:
        before, after = split_after_tokens(moves, play.after_tokens)
    else:
        before, after = _split_after_head(moves) if play.after_head else ((), moves)
    stops: Moves = (stop,)
    if isinstance(play, Hang) and play.ping_every_s is not None and not framed and before:
        stops = _pinging(play.seconds, play.ping_every_s, ping)
    return (*before, *stops) if ends else (*before, *stops, *after)


def _pinging(seconds: float | None, every_s: float, ping: bytes) -> Moves:
    """Fill a stall with pings; an endless one for the longest time that anybody tests."""
    count = MANY_PINGS if seconds is None else int(seconds / every_s)
    pings: Moves = (Wait(every_s), Body(ping)) * count
    return (*pings, Stall(None if seconds is None else seconds - count * every_s))


def split_at_byte(
    moves: Sequence[Move], position: int, kind: type[Body] | type[Send]
) -> tuple[Moves, Moves]:
    """Part the moves after the first `position` bytes; a position past the end parts nothing."""
    left = position
    for index, move in enumerate(moves):
        if not isinstance(move, kind):
            continue
        if left < len(move.data):
            before = (kind(move.data[:left]),) if left else ()
            return (*moves[:index], *before), (kind(move.data[left:]), *moves[index + 1 :])
        left -= len(move.data)
    return tuple(moves), ()


def split_after_tokens(moves: Sequence[Move], tokens: int) -> tuple[Moves, Moves]:
    """Part the moves once `tokens` are made and sent; more than there are: after the last."""
    left = tokens
    last = 0
    for index, move in enumerate(moves):
        if not isinstance(move, Generate):
            continue
        if left < move.tokens:
            return _split_within(moves, index, move, left)
        left -= move.tokens
        last = index + 1
        if last < len(moves) and isinstance(moves[last], Body):
            last += 1
    return tuple(moves[:last]), tuple(moves[last:])


def _split_within(
    moves: Sequence[Move], index: int, move: Generate, made: int
) -> tuple[Moves, Moves]:
    pace = move.seconds / move.tokens
    first = Generate(made, pace * made, move.reasoning)
    rest = Generate(move.tokens - made, pace * (move.tokens - made), move.reasoning)
    before = (*moves[:index], first) if made else tuple(moves[:index])
    return before, (rest, *moves[index + 1 :])


def _split_after_head(moves: Sequence[Move]) -> tuple[Moves, Moves]:
    for index, move in enumerate(moves):
        if isinstance(move, Head):
            return tuple(moves[: index + 1]), tuple(moves[index + 1 :])
    return tuple(moves), ()


def drip(moves: Sequence[Move], size: int, every_s: float) -> Moves:
    """Let every sent byte take its time, `size` at once."""
    slow: list[Move] = []
    for move in moves:
        if not isinstance(move, Send):
            slow.append(move)
            continue
        for start in range(0, len(move.data), size):
            slow.append(Send(move.data[start : start + size]))
            slow.append(Wait(every_s))
    return tuple(slow)
