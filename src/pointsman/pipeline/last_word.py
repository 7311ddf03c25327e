"""A provider's last word on one of its limits, less what was sent since.

Theory. Every answer of most providers says how much is left (dialects/rate_limits.py), so nobody
has to run into a 429 to learn it. But a word is old when it comes: what was sent after it is
subtracted, and what refills is added where the provider refills evenly. A word is believed until
its reset, and never longer than a minute: a wrong one must not keep a deployment out for good.
"""

from __future__ import annotations

import math
from typing import Final

from pointsman.domain.granted import Allowance

LONGEST_S: Final = 60.0
"""A limit a minute is full again after one; our own bound for everybody."""

UNSAID_S: Final = 1.0
"""How long a word without a reset is believed: as long as a 429 without a Retry-After."""


class LastWord:
    """What is left of one limit, in requests or tokens."""

    __slots__ = ("_at", "_holds_s", "_left", "_per_s", "limit", "sent")

    def __init__(self) -> None:
        self.limit: int | None = None
        self.sent = 0.0
        """Since the last word."""
        self._left = math.inf
        self._at = 0.0
        self._holds_s = -math.inf
        self._per_s = 0.0

    def hear(self, said: Allowance, now: float) -> None:
        remaining, limit, reset_s = said.remaining, said.limit, said.reset_s
        # Absurd or empty words are none: no limit, a limit of nothing, a reset that is over.
        if remaining is None or limit == 0 or (reset_s is not None and reset_s <= 0):
            self._holds_s = -math.inf
            return
        self.limit = limit
        self._left = float(remaining)
        self._at = now
        self._holds_s = UNSAID_S if reset_s is None else min(reset_s, LONGEST_S)
        self._per_s = 0.0
        if said.evenly and reset_s is not None and limit is not None and limit > remaining:
            self._per_s = (limit - remaining) / reset_s
        self.sent = 0.0

    def until(self) -> float:
        """The moment, in the clock's seconds, from which it says nothing any more."""
        return self._at + self._holds_s

    def left(self, now: float) -> float:
        """What may still be sent; infinite where nothing is known."""
        past = now - self._at
        if past >= self._holds_s:
            return math.inf
        return self._left - self.sent + self._per_s * past

    def share(self, now: float) -> float:
        """The share in [0, 1] of the limit that is left; 0 where not even one is."""
        left = self.left(now)
        if left < 1.0:
            return 0.0
        return min(1.0, left / self.limit) if self.limit else 1.0

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be sent; 0 where it may be now."""
        missing = amount - self.left(now)
        if missing <= 0:
            return 0.0
        end = self.until() - now
        return min(end, missing / self._per_s) if self._per_s > 0 else end

    def __repr__(self) -> str:
        return f"LastWord({self._left:g} of {self.limit}, {self.sent:g} sent since)"
