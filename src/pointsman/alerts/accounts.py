"""Accounts that were spent from lately, and what is to be said of them.

Theory. A worker knows of an account what it has spent itself, and what was leased to others, not
what those have really spent. So with a store the amount is read there. Others' spending arrives
in the store a moment after ours; an account is therefore looked at again some seconds after it was
last touched (`AGAIN_S`). Without a store there is one worker, and what it knows is exact.

What a request costs here is one entry in a dict.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from pointsman.alerts.alert import Alert
from pointsman.alerts.pace import Pace
from pointsman.alerts.thresholds import Settled, reached
from pointsman.config.settings_money import AlertSettings
from pointsman.domain.budgets import Account, Budget
from pointsman.store.database import Database

MOST_TOUCHED: Final = 10_000
MOST_PACES: Final = 2_000
"""Courses that are remembered: some 10 KB each at most."""
MOST_AT_ONCE: Final = 300
"""Accounts that are looked at in one round; the others in the next."""
AGAIN_S: Final = (10.0, 60.0)
"""Seconds after an account was last touched. By the first all workers have written down what they
had settled by then; the other is for a store that was slow."""


class Stands(msgspec.Struct, frozen=True):
    """How an account stands; the fields of `Settled`."""

    budget: Budget
    account: Account
    spent: int
    limit: int
    start: float
    until: float


class Touched(msgspec.Struct):
    """An account with something to look at. Times are seconds since the epoch."""

    stands: Settled
    at: float
    look_at: float
    is_refused: bool = False


class Accounts:
    def __init__(self) -> None:
        self._touched: OrderedDict[Account, Touched] = OrderedDict()
        self._paces: OrderedDict[Account, Pace] = OrderedDict()
        self.overlooked = 0
        """Settlings that were not looked at, because too many accounts were waiting."""

    # On the event loop.

    def touch(self, stands: Settled, now: float, *, is_refused: bool = False) -> None:
        touched = self._touched.get(stands.account)
        if touched is None:
            if len(self._touched) >= MOST_TOUCHED:
                self.overlooked += 1
                return
            self._touched[stands.account] = Touched(stands, now, now, is_refused)
            return
        if touched.look_at > now:
            touched.look_at = now
        touched.at = now
        if is_refused:
            touched.is_refused = True
        else:
            touched.stands = stands

    def due(self, now: float) -> list[Touched]:
        """What is to be looked at now, those first that have waited longest."""
        due = (each for each in self._touched.values() if each.look_at <= now)
        return [msgspec.structs.replace(each) for each in islice(due, MOST_AT_ONCE)]

    def looked(self, due: Iterable[Touched], now: float) -> None:
        """What was due has been looked at, at `now`; some may have been touched meanwhile."""
        for seen in due:
            account = seen.stands.account
            touched = self._touched.get(account)
            if touched is None or touched.at != seen.at or touched.look_at != seen.look_at:
                self._to_the_end(account)
                continue
            again = next((each for each in AGAIN_S if touched.at + each > now), None)
            if again is None:
                del self._touched[account]
                continue
            touched.look_at = touched.at + again
            touched.is_refused = False
            self._to_the_end(account)

    def _to_the_end(self, account: Account) -> None:
        if account in self._touched:
            self._touched.move_to_end(account)

    # On the thread of the store.

    def look(
        self, db: Database | None, due: Iterable[Touched], settings: AlertSettings, now: float
    ) -> list[Alert]:
        """What is to be said; `db` is the store that keeps the accounts, None: nobody else does."""
        alerts: list[Alert] = []
        for touched in due:
            stands = touched.stands
            if stands.until <= now and not stands.budget.window.rolling:
                continue
            if db is not None:
                stands = exact(db, stands, now)
            alerts += reached(stands, now, is_refused=touched.is_refused)
            pace = self._pace(stands.account)
            pace.see(stands, now)
            if (burning := pace.burning(stands, settings.burn_rate, now)) is not None:
                alerts.append(burning)
            if settings.forecast and (short := pace.forecast(stands, now)) is not None:
                alerts.append(short)
        return alerts

    def _pace(self, account: Account) -> Pace:
        pace = self._paces.get(account)
        if pace is None:
            pace = self._paces[account] = Pace()
            if len(self._paces) > MOST_PACES:
                self._paces.popitem(last=False)
        else:
            self._paces.move_to_end(account)
        return pace

    def __repr__(self) -> str:
        return f"Accounts({len(self._touched)} touched, {len(self._paces)} courses)"


def exact(db: Database, stands: Settled, now: float) -> Stands:
    """What all workers have spent of the account, as far as they have written it down."""
    window = stands.budget.window
    start, until = window.slice_at(now) if window.rolling else (stands.start, stands.until)
    since = window.since(now) if window.rolling else start
    name, subject = stands.account
    spent = db.rows(
        "SELECT sum(budget_slice.spent) FROM budget_slice"
        " JOIN budget_account ON budget_account.id = budget_slice.account"
        " WHERE budget_account.budget = ? AND budget_account.subject = ?"
        " AND budget_slice.start >= ? AND budget_slice.start < ?",
        (name, subject, since, until),
    )[0][0]
    return Stands(stands.budget, stands.account, int(spent or 0), stands.limit, start, until)


def refused(budget: Budget, account: Account, left: int, now: float) -> Stands:
    """How an account stands that had no room; what is held of it counts as spent."""
    start, until = budget.window.slice_at(now)
    return Stands(budget, account, max(0, budget.limit - max(0, left)), budget.limit, start, until)
