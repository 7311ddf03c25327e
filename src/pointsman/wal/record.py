"""One record of the log, as bytes and back.

    length u32 | crc32 u32 | version u8 | kind u8 | length of the id u8 | epoch u64 | seq u64
    | at f64 | amount i64 | attempt id | tail (msgpack)

All little-endian. `length` and `crc32` are of what follows them. A record counts only whole: where
its length runs past the end or its checksum does not fit, the log ends before it. (CRC-32 as zlib
has it, not Castagnoli's: it is in the standard library, finds every burst of up to 32 bits and all
single flips too, and takes 0.3 µs for a record.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, Literal
from zlib import crc32

import msgspec

VERSION: Final = 1
DISPATCH: Final = 1
SETTLE: Final = 2
VOID: Final = 3
ENTRY: Final = 4

Kind = Literal[1, 2, 3, 4]
"""DISPATCH: a provider is about to be asked. SETTLE: what that has cost. VOID: nothing was sent
after all. ENTRY: the ledger entry of a request."""

_FRAME = struct.Struct("<II")
_HEAD = struct.Struct("<BBBQQdq")
FRAME_BYTES: Final = _FRAME.size
MOST_BYTES: Final = 16 * 1024 * 1024
"""A longer record is none: its length was damaged."""

_pack_frame = _FRAME.pack
_pack_head = _HEAD.pack


class Record(msgspec.Struct, frozen=True, gc=False):
    """`at` is seconds since the epoch; `amount` nano-USD: held by a DISPATCH, charged by a SETTLE.

    `end` is the offset behind it in its segment.
    """

    kind: int
    epoch: int
    seq: int
    at: float
    amount: int
    attempt_id: str
    tail: bytes
    end: int = 0


class Unreadable(Exception):
    """A whole record with a good checksum that this version does not understand."""


def encode(
    kind: Kind, epoch: int, seq: int, at: float, amount: int, attempt_id: str, tail: bytes
) -> bytes:
    """Raises ValueError for an id that is too long or no UTF-8, struct.error for an amount beyond
    64 bits."""
    name = attempt_id.encode()
    if len(name) > 255:
        raise ValueError(f"an attempt's id has at most 255 bytes, not {len(name)}")
    body = _pack_head(VERSION, kind, len(name), epoch, seq, at, amount) + name + tail
    return _pack_frame(len(body), crc32(body)) + body


def records(data: bytes, start: int = 0) -> Iterator[Record]:
    """The whole records from `start` on, up to the first that is not; each says where it ends.

    Raises Unreadable where a newer Pointsman has written.
    """
    view = memoryview(data)
    at, size = start, len(data)
    while size - at >= _FRAME.size + _HEAD.size:
        length, checksum = _FRAME.unpack_from(data, at)
        begin = at + _FRAME.size
        end = begin + length
        if not _HEAD.size <= length <= MOST_BYTES or end > size:
            return
        body = view[begin:end]
        if crc32(body) != checksum:
            return
        version, kind, id_length, epoch, seq, when, amount = _HEAD.unpack_from(body)
        if version != VERSION:
            raise Unreadable(f"version {version} of the log's records, not {VERSION}")
        rest = _HEAD.size + id_length
        attempt_id = str(body[_HEAD.size : rest], "utf-8")
        yield Record(kind, epoch, seq, when, amount, attempt_id, bytes(body[rest:]), end)
        at = end


# Tails.

_encoder = msgspec.msgpack.Encoder()


class DispatchTail(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """parts: (lease, held). note: an encoded `Note`."""

    parts: tuple[tuple[int, int], ...]
    note: bytes


class SettleTail(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """charges: (lease, held, charged)."""

    charges: tuple[tuple[int, int, int], ...]
    exact: bool


_dispatch_tail = msgspec.msgpack.Decoder(DispatchTail).decode
_settle_tail = msgspec.msgpack.Decoder(SettleTail).decode


def dispatch_tail(parts: Sequence[tuple[int, int]], note: bytes) -> bytes:
    return _encoder.encode((parts, note))


def settle_tail(charges: Sequence[tuple[int, int, int]], exact: bool) -> bytes:
    return _encoder.encode((charges, exact))


def read_dispatch(record: Record) -> DispatchTail:
    return _dispatch_tail(record.tail)


def read_settle(record: Record) -> SettleTail:
    return _settle_tail(record.tail)
