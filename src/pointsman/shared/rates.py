"""Rates that are counted in a shared server, and go on without it.

Theory. While the server is well, it counts, for all workers and machines. The moment that it does
not answer in time the worker goes over to what it falls back on: the ledger's store, or, without
one, memory, where it has the share of each limit that is its own among the workers last seen. Each
second the server is asked whether it is back, and then it counts again.

Going over is being *fenced*: all that was leased on one side is gone, tills open anew on the
other, and who waits is asked for there; no request is refused or fails for it. What the windows
hold is not carried over, so across a change a limit holds on each side by itself: at most twice
the limit in the window in which the server is lost or found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from pointsman.budgets.escrow import AccountStanding, Back, Escrow, Fenced, Lease, Refused, Want
from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.clock import Clock
from pointsman.config.settings_money import RedisSettings
from pointsman.domain.budgets import Budget
from pointsman.shared.escrow import RedisEscrow
from pointsman.shared.guard import Guard
from pointsman.store.errors import StorageUnavailable

SIDES: Final = 2
"""Ids of leases: twice the one that a side gave, and which side it was."""


class SharedRates:
    """Satisfy `Escrow` for one worker. `beside` None: its share, in memory."""

    is_local = False
    is_logged = False

    def __init__(self, shared: RedisEscrow, clock: Clock, beside: Escrow | None = None) -> None:
        self.shared = shared
        self.beside: Escrow = MemoryShare(clock, shared) if beside is None else beside
        self.lease_s = min(shared.lease_s, self.beside.lease_s)
        # At the first failure: a request that waits for a hung server waits once.
        self._guard = Guard("rates", clock, streak=1)

    @property
    def is_shared(self) -> bool:
        """Whether the shared server counts now."""
        return self._guard.is_up

    @property
    def _side(self) -> int:
        return 0 if self._guard.is_up else 1

    def renew(self) -> bool:
        """1. shared, and still there; 2. shared, and lost just now; 3. beside, and the server is
        back; 4. beside, as before."""
        if self._guard.is_up:
            try:
                is_known = self.shared.renew()
            except StorageUnavailable as fault:
                self._lost(fault)
                return False
            self._guard.answered()
            return is_known
        if self._guard.is_probe_due():
            try:
                self.shared.renew()
            except StorageUnavailable as fault:
                self._guard.failed(fault)
            else:
                self._guard.answered()
                return False
        return self.beside.renew()

    def _lost(self, fault: StorageUnavailable) -> None:
        cause = fault.__cause__
        self._guard.failed(cause if isinstance(cause, Exception) else fault)
        self.shared.leave()

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        side = self._side
        if side:
            answer = self.beside.grant(wants)
        else:
            try:
                answer = self.shared.grant(wants)
            except StorageUnavailable as fault:
                self._lost(fault)
                raise Fenced from fault
        if isinstance(answer, Refused):
            return answer
        return [replace(lease, id=lease.id * SIDES + side) for lease in answer]

    def give_back(self, parts: Sequence[Back]) -> None:
        side = self._side
        # What was leased on the other side is gone with it.
        mine = [replace(p, lease=p.lease // SIDES) for p in parts if p.lease % SIDES == side]
        if not mine:
            return
        if side:
            self.beside.give_back(mine)
            return
        try:
            self.shared.give_back(mine)
        except StorageUnavailable as fault:
            self._lost(fault)
            raise Fenced from fault

    def follow(self, budgets: Sequence[Budget]) -> None:
        if self._side:
            self.beside.follow(budgets)

    def standing(self, budgets: Sequence[Budget]) -> list[AccountStanding]:
        if self._side:
            return self.beside.standing(budgets)
        return self.shared.standing(budgets)

    def close(self) -> None:
        self.shared.close()
        self.beside.close()

    def __repr__(self) -> str:
        return f"SharedRates({self.beside if self._side else self.shared!r})"


class MemoryShare(MemoryEscrow):
    """Each limit divided by the workers that were there when the shared server was last heard."""

    def __init__(self, clock: Clock, shared: RedisEscrow) -> None:
        super().__init__(clock)
        self._shared = shared

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        answer = super().grant([replace(want, budget=self._share(want.budget)) for want in wants])
        if not isinstance(answer, Refused):
            return answer
        budget = next(want.budget for want in wants if want.account == answer.account)
        return replace(answer, budget=budget)

    def _share(self, budget: Budget) -> Budget:
        return replace(budget, limit=max(1, budget.limit // self._shared.workers))


def rates_of(settings: RedisSettings, clock: Clock, beside: Escrow | None = None) -> SharedRates:
    """What counts rates where a Redis or Valkey is configured for it."""
    return SharedRates(RedisEscrow(settings, clock), clock, beside)
