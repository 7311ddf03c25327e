"""Tape: an answer as it goes out, kept so that it can be given again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MOST_BYTES: Final = 1024 * 1024
"""The longest answer that is kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer without what belongs to one exchange: request id, date, connection."""

    status: int
    kind: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_stream: bool

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key == name), b"")


class Tape:
    """What an exchange says; `answer` once it has ended."""

    def __init__(self) -> None:
        self._status = 0
        self._kind = b""
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._is_stream = False
        self.is_ended = False

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]], kind: bytes) -> None:
        self._status, self._headers, self._kind = status, tuple(headers), kind
        self._is_stream = True

    def add(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self.is_too_long:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def end(self) -> None:
        self.is_ended = True

    def whole(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], kind: bytes, body: bytes
    ) -> None:
        self.begin(status, headers, kind)
        self._is_stream = False
        self.add(body)
        self.end()

    @property
    def is_too_long(self) -> bool:
        return self._bytes > MOST_BYTES

    @property
    def answer(self) -> Answer:
        body = b"".join(self._pieces)
        return Answer(self._status, self._kind, self._headers, body, self._is_stream)
