"""Purse: the most a whole call may cost, over all attempts, hedges and what else is asked for it.

Theory. Before an attempt its worst case is held; when it ends, what it cost takes the hold's
place. Nothing for one that provably was not billed; for one that failed and may have been billed
nobody will ever say how much, so the whole hold stays. An attempt is started only where its worst
case is at most `left_nano`. So the costs add up to no more than the limit, as long as no provider
reports more than the longest answer it was allowed: that is recorded as it is, said in the log,
and the purse is then empty.

A call without a limit has no purse.
"""

from __future__ import annotations


class Purse:
    """All amounts are nano-USD."""

    __slots__ = ("_held", "_spent", "limit_nano")

    def __init__(self, limit_nano: int) -> None:
        self.limit_nano = limit_nano
        self._held = 0
        self._spent = 0

    @property
    def left_nano(self) -> int:
        """What the next attempt may cost at most."""
        return max(0, self.limit_nano - self._spent - self._held)

    def hold(self, worst_nano: int) -> None:
        """Set aside what an attempt that begins now may cost."""
        self._held += worst_nano

    def settle(self, worst_nano: int, cost_nano: int) -> None:
        """Put what an attempt cost in the place of its hold."""
        self._held -= worst_nano
        self._spent += cost_nano

    def __repr__(self) -> str:
        return f"Purse({self.left_nano} of {self.limit_nano} nano-USD left, {self._held} held)"
