"""RetryBudget: how many retries a route's traffic may cause, so that an outage is not made worse.

Theory
------
Retries multiply load just when a provider can bear it least. So they are paid for: every first
attempt deposits `ratio` of a retry, every retry takes one out, a retry after a timeout two (the
provider may still be at work on the first). Deposits and withdrawals are forgotten after `ttl_s`;
`floor_per_s` lets a quiet route retry at all. In any window of `ttl_s` seconds, then:

    withdrawn <= ratio * first attempts + floor_per_s * ttl_s

After Finagle's RetryBudget, whose defaults were 20 %, 10 s and 10/s; 10 % and 1/s bound the
amplification of a total outage to 1.1 times and a constant.

What is charged: every attempt after the first that follows a failure of the provider, on the same
deployment or another. Another one is not free: when all of a route's deployments suffer alike,
going round them is the storm. Not charged: what follows our own refusal (nobody was called), a
full context or a content filter (verdicts on this request, no sign of load).
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

SLOTS: Final = 10
UNIT: Final = 1000
"""Accounts are kept in thousandths of a retry: integers, so that nothing drifts."""


class Retries(Protocol):
    """What a dispatcher asks before it tries again; `now` is the clock's seconds."""

    def deposit(self, now: float) -> None:
        """Count a first attempt."""
        ...

    def allows(self, cost: float, now: float) -> bool:
        """Is there enough for a retry of this cost? A cost of 0 always is."""
        ...

    def spend(self, cost: float, now: float) -> bool:
        """Take `cost` out if there is enough; tell whether."""
        ...


class RetryBudget:
    """A bucket of retries, refilled by traffic. ratio and floor_per_s from 0, ttl_s above 0."""

    __slots__ = ("_floor", "_net", "_ratio", "_slot_s", "_slots", "_ttl_s")

    def __init__(self, ratio: float = 0.1, ttl_s: float = 10.0, floor_per_s: float = 1.0) -> None:
        if ratio < 0 or ttl_s <= 0 or floor_per_s < 0:
            raise ValueError("a RetryBudget needs ratio >= 0, ttl_s > 0 and floor_per_s >= 0")
        self._ratio = round(ratio * UNIT)
        self._ttl_s = ttl_s
        self._floor = round(floor_per_s * ttl_s * UNIT)
        self._slot_s = ttl_s / SLOTS
        self._slots: deque[tuple[int, int]] = deque()
        self._net = 0

    def deposit(self, now: float) -> None:
        self._add(self._ratio, now)

    def allows(self, cost: float, now: float) -> bool:
        self._forget(now)
        return cost <= 0 or self._floor + self._net >= round(cost * UNIT)

    def spend(self, cost: float, now: float) -> bool:
        if not self.allows(cost, now):
            return False
        if cost > 0:
            self._add(-round(cost * UNIT), now)
        return True

    def balance(self, now: float) -> float:
        """Retries that could be made now, at a cost of 1 each."""
        self._forget(now)
        return (self._floor + self._net) / UNIT

    def _add(self, amount: int, now: float) -> None:
        self._forget(now)
        slot = int(now / self._slot_s)
        if self._slots and self._slots[-1][0] == slot:
            amount_before = self._slots.pop()[1]
            self._slots.append((slot, amount_before + amount))
        else:
            self._slots.append((slot, amount))
        self._net += amount

    def _forget(self, now: float) -> None:
        oldest = int(now / self._slot_s) - SLOTS
        while self._slots and self._slots[0][0] <= oldest:
            self._net -= self._slots.popleft()[1]

    def __repr__(self) -> str:
        balance = (self._floor + self._net) / UNIT
        return f"RetryBudget({balance:.1f} left, {self._ratio / UNIT:.0%} over {self._ttl_s:g} s)"


class UnlimitedRetries:
    """A budget that never says no: for tests and for routes bounded by attempts alone."""

    __slots__ = ()

    def deposit(self, now: float) -> None:
        """Count nothing."""

    def allows(self, cost: float, now: float) -> bool:
        return True

    def spend(self, cost: float, now: float) -> bool:
        return True

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final = UnlimitedRetries()
