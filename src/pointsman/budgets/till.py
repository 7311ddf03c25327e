"""Tills: what a worker has of each account, in memory.

A till is a worker's place for one account; a drawer in it is the lease of one slice of the
account's window. A hold is taken from the drawer that is open and settled in that same drawer,
also when the window has turned meanwhile and another is open.

What a drawer has free is `granted - returned - held - spent`. It falls below zero where more was
used than was held; the next grant makes up for it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pointsman.budgets.clerk import Clerk
from pointsman.budgets.escrow import MOST_NANO, PLENTY, SHARE, Back, Lease, Refused
from pointsman.domain.budgets import Account, Budget

SCARCE: Final = 10
"""Of an account with less than this part of its limit left nothing is kept that is not needed."""


class Drawer:
    """A lease as its worker sees it. `ends` is on the monotonic clock; `low`: below this more is
    asked for ahead of need; `left`: what the account had for others after our last grant; `keep`:
    what is free above this goes back at once."""

    __slots__ = (
        "ends",
        "free",
        "granted",
        "held",
        "is_ended",
        "is_told_used",
        "keep",
        "lease",
        "left",
        "low",
        "returned",
        "said",
        "seen",
        "spent",
        "start",
        "till",
        "until",
    )

    def __init__(self, till: Till, lease: int, start: float, until: float) -> None:
        self.till = till
        self.lease = lease
        self.start = start
        self.until = until
        self.ends = float("-inf")
        self.free = 0
        self.held = 0
        self.spent = 0
        self.granted = 0
        self.returned = 0
        self.left = 0
        self.low = -1
        self.keep = PLENTY
        self.is_ended = False
        self.is_told_used = not (till.clerk.is_logged and till.budget.unit == "nano_usd")
        self.said = Back(lease, 0)
        self.seen = (-1, -1, -1)

    def put(self, held: int, charged: int) -> None:
        """Put what was used in the place of what was held."""
        self.free += held - charged
        self.held -= held
        self.spent += charged
        till = self.till
        till.refusal = None
        if self.is_ended:
            self.give_up()
            till.clerk.tell[self] = None
        elif self.free > self.keep:
            self.give_up(self.keep)
            till.clerk.tell[self] = None
            till.clerk.tells = True

    def grow(self, lease: Lease, ends: float) -> None:
        """Learn how the lease stands; a grant whose answer was lost is found again here."""
        before = max(0, self.free)
        self.granted = lease.granted
        self.returned = max(self.returned, lease.returned)
        self.free = self.granted - self.returned - self.held - self.spent
        self.left = lease.left
        self.ends = ends
        self.low = (self.free - before) // 2
        # Where little is left somebody else may be in need of what would lie idle here. Of slots
        # there are few, and one that is free is of use to somebody at once.
        budget = self.till.budget
        is_scarce = self.left * SCARCE < budget.limit or budget.unit == "at_once"
        is_scarce = is_scarce and (self.left < 0 or not self.till.clerk.is_local)
        self.keep = self.share if is_scarce else PLENTY

    @property
    def share(self) -> int:
        """What may lie idle: as much as would be leased ahead of need."""
        share = max(0, self.left) // SHARE
        return min(share, MOST_NANO) if self.till.budget.unit == "nano_usd" else share

    def give_up(self, keep: int = 0) -> None:
        """Set aside what is free, to be told to the escrow."""
        if self.free > keep:
            self.returned += self.free - keep
            self.left += self.free - keep
            self.free = keep
        self.low = -1

    def is_idle(self) -> bool:
        """Whether nothing has happened in it since this was last asked."""
        was, self.seen = self.seen, (self.held, self.spent, self.granted)
        return was == self.seen

    def told(self) -> Back | None:
        """What the escrow does not know yet, None if nothing."""
        # What is still held counts as leased, so of what is used only the settled part is told.
        used = self.spent if self.is_told_used else 0
        back = Back(self.lease, self.returned, used, self.is_ended)
        return None if back == self.said else back


class Refusal:
    """What an account was last refused for: whoever needs more than it had need not ask again."""

    __slots__ = ("left", "refused", "until")

    def __init__(self, refused: Refused, until: float) -> None:
        self.refused = refused
        self.left = refused.left
        self.until = until


class Till:
    """One worker's place for one account."""

    __slots__ = ("account", "budget", "clerk", "drawer", "refusal", "waiters")

    def __init__(self, budget: Budget, account: Account, clerk: Clerk) -> None:
        self.budget = budget
        self.account = account
        self.clerk = clerk
        self.drawer = self.shut()
        self.waiters = 0
        """Requests in line that are short of this account: nobody may pass them."""
        self.refusal: Refusal | None = None

    def shut(self) -> Drawer:
        """A drawer with nothing in it, that has ended."""
        return Drawer(self, 0, 0.0, 0.0)

    def open_at(self, now: float) -> int:
        """What is free here; below zero where more was used than was held."""
        return self.drawer.free if now < self.drawer.ends else 0

    def known_left(self, now: float) -> int:
        """What is left for us as far as is known: the whole of a window that nobody has asked."""
        drawer = self.drawer
        if not drawer.lease or now >= drawer.ends:
            left = self.budget.limit if self.refusal is None else self.refusal.left
            return max(0, left)
        return max(0, drawer.left) + max(0, drawer.free)

    def whole_in_s(self, now: float, wall: float) -> float:
        """In how many seconds the limit is whole again if nobody uses any more; slots may be at
        any time. Of a rolling window that is when the slice of now has left it: rather too late,
        since others may have used some of it just now."""
        budget, drawer = self.budget, self.drawer
        if budget.unit == "at_once":
            return 0.0
        is_known = drawer.lease and now < drawer.ends
        if budget.window.rolling and is_known and self.known_left(now) >= budget.limit:
            return 0.0
        # Its lease says when the slice ends: to ask the calendar takes ten times all of the rest.
        is_open = drawer.lease and drawer.start <= wall < drawer.until
        until = drawer.until if is_open else budget.window.slice_at(wall)[1]
        return max(0.0, until + budget.window.lingers_s - wall)

    def spent(self, drawer: Drawer) -> int:
        """What everybody has spent in the drawer's window as far as is known here. What others
        have leased counts as spent, so it is rather too much, by a fiftieth a worker at most."""
        ours = max(0, drawer.free) + drawer.held
        return max(drawer.spent, self.budget.limit - drawer.left - ours)

    def __repr__(self) -> str:
        drawer = self.drawer
        return f"Till({self.account}, {drawer.free} free, {drawer.held} held)"


STRICT: Final = 0
EXPECTED: Final = 1
ONE: Final = 2
TOKENS: Final = 3

Plan = tuple[tuple[Till, int], ...]
"""The tills of a request, and which of its four amounts each is asked for."""
Amounts = tuple[int, int, int, int]
"""(the most it may cost, what it is expected to cost, 1, tokens)."""


def kind_of(budget: Budget) -> int:
    if budget.unit == "nano_usd":
        return STRICT if budget.strict else EXPECTED
    return TOKENS if budget.unit == "tokens" else ONE


def lacking(plan: Plan, amounts: Amounts, now: float) -> list[tuple[Till, int]]:
    """The tills that have not enough, and what they are asked for. Who needs nothing of a till
    does not lack it, however empty it is."""
    return [
        (till, amounts[kind])
        for till, kind in plan
        if amounts[kind]
        and (till.drawer.free < amounts[kind] or now >= till.drawer.ends or now >= till.clerk.fence)
    ]


def take(plan: Plan, amounts: Amounts) -> list[Drawer]:
    """Take from every till, which have enough; return the drawers in the plan's order."""
    drawers = []
    for till, kind in plan:
        drawer = till.drawer
        amount = amounts[kind]
        drawer.free -= amount
        drawer.held += amount
        if drawer.free < drawer.low:
            till.clerk.thin.append(till)
            drawer.low = -1
        drawers.append(drawer)
    return drawers


def untake(plan: Plan, amounts: Amounts, drawers: Sequence[Drawer]) -> None:
    """Put back what was taken for what was never begun."""
    for (_, kind), drawer in zip(plan, drawers, strict=True):
        drawer.put(amounts[kind], 0)
