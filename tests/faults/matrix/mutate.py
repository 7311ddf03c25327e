"""Good answers, spoilt by chance: flips, drops, doublings, splices, cuts and insertions.

Mutations work on bytes and on events, and are drawn from a seeded generator alone, so that a
number names a case for ever.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Events = list[bytes]

INSERTED = (
    b"\x00", b"\xff", b"\r", b"\n", b"\n\n", b"\r\n\r\n", b'"', b"\\", b"{", b"}", b"[", b"]",
    b":", b",", b"data: ", b"data:\n", b"event: error\n", b": comment\n\n", b"null", b"NaN",
    b"1e999", b"\\ud800", b"\xe2\x82", b"data: [DONE]\n\n", b"data: {}\n\n", b"data: null\n\n",
    b'data: {"error":{"message":"x","type":"server_error"}}\n\n',
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
    b'"choices":null,', b'"delta":7,', b'"type":"message_stop",', b"[" * 2000,
)  # fmt: skip


def mutated(good: bytes, other: bytes, rng: random.Random) -> bytes:
    """Spoil `good` once to four times; `other` is what is spliced in."""
    data = good
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if rng.random() < 0.4:
            events = data.split(b"\n\n")
            rng.choice(_BY_EVENT)(events, other, rng)
            data = b"\n\n".join(events)
        else:
            data = rng.choice(_BY_BYTE)(data, other, rng)
    return data


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """Cut into what might be read at once: anything from single bytes to all of it."""
    if not data:
        return []
    count = rng.choice((0, 0, 1, 3, 12, min(len(data), 80)))
    cuts = sorted(rng.randrange(len(data)) for _ in range(count))
    found = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [piece for piece in found if piece]


def _span(data: bytes, rng: random.Random, most: int = 40) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randint(1, most))


def _flip(data: bytes, other: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _drop(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _double(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:]


def _cut(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _insert(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(INSERTED) + data[place:]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    start, end = _span(other, rng, 200)
    return data[:place] + other[start:end] + data[place:]


def _drop_event(events: Events, other: bytes, rng: random.Random) -> None:
    if events:
        del events[rng.randrange(len(events))]


def _double_event(events: Events, other: bytes, rng: random.Random) -> None:
    if events:
        place = rng.randrange(len(events))
        events.insert(place, events[place])


def _swap_events(events: Events, other: bytes, rng: random.Random) -> None:
    if len(events) > 1:
        place = rng.randrange(len(events) - 1)
        events[place], events[place + 1] = events[place + 1], events[place]


def _cut_events(events: Events, other: bytes, rng: random.Random) -> None:
    del events[rng.randrange(len(events) + 1) :]


def _foreign_event(events: Events, other: bytes, rng: random.Random) -> None:
    events.insert(rng.randrange(len(events) + 1), rng.choice(other.split(b"\n\n")))


_BY_BYTE: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _flip, _flip, _drop, _double, _cut, _insert, _insert, _splice,
)  # fmt: skip
_BY_EVENT: tuple[Callable[[Events, bytes, random.Random], None], ...] = (
    _drop_event, _double_event, _swap_events, _cut_events, _foreign_event,
)  # fmt: skip
