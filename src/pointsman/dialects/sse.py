"""Server-sent events, incrementally: bytes in, whole events out, every byte kept.

Theory. An event ends at a blank line; a line ends at LF, CRLF or CR (WHATWG HTML, 9.2.6). The
raw bytes of all events, joined, are exactly what came, so what passes through need not be made
anew. Nearly every provider writes `data: {…}\\n\\n` and nearly every read holds whole events:
that case is one split. All else goes through a buffer that is scanned once, so that 10^5 reads
of one byte cost as little a byte as one read of 10^5.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from pointsman.errors import ProviderFailure

MAX_EVENT_BYTES = 1024 * 1024
"""The largest event a provider may send; no known one sends a tenth of it."""

BOM = b"\xef\xbb\xbf"
_LF = 0x0A
_LINE_END = re.compile(rb"\r\n|\r|\n")


SseEvent: TypeAlias = tuple[bytes, bytes, bytes | None]
"""(raw with its blank line, name, data); data None where no data line was there. A plain tuple:
there is one for every token of every stream."""


class Splitter:
    """Cut a byte stream into events. Feed everything, then call `finish` once."""

    __slots__ = ("_buffer", "_fresh", "_line", "_scan")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._line = 0
        """Where the line that is being read begins."""
        self._scan = 0
        """Before this byte there is no line end that was not seen."""
        self._fresh = True
        """No event yet: a byte order mark may stand before the first."""

    def single(self, data: bytes) -> bytes | None:
        """Return the data of `data` where it is exactly one event of the usual form: `data: …`,
        or `event: …` (not error) and `data: …`, ended by LF LF. None asks for `feed`."""
        end = len(data) - 2
        start = 0
        first = data.find(b"\n")
        if first != end:
            if data[:7] != b"event: " or data[7:12] == b"error":
                return None
            start = first + 1
            if data.find(b"\n", start) != end:
                return None
        if (
            data[start : start + 6] != b"data: "
            or data[-1] != _LF
            or self._fresh
            or self._buffer
            or data.find(b"\r") >= 0
            or end > MAX_EVENT_BYTES
        ):
            return None
        return data[start + 6 : end]

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events that `data` completes.

        Raises ProviderFailure("malformed") for an event above `MAX_EVENT_BYTES`.
        """
        if self._buffer or self._fresh or data[-2:] != b"\n\n" or b"\r" in data:
            return self._feed_slowly(data)
        if len(data) > MAX_EVENT_BYTES:
            return self._feed_slowly(data)
        events: list[SseEvent] = []
        for block in data[:-2].split(b"\n\n"):
            if block[:6] == b"data: " and b"\n" not in block:
                events.append((block + b"\n\n", b"", block[6:]))
            else:
                events.append(parse_event(block + b"\n\n"))
        return events

    def _feed_slowly(self, data: bytes) -> list[SseEvent]:
        buffer = self._buffer
        buffer += data
        events: list[SseEvent] = []
        start = 0
        while found := _LINE_END.search(buffer, self._scan):
            begin, end = found.span()
            if end == len(buffer) and buffer[end - 1] == 0x0D:
                self._scan = begin  # A CR at the edge may be half of a CRLF.
                break
            is_blank = begin == self._line
            self._line = self._scan = end
            if is_blank:
                _refuse_above_limit(end - start)
                events.append(self._event(bytes(buffer[start:end])))
                start = end
        else:
            self._scan = len(buffer)
        if start:
            del buffer[:start]
            self._line -= start
            self._scan -= start
        _refuse_above_limit(len(buffer))
        return events

    def finish(self) -> SseEvent | None:
        """Return what stands after the last blank line, read as an event; None if nothing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._line = self._scan = 0
        return self._event(rest) if rest else None

    def _event(self, raw: bytes) -> SseEvent:
        if self._fresh:
            self._fresh = False
            if raw.startswith(BOM):
                _, name, data = parse_event(raw[len(BOM) :])
                return raw, name, data
        return parse_event(raw)


def parse_event(raw: bytes) -> SseEvent:
    """Read the lines of one event; unknown fields and comments count for nothing."""
    if raw[:7] == b"event: " and raw.count(b"\n") == 3 and b"\r" not in raw:
        first, second, _ = raw.split(b"\n", 2)
        if second[:6] == b"data: ":
            return raw, first[7:], second[6:]
    name = b""
    data: list[bytes] = []
    for line in raw.splitlines():
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    if not data:
        return raw, name, None
    return raw, name, data[0] if len(data) == 1 else b"\n".join(data)


def is_comment(raw: bytes) -> bool:
    """Is a block without data one that every client skips? By the standard an event without data
    is none at all, but the SDKs read its data, and fall over it."""
    return raw[:1] in b":\r\n"


def _refuse_above_limit(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise ProviderFailure(
            "malformed",
            f"an event of the stream is longer than {MAX_EVENT_BYTES} bytes",
            code="upstream_protocol",
        )
