"""Where answers are kept: in memory, bounded in bytes, the least recently used leaving first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from pointsman.cache.kept import Kept, decode, encode
from pointsman.clock import Clock

MOST_ANSWER_BYTES: Final = 1024 * 1024
"""A longer answer is not kept."""
OVERHEAD_BYTES: Final = 300
"""What an entry takes beside its bytes: the key, two dictionary slots, the objects' heads."""


class Answers(Protocol):
    """None of it raises, whatever is wrong with the place: a cache that is down is an empty one."""

    async def take(self, key: bytes) -> Kept | None:
        """The answer to a question, if there is one that still serves."""
        ...

    def keep(self, key: bytes, kept: Kept) -> None:
        """Keep an answer, if it can be; returns at once."""
        ...

    async def close(self) -> None: ...


def encoded(kept: Kept) -> bytes | None:
    """The bytes of an answer, None for one that cannot be kept."""
    try:
        body = encode(kept)
    except (TypeError, ValueError, OverflowError):
        return None
    return body if len(body) <= MOST_ANSWER_BYTES else None


class MemoryAnswers:
    """Satisfy `Answers` for one worker."""

    def __init__(self, clock: Clock, most_bytes: int) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self.bytes = 0

    async def take(self, key: bytes) -> Kept | None:
        return self.find(key)

    def find(self, key: bytes) -> Kept | None:
        found = self._kept.get(key)
        if found is None:
            return None
        body, until = found
        if self._clock.wall() >= until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return decode(body)

    def keep(self, key: bytes, kept: Kept) -> None:
        body = encoded(kept)
        if body is None:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (body, kept.until)
        self.bytes += len(body) + OVERHEAD_BYTES
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        body, _ = self._kept.pop(key)
        self.bytes -= len(body) + OVERHEAD_BYTES

    async def close(self) -> None:
        self._kept.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"MemoryAnswers({len(self)} answers, {self.bytes} bytes)"
