"""The accounts in a store, SQLite or PostgreSQL, which many workers share.

A grant is one transaction: lock the accounts in the order of their numbers, sum up the slices that
count, and where all wants fit, raise what is leased and the leases themselves. About seven
statements, however many accounts: a few milliseconds, and rarely, since a lease lasts a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pointsman.budgets.escrow import (
    SOON_S,
    AccountStanding,
    Back,
    Fenced,
    Lease,
    Refused,
    Want,
    chunk,
    reopens,
    window_of,
)
from pointsman.budgets.membership import Membership
from pointsman.budgets.rows import Change, Slice, pieces, slices_since, values_of, write_slices
from pointsman.budgets.standing import standings
from pointsman.domain.budgets import Account, Budget
from pointsman.store.database import Database
from pointsman.store.open import Store

_ADD = "INSERT INTO budget_account (budget, subject, unit) VALUES "
_FIND = "SELECT id, budget, subject FROM budget_account WHERE "
_LOCK = "SELECT id FROM budget_account WHERE id IN "
_SLICE = "INSERT INTO budget_slice (account, start, until, lim) VALUES "
_LEASE = "INSERT INTO lease (account, start, worker, epoch, granted, expires) VALUES "
_GROW = (
    " ON CONFLICT (worker, epoch, account, start) WHERE state = 'live'"
    " DO UPDATE SET granted = lease.granted + excluded.granted"
    " RETURNING account, id, granted, returned"
)
_KNOWN: Final = 100_000
"""Numbers of accounts that are remembered."""
_TIDIED: Final = 64
"""Accounts of rates whose old rows are deleted at once."""


class StoreEscrow:
    """Satisfy `Escrow` for one worker; the connection is opened by the thread that uses it."""

    is_local = False
    is_logged = True

    def __init__(self, store: Store, membership: Membership) -> None:
        self.lease_s = membership.lease_s
        self._store = store
        self._membership = membership
        self._connection: Database | None = None
        self._numbers: dict[Account, int] = {}
        self._rates: dict[int, Budget] = {}

    @property
    def _db(self) -> Database:
        if self._connection is None:
            self._connection = self._store.open()
        return self._connection

    def renew(self) -> bool:
        is_well = self._membership.beat(self._db)
        self._tidy()
        return is_well

    # Granting.

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        if not wants:
            return []
        db = self._db
        numbers = self._numbered(db, wants)
        with db.transaction():
            now = self._checked_in(db)
            ids = sorted(numbers[want.account] for want in wants)
            for some in pieces(ids):
                holes = ", ".join("?" * len(some))
                db.rows(f"{_LOCK}({holes}) ORDER BY id{db.for_update}", some)
            windows = {numbers[want.account]: window_of(want.budget) for want in wants}
            slices = slices_since(db, [(account, windows[account].since(now)) for account in ids])
            amounts = []
            for want in wants:
                counting = slices[numbers[want.account]]
                left = want.budget.limit - sum(part.counts for part in counting)
                amount = want.least if left < want.least else chunk(want.budget.unit, left, want)
                passes = want.budget.at_cap == "alert" and want.least > 0
                if (left < want.least and not passes) or amount <= 0:
                    return _refused(want, left, now, counting)
                amounts.append((amount, left))
            return self._granted(db, wants, numbers, slices, amounts, now)

    def _checked_in(self, db: Database) -> float:
        """The store's time, if the worker still lives."""
        now = db.now()
        rows = db.rows(
            "SELECT 1 FROM worker WHERE id = ? AND epoch = ? AND state = 'live' AND expires >= ?",
            (self._membership.worker, self._membership.epoch, now),
        )
        if not rows:
            raise Fenced
        return now

    def _numbered(self, db: Database, wants: Sequence[Want]) -> dict[Account, int]:
        """The accounts' numbers; those that are new are made, which needs nobody's lock."""
        unknown = {want.account: want for want in wants if want.account not in self._numbers}
        if len(self._numbers) > _KNOWN:
            self._numbers.clear()
            unknown = {want.account: want for want in wants}
        for some in pieces(sorted(unknown)):
            where = " OR ".join(["(budget = ? AND subject = ?)"] * len(some))
            names = [part for account in some for part in account]
            self._learn(db, where, names)
            new = [unknown[account] for account in some if account not in self._numbers]
            for want in new:
                db.run(
                    f"{_ADD}(?, ?, ?) ON CONFLICT (budget, subject) DO NOTHING",
                    (*want.account, want.budget.unit),
                )
            if new:
                self._learn(db, where, names)
        for want in wants:
            if want.budget.unit != "nano_usd":
                self._rates[self._numbers[want.account]] = want.budget
        return {want.account: self._numbers[want.account] for want in wants}

    def _learn(self, db: Database, where: str, names: Sequence[str]) -> None:
        for number, budget, subject in db.rows(_FIND + where, names):
            self._numbers[budget, subject] = number

    def _granted(
        self,
        db: Database,
        wants: Sequence[Want],
        numbers: dict[Account, int],
        slices: dict[int, list[Slice]],
        amounts: list[tuple[int, int]],
        now: float,
    ) -> list[Lease]:
        worker, epoch = self._membership.worker, self._membership.epoch
        open_slices, new = [], []
        for want, (amount, _) in zip(wants, amounts, strict=True):
            account = numbers[want.account]
            start, until = window_of(want.budget).slice_at(now)
            counting = slices[account]
            part = next((each for each in counting if each.start == start), None)
            if part is None:
                part = Slice(account, start, until, want.budget.limit, 0, 0, 0)
                new += [account, start, until, want.budget.limit]
            part.lim = want.budget.limit
            part.leased += amount
            open_slices.append(part)
        if new:
            db.run(_SLICE + values_of("asul", len(new) // 4), new)
        write_slices(db, sorted(open_slices, key=lambda part: part.place))
        values = [
            value
            for part, (amount, _) in zip(open_slices, amounts, strict=True)
            for value in (part.account, part.start, worker, epoch, amount, part.until)
        ]
        sql = _LEASE + values_of("aswege", len(wants)) + _GROW
        rows = {row[0]: row[1:] for row in db.rows(sql, values)}
        return [
            Lease(
                id=rows[part.account][0],
                account=want.account,
                granted=rows[part.account][1],
                returned=rows[part.account][2],
                start=part.start,
                until=part.until,
                lasts_s=part.until - now,
                left=left - amount,
            )
            for want, part, (amount, left) in zip(wants, open_slices, amounts, strict=True)
        ]

    # The rest.

    def give_back(self, parts: Sequence[Back]) -> None:
        with self._db.transaction():
            change = Change(self._db, (part.lease for part in parts))
            for part in parts:
                row = change.leases.get(part.lease)
                if row is None:
                    continue
                if part.used > row.spent:
                    change.charge(row.id, part.used - row.spent)
                change.give_back(row.id, part.returned - row.returned)
                if part.ended if row.state == "live" else row.open == 0:
                    row.state = "closed"
            change.write()

    def follow(self, budgets: Sequence[Budget]) -> None:
        with self._db.transaction():
            now = self._db.now()
            for budget in budgets:
                follow(self._db, budget, now)

    def standing(self, budgets: Sequence[Budget]) -> list[AccountStanding]:
        return standings(self._db, budgets, self._db.now())

    def _tidy(self) -> None:
        """Delete what rates have left behind; money is kept for good."""
        db = self._db
        now = db.now()
        for account in list(self._rates)[:_TIDIED]:
            since = window_of(self._rates.pop(account)).since(now)
            with db.transaction():
                db.run(
                    "DELETE FROM lease WHERE account = ? AND granted = spent + returned"
                    " AND (start < ? OR state = 'closed')",
                    (account, since),
                )
                db.run(
                    "DELETE FROM budget_slice WHERE account = ? AND start < ? AND leased = 0",
                    (account, since),
                )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __repr__(self) -> str:
        return f"StoreEscrow({self._store.shown!r}, {self._membership!r})"


def follow(db: Database, budget: Budget, now: float) -> int:
    """Put a budget's limit in force in its accounts' running slices; return in how many."""
    since = window_of(budget).since(now)
    rows = db.rows(
        "SELECT s.account FROM budget_slice s JOIN budget_account a ON a.id = s.account"
        " WHERE a.budget = ? AND s.start >= ? AND s.lim <> ?",
        (budget.name, since, budget.limit),
    )
    slices = slices_since(db, [(account, since) for account in sorted({row[0] for row in rows})])
    changed = [part for parts in slices.values() for part in parts]
    for part in changed:
        part.lim = budget.limit
    write_slices(db, changed)
    return len(changed)


def _refused(want: Want, left: int, now: float, slices: Sequence[Slice]) -> Refused:
    if want.budget.unit == "at_once":
        at = now + SOON_S
    else:
        amounts = [(part.start, part.counts) for part in slices]
        at = reopens(want.budget.window, now, amounts, want.least - left)
    return Refused(want.budget, want.account, left, at - now, at)
