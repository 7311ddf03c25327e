"""Exact counts over the last seconds: what share of attempts succeeds, at any rate of traffic.

An average over time would weigh by arrivals: a tight burst of successes could hide an outage.
"""

from __future__ import annotations

BUCKETS = 10


class Window:
    """Exact counts of successes and failures over the last `seconds`, in ten buckets."""

    __slots__ = ("_buckets", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        self._buckets: list[list[int]] = []  # [index, successes, failures], oldest first

    def add(self, now: float, success: bool) -> None:
        index = int(now / self._width)
        buckets = self._buckets
        if not buckets or buckets[-1][0] != index:
            buckets.append([index, 0, 0])
            while buckets[0][0] <= index - BUCKETS:
                del buckets[0]
        buckets[-1][1 if success else 2] += 1

    def counts(self, now: float) -> tuple[int, int]:
        """Successes and failures."""
        oldest = int(now / self._width) - BUCKETS
        live = [bucket for bucket in self._buckets if bucket[0] > oldest]
        return sum(bucket[1] for bucket in live), sum(bucket[2] for bucket in live)

    def clear(self) -> None:
        self._buckets.clear()
