"""What the treasury tells: to clients, to alerts, to metrics."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pointsman.domain.budgets import Account, Budget, Unit


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A budget as a client may see it. remaining: what this worker knows to be left. reset_s:
    seconds until the limit is whole again if nobody uses any more, at the latest."""

    budget: Budget
    unit: Unit
    limit: int
    remaining: int
    reset_s: float

    @property
    def name(self) -> str:
        return self.budget.name


class Settled(msgspec.Struct, frozen=True, gc=False):
    """Money was spent. `spent` is what all have spent in the window start to until, as far as this
    worker knows: what others hold leases of counts, so it is rather too much than too little."""

    budget: Budget
    account: Account
    charged: int
    spent: int
    limit: int
    start: float
    until: float


SettleListener = Callable[[Settled], None]

RefusalListener = Callable[[Budget, Account, int], None]
"""Told of a hold that did not fit: into which budget, whose account, what was left of it."""


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """What a budget comes to on this worker. over: what was used beyond what was held and could
    not be made up for from the lease, since the start. idle: leased and not held."""

    budget: str
    unit: Unit
    held: int
    idle: int
    over: int
    denials: int
