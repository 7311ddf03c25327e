"""Quantiles of the last few samples, kept sorted so that asking costs a look-up.

Both orders are kept: by age, to know which one leaves, and by value, to know the answer.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

KEPT = 128
"""Samples: a 95th percentile of them is the seventh largest."""

FEWEST = 20
"""Below this a 95th percentile is the largest sample, whatever that was."""


class RecentQuantiles:
    """Quantiles of the last `KEPT` samples, none of them older than `stale_s` seconds."""

    __slots__ = ("_by_age", "_sorted", "stale_s")

    def __init__(self, stale_s: float) -> None:
        self.stale_s = stale_s
        self._by_age: deque[tuple[float, float]] = deque()  # (seconds of the clock, sample)
        self._sorted: list[float] = []

    def add(self, sample: float, now: float) -> None:
        if len(self._by_age) == KEPT:
            self._drop_oldest()
        self._by_age.append((now, sample))
        insort(self._sorted, sample)

    def at(self, q: float, now: float) -> float | None:
        """The value that a share `q` in [0, 1] of the samples do not exceed; None below FEWEST."""
        while self._by_age and now - self._by_age[0][0] > self.stale_s:
            self._drop_oldest()
        count = len(self._sorted)
        return None if count < FEWEST else self._sorted[min(count - 1, int(q * count))]

    def _drop_oldest(self) -> None:
        _, sample = self._by_age.popleft()
        del self._sorted[bisect_left(self._sorted, sample)]

    def __len__(self) -> int:
        return len(self._sorted)
