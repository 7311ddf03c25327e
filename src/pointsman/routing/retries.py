"""RetryBudget: how many retries traffic may cause, so that an outage is not made worse.

Theory
------
Retries multiply load just when a provider can bear it least. So they are paid for: every first
attempt deposits `ratio` of a retry, every retry takes one out, a retry after a timeout two (the
provider may still be at work on the first). Deposits and withdrawals are forgotten after `ttl_s`;
`floor_per_s` lets a quiet route retry at all. In any window of `ttl_s` seconds, then:

    withdrawn <= ratio * first attempts + floor_per_s * ttl_s

After Finagle's RetryBudget, whose defaults were 20 %, 10 s and 10/s; 10 % and 1/s bound the
amplification of a total outage to 1.1 times and a constant.

Two budgets stand over each retry: that of its tenant and route, so that nobody uses up what others
would need, and everybody's, so that many tenants together are bounded too. Both must allow it.

What is charged: every attempt after the first that follows a failure of the provider, on the same
deployment or another. Another one is not free: when all of a route's deployments suffer alike,
going round them is the storm. Not charged: what follows our own refusal (nobody was called), a
full context or a content filter (verdicts on this request, no sign of load).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, Protocol

SLOTS: Final = 10
UNIT: Final = 1000
"""Accounts are kept in thousandths of a retry: integers, so that nothing drifts."""
MOST_BUDGETS: Final = 1024
"""Budgets kept for tenants and routes; the one unused for longest is forgotten (and starts anew:
everybody's budget bounds what that could give away)."""


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


class RetrySource(Protocol):
    """Where a dispatcher finds the budget of a call."""

    def of(self, tenant: str, route: str) -> Retries: ...


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

    def of(self, tenant: str, route: str) -> RetryBudget:
        """One budget for everybody."""
        return self

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


class TwoBudgets:
    """Two accounts that must both allow a retry, and are both charged."""

    __slots__ = ("_everyone", "_own")

    def __init__(self, own: RetryBudget, everyone: RetryBudget) -> None:
        self._own = own
        self._everyone = everyone

    def deposit(self, now: float) -> None:
        self._own.deposit(now)
        self._everyone.deposit(now)

    def allows(self, cost: float, now: float) -> bool:
        return self._own.allows(cost, now) and self._everyone.allows(cost, now)

    def spend(self, cost: float, now: float) -> bool:
        return self.allows(cost, now) and (
            self._own.spend(cost, now) and self._everyone.spend(cost, now)
        )

    def __repr__(self) -> str:
        return f"TwoBudgets({self._own!r}, all: {self._everyone!r})"


class RetryBudgets:
    """A budget for each (tenant, route), made when first asked for, and one for everybody."""

    __slots__ = ("_each", "_floor_per_s", "_most", "_ratio", "_ttl_s", "everyone")

    def __init__(
        self,
        ratio: float = 0.1,
        ttl_s: float = 10.0,
        floor_per_s: float = 1.0,
        *,
        most: int = MOST_BUDGETS,
    ) -> None:
        self._ratio = ratio
        self._ttl_s = ttl_s
        self._floor_per_s = floor_per_s
        self._most = most
        self._each: OrderedDict[tuple[str, str], TwoBudgets] = OrderedDict()
        self.everyone = RetryBudget(ratio, ttl_s, floor_per_s)

    def of(self, tenant: str, route: str) -> TwoBudgets:
        name = (tenant, route)
        found = self._each.get(name)
        if found is None:
            own = RetryBudget(self._ratio, self._ttl_s, self._floor_per_s)
            found = self._each[name] = TwoBudgets(own, self.everyone)
            if len(self._each) > self._most:
                self._each.popitem(last=False)
        else:
            self._each.move_to_end(name)
        return found

    def __len__(self) -> int:
        return len(self._each)

    def __repr__(self) -> str:
        return f"RetryBudgets({len(self._each)} of tenants and routes, all: {self.everyone!r})"


class UnlimitedRetries:
    """A budget that never says no: for tests and for routes bounded by attempts alone."""

    __slots__ = ()

    def of(self, tenant: str, route: str) -> UnlimitedRetries:
        return self

    def deposit(self, now: float) -> None:
        """Count nothing."""

    def allows(self, cost: float, now: float) -> bool:
        return True

    def spend(self, cost: float, now: float) -> bool:
        return True

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final = UnlimitedRetries()
