"""Read HTTP/1.1 requests out of bytes; no I/O. Enough for honest clients, strict with the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HEAD_BYTES = 256 * 1024
BODY_BYTES = 256 * 1024 * 1024


class BadHttp(Exception):
    """Bytes that are no HTTP request; the message says what was wrong."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """`headers` names in lower case, repeated ones joined by ", "."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keeps_alive(self) -> bool:
        words = self.headers.get("connection", "").lower()
        return "close" not in words and (self.version == "HTTP/1.1" or "keep-alive" in words)


@dataclass(frozen=True, slots=True)
class WireRequest:
    head: RequestHead
    body: bytes


class RequestReader:
    """Collect bytes; hand out requests as they become whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._body = bytearray()
        self.head: RequestHead | None = None
        """The head of a request whose body is still coming."""

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def body_bytes(self) -> int:
        """Bytes of the unfinished request's body that have come."""
        return len(self._body) + (len(self._buffer) if self.head is not None else 0)

    def next_request(self) -> WireRequest | None:
        """Return a whole request, or None until more bytes come. Raises BadHttp."""
        if self.head is None and not self._take_head():
            return None
        head = self.head
        if head is None or not self._take_body(head):
            return None
        request = WireRequest(head, bytes(self._body))
        self._body.clear()
        self.head = None
        return request

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise BadHttp(f"a head of more than {HEAD_BYTES} bytes")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise BadHttp(f"not a request line: {lines[0][:80]!r}")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadHttp(f"not a header line: {line[:80]!r}")
            key = name.lower()
            value = value.strip()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        self.head = RequestHead(words[0], words[1], words[2], headers)
        return True

    def _take_body(self, head: RequestHead) -> bool:
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._take_chunks()
        stated = head.headers.get("content-length", "0")
        if not stated.isdigit():
            raise BadHttp(f"not a content length: {stated[:40]!r}")
        length = int(stated)
        if length > BODY_BYTES:
            raise BadHttp(f"a body of more than {BODY_BYTES} bytes")
        if len(self._buffer) < length:
            return False
        self._body += self._buffer[:length]
        del self._buffer[:length]
        return True

    def _take_chunks(self) -> bool:
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return False
            try:
                size = int(bytes(self._buffer[:end]).partition(b";")[0], 16)
            except ValueError as error:
                raise BadHttp("not a chunk size") from error
            whole = end + 2 + size + 2
            if len(self._buffer) < whole:
                return False
            self._body += self._buffer[end + 2 : end + 2 + size]
            del self._buffer[:whole]
            if size == 0:
                return True
