"""The accounts of a single process, in memory: no ledger, one worker.

The same rules as in a store, without what only several workers need: nobody is ever fenced, and
nothing outlives the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pointsman.budgets.escrow import (
    SOON_S,
    AccountStanding,
    Back,
    Lease,
    Refused,
    Want,
    chunk,
    reopens,
    window_of,
)
from pointsman.clock import Clock
from pointsman.domain.budgets import Account, Budget


class _Part:
    """A lease: what was taken of an account in one slice."""

    __slots__ = ("granted", "is_ended", "lease", "returned", "start", "until", "used")

    def __init__(self, lease: int, start: float, until: float) -> None:
        self.lease = lease
        self.start = start
        self.until = until
        self.granted = 0
        self.returned = 0
        self.used = 0
        self.is_ended = False

    @property
    def counts(self) -> int:
        return self.granted - self.returned


class MemoryEscrow:
    """Satisfy `Escrow` for one worker."""

    is_local = True
    is_logged = False
    lease_s = float("inf")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._accounts: dict[Account, list[_Part]] = {}
        self._leases: dict[int, _Part] = {}

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        now = self._clock.wall()
        amounts = []
        for want in wants:
            parts = self._running(want.budget, want.account, now)
            left = want.budget.limit - sum(part.counts for part in parts)
            passes = want.budget.at_cap == "alert" and want.least > 0
            amount = want.least if left < want.least else chunk(want.budget.unit, left, want)
            if (left < want.least and not passes) or amount <= 0:
                return _refused(want, left, now, parts)
            amounts.append((amount, left))
        return [
            self._granted(want, amount, left, now)
            for want, (amount, left) in zip(wants, amounts, strict=True)
        ]

    def _granted(self, want: Want, amount: int, left: int, now: float) -> Lease:
        start, until = window_of(want.budget).slice_at(now)
        parts = self._accounts[want.account]
        part = next((p for p in parts if p.start == start and not p.is_ended), None)
        if part is None:
            part = _Part(next(self._numbers), start, until)
            parts.append(part)
            self._leases[part.lease] = part
        part.granted += amount
        return Lease(
            id=part.lease,
            account=want.account,
            granted=part.granted,
            returned=part.returned,
            start=start,
            until=until,
            lasts_s=until - now,
            left=left - amount,
        )

    def _running(self, budget: Budget, account: Account, now: float) -> list[_Part]:
        """The parts that count now, oldest first; what has left the window is forgotten."""
        parts = self._accounts.setdefault(account, [])
        since = window_of(budget).since(now)
        if parts and parts[0].start < since:
            for part in parts:
                if part.start < since:
                    del self._leases[part.lease]
            parts[:] = [part for part in parts if part.start >= since]
        return parts

    def give_back(self, parts: Sequence[Back]) -> None:
        for back in parts:
            part = self._leases.get(back.lease)
            if part is None:
                continue
            part.used = max(part.used, back.used)
            part.returned = max(part.returned, back.returned)
            # More was used than was ever granted: what an estimate was too small by.
            part.granted = max(part.granted, part.used + part.returned)
            part.is_ended = part.is_ended or back.ended

    def renew(self) -> bool:
        return True

    def follow(self, budgets: Sequence[Budget]) -> None:
        """Nothing to do: limits are read with every grant."""

    def standing(self, budgets: Sequence[Budget]) -> list[AccountStanding]:
        by_name = {budget.name: budget for budget in budgets}
        now = self._clock.wall()
        found = []
        for account in sorted(self._accounts):
            budget = by_name.get(account[0])
            if budget is None:
                continue
            parts = self._running(budget, account, now)
            spent = sum(part.used for part in parts)
            leased = sum(part.counts - part.used for part in parts)
            window = window_of(budget)
            found.append(
                AccountStanding(
                    budget=account[0],
                    subject=account[1],
                    unit=budget.unit,
                    limit=budget.limit,
                    spent=spent,
                    leased=leased,
                    over=max(0, spent + leased - budget.limit),
                    suspense=0,
                    start=window.since(now),
                    until=window.slice_at(now)[1],
                )
            )
        return found

    def close(self) -> None: ...

    def __repr__(self) -> str:
        return f"MemoryEscrow({len(self._accounts)} accounts)"


def _refused(want: Want, left: int, now: float, parts: Sequence[_Part]) -> Refused:
    if want.budget.unit == "at_once":
        at = now + SOON_S
    else:
        amounts = [(part.start, part.counts) for part in parts]
        at = reopens(want.budget.window, now, amounts, want.least - left)
    return Refused(want.budget, want.account, left, at - now, at)
