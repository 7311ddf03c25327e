"""Escrow: who holds the accounts, and leases parts of them to workers.

Theory. An account that every request on every worker writes to would be the slowest thing in the
house. So a worker takes a part of what is left, *leases* it, and spends it from memory; when half
of it is used it takes more. What is leased counts as gone for everybody else, so no limit is ever
exceeded; what is not used comes back. A part is a fiftieth of what is left and at most a dollar:
near the limit it shrinks to just what is asked for, so little lies idle where somebody needs it.

A lease is of one slice of the budget's window. What is held in a slice stays in it, however late
it is settled. A worker's lease of an account grows by every grant until the worker ends
it: when the slice has ended, at the latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from pointsman.domain.budgets import Account, Budget, Unit
from pointsman.domain.money import NANO
from pointsman.domain.windows import LENGTHS, Window

SHARE: Final = 50
"""A grant is at most this part of what is left, unless more is asked for at once."""
MOST_NANO: Final = NANO
"""One dollar, the most money that is leased ahead of need."""
PLENTY: Final = 1 << 62
"""More than anybody has."""
SOON_S: Final = 1.0
"""When room may come back where nothing says when: a slot, for instance."""


class Want(msgspec.Struct, frozen=True, gc=False):
    """`least` is what is needed, at least that or nothing; `wish` the most that is welcome.
    least 0 is a refill ahead of need."""

    budget: Budget
    account: Account
    least: int
    wish: int


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A worker's part of an account, as it stands after a grant.

    granted and returned are sums since the lease began, so that whoever missed an answer knows
    from the next. start, until: its slice, by the store's clock; lasts_s: how long until then.
    left: what the account has left for others after this grant; negative above the limit.
    """

    id: int
    account: Account
    granted: int
    returned: int
    start: float
    until: float
    lasts_s: float
    left: int


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The first account that has not enough. reopens_in_s: when it may, at the earliest."""

    budget: Budget
    account: Account
    left: int
    reopens_in_s: float
    reopens_at: float


class Back(msgspec.Struct, frozen=True, gc=False):
    """What a worker says of a lease: sums since the lease began, so that saying it twice is the
    same as once. used: what was used up, for what no log tells the store; else 0. ended: nothing
    more is taken from it; the next grant begins another lease."""

    lease: int
    returned: int
    used: int = 0
    ended: bool = False


class AccountStanding(msgspec.Struct, frozen=True, gc=False):
    """An account in its window as the store has it. over: what stands above the limit. suspense:
    the part of `leased` that belongs to workers nobody has heard of. start, until: the window."""

    budget: str
    subject: str
    unit: Unit
    limit: int
    spent: int
    leased: int
    over: int
    suspense: int
    start: float
    until: float

    @property
    def left(self) -> int:
        return max(0, self.limit - self.spent - self.leased)


class Fenced(Exception):
    """The worker was declared dead meanwhile: its leases are gone, it has to begin anew."""


class Escrow(Protocol):
    """Blocking, and used by one thread at a time. Calls raise StorageUnavailable, or Fenced."""

    @property
    def is_local(self) -> bool:
        """Whether calls return at once, so that they need no thread of their own."""
        ...

    @property
    def lease_s(self) -> float:
        """How long a worker may go on that cannot reach the store; infinite where it is memory."""
        ...

    @property
    def is_logged(self) -> bool:
        """Whether money is settled by way of the write-ahead log, not by `Back.used`."""
        ...

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        """Lease for all wants or for none, in the order of their accounts."""
        ...

    def give_back(self, parts: Sequence[Back]) -> None:
        """Take back what workers do not need; unknown and closed leases are passed over."""
        ...

    def renew(self) -> bool:
        """Say that the worker lives. False: it was fenced, all it had is gone; it is new now."""
        ...

    def follow(self, budgets: Sequence[Budget]) -> None:
        """Apply changed limits to the windows that run."""
        ...

    def standing(self, budgets: Sequence[Budget]) -> list[AccountStanding]:
        """All accounts of these budgets in their windows now."""
        ...

    def close(self) -> None: ...


def chunk(unit: Unit, left: int, want: Want) -> int:
    """What to grant of `left`, which covers the want's least."""
    share = left // SHARE
    if unit == "nano_usd":
        share = min(share, MOST_NANO)
    return max(want.least, min(share, want.wish))


def reopens(window: Window, now: float, slices: Iterable[tuple[float, int]], short: int) -> float:
    """When `short` more will be free at the earliest: in a rolling window when enough of the
    oldest slices have left it, given as (start, amount) in their order."""
    if not window.rolling or window.period == "total":
        return window.reopens_at(now)
    start, until = window.slice_at(now)
    length = until - start
    for at, amount in slices:
        short -= amount
        if short <= 0:
            return at + LENGTHS[window.period] + length
    return until


def window_of(budget: Budget) -> Window:
    """Slots have no window: they come back when they are free."""
    return TOTAL if budget.unit == "at_once" else budget.window


TOTAL: Final = Window("total")
