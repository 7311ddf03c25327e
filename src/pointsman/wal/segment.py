"""One file of a log: a header that says whose it is and what came before, then records.

magic 8 bytes | length u32 | crc32 u32 | header (msgpack)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from pointsman.wal.record import FRAME_BYTES, Record, records

MAGIC: Final = b"PMLOG\x00\x01\n"
_FRAME = struct.Struct("<II")
ENDING: Final = ".log"
SEARCH_BYTES: Final = 1024 * 1024
"""How far behind a damaged place good records are looked for."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """boot: which start of the machine wrote it; "" where that is not known. previous: the digest
    of the segment before, b"" for the first: SHA-256 over each record's length and checksum, which
    a missing, swapped or altered record would change."""

    worker: str
    boot: str
    number: int
    previous: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)


def encode_header(header: Header) -> bytes:
    body = _encoder.encode(header)
    return MAGIC + _FRAME.pack(len(body), crc32(body)) + body


def decode_header(data: bytes) -> tuple[Header, int] | None:
    """The header and the offset of the first record; None where it is not whole."""
    begin = len(MAGIC) + _FRAME.size
    if len(data) < begin or data[: len(MAGIC)] != MAGIC:
        return None
    length, checksum = _FRAME.unpack_from(data, len(MAGIC))
    body = data[begin : begin + length]
    if len(body) != length or crc32(body) != checksum:
        return None
    return _decoder.decode(body), begin + length


@dataclass(frozen=True, slots=True)
class Segment:
    """What could be read of a file.

    is_torn: something that is no whole record is behind `end`: what a writer was at when it died.
    is_damaged: good records were found behind such a place, or there is no good header: written
    bytes have changed. What is between is lost.
    """

    path: Path
    header: Header | None
    records: tuple[Record, ...]
    end: int
    is_torn: bool
    is_damaged: bool
    digest: bytes


def name_of(number: int) -> str:
    return f"{number:08d}{ENDING}"


def files_of(folder: Path) -> list[Path]:
    """The segments of a log, oldest first."""
    return sorted(folder.glob(f"*{ENDING}"))


def read_segment(path: Path) -> Segment:
    """Read all good records of a file. Raises OSError, Unreadable."""
    data = path.read_bytes()
    opened = decode_header(data)
    if opened is None:
        start = _next_record(data, 0)
        found = tuple(records(data, start))
        end = found[-1].end if found else 0
        return Segment(path, None, found, end, end < len(data), bool(found), b"")
    header, end = opened
    digest = sha256()
    read: list[Record] = []
    is_damaged = False
    while True:
        for record in records(data, end):
            digest.update(data[end : end + FRAME_BYTES])
            end = record.end
            read.append(record)
        after = _next_record(data, end + 1)
        if after == len(data):
            return Segment(
                path, header, tuple(read), end, end < len(data), is_damaged, digest.digest()
            )
        is_damaged, end = True, after


def _next_record(data: bytes, start: int) -> int:
    """Where the next good record begins, looking at most `SEARCH_BYTES` far; else the end."""
    for at in range(start, min(start + SEARCH_BYTES, len(data))):
        if next(records(data, at), None) is not None:
            return at
    return len(data)


def read_all(folder: Path) -> Iterator[Segment]:
    """Every segment, one at a time: a log may be larger than memory."""
    for path in files_of(folder):
        yield read_segment(path)
