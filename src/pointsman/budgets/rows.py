"""Slices and leases as rows: lock them in one order, change them in memory, write them back.

Whoever changes a slice or a lease locks the slice first, slices in the order of account and start,
then their leases. Before slices come accounts, which only grants lock, and before those a worker's
row. So nobody waits in a circle. Every change ends with `Slice.settled`, which puts `over` to what
stands above the limit; only changes that may exceed it do so on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from pointsman.store.database import Database, Value

T = TypeVar("T")
Place = tuple[int, float]
"""An account's number and a slice's start."""

AT_ONCE: Final = 128
"""Rows a statement, in powers of two below it, so that few statements are kept prepared."""


class Slice(msgspec.Struct, gc=False):
    account: int
    start: float
    until: float
    lim: int
    spent: int
    leased: int
    over: int

    @property
    def place(self) -> Place:
        return self.account, self.start

    @property
    def counts(self) -> int:
        return self.spent + self.leased

    def settled(self) -> tuple[Value, ...]:
        over = max(0, self.spent + self.leased - self.lim)
        return self.lim, self.spent, self.leased, over, self.account, self.start


class LeaseRow(msgspec.Struct, gc=False):
    id: int
    account: int
    start: float
    granted: int
    spent: int
    returned: int
    state: str
    unit: str

    @property
    def place(self) -> Place:
        return self.account, self.start

    @property
    def open(self) -> int:
        """What its worker still has."""
        return self.granted - self.spent - self.returned


_SLICES = "SELECT account, start, until, lim, spent, leased, over FROM budget_slice WHERE "
_LEASES = (
    "SELECT l.id, l.account, l.start, l.granted, l.spent, l.returned, l.state, a.unit"
    " FROM lease l JOIN budget_account a ON a.id = l.account WHERE l.id IN "
)
_SET_SLICE = (
    "UPDATE budget_slice SET lim = ?, spent = ?, leased = ?, over = ?"
    " WHERE account = ? AND start = ?"
)
_SET_LEASE = "UPDATE lease SET granted = ?, spent = ?, returned = ?, state = ? WHERE id = ?"


def locked_slices(db: Database, places: Iterable[Place]) -> dict[Place, Slice]:
    found: dict[Place, Slice] = {}
    for some in pieces(sorted(set(places))):
        where = " OR ".join(["(account = ? AND start = ?)"] * len(some))
        values = [part for place in some for part in place]
        for row in db.rows(f"{_SLICES}{where} ORDER BY account, start{db.for_update}", values):
            found[row[0], row[1]] = Slice(*row)
    return found


def slices_since(db: Database, since: Sequence[Place]) -> dict[int, list[Slice]]:
    """By account the slices that start at a moment or later, oldest first, locked."""
    found: dict[int, list[Slice]] = {account: [] for account, _ in since}
    for some in pieces(since):
        where = " OR ".join(["(account = ? AND start >= ?)"] * len(some))
        values = [part for place in some for part in place]
        for row in db.rows(f"{_SLICES}{where} ORDER BY account, start{db.for_update}", values):
            found[row[0]].append(Slice(*row))
    return found


def leases(db: Database, ids: Iterable[int]) -> list[LeaseRow]:
    """Leases as they are, not locked: for where they are, which never changes."""
    return list(_leases(db, ids, ""))


def locked_leases(db: Database, ids: Iterable[int]) -> dict[int, LeaseRow]:
    lock = " FOR UPDATE OF l" if db.for_update else ""
    return {row.id: row for row in _leases(db, ids, lock)}


def _leases(db: Database, ids: Iterable[int], lock: str) -> Iterator[LeaseRow]:
    for some in pieces(sorted(set(ids))):
        holes = ", ".join("?" * len(some))
        for row in db.rows(f"{_LEASES}({holes}) ORDER BY l.id{lock}", some):
            yield LeaseRow(*row)


def write_slices(db: Database, slices: Iterable[Slice]) -> None:
    db.run_many(_SET_SLICE, [each.settled() for each in slices])


def write_leases(db: Database, changed: Iterable[LeaseRow]) -> None:
    rows = [(each.granted, each.spent, each.returned, each.state, each.id) for each in changed]
    db.run_many(_SET_LEASE, rows)


class Change:
    """Leases to be changed and the slices they are in, locked; `write` what became of them."""

    def __init__(self, db: Database, ids: Iterable[int]) -> None:
        self._db = db
        ids = list(ids)
        places = {row.id: row.place for row in leases(db, ids)}
        self.slices: Mapping[Place, Slice] = locked_slices(db, places.values())
        self.leases: Mapping[int, LeaseRow] = locked_leases(db, places)

    def charge(self, lease: int, amount: int) -> None:
        """Move from leased to spent; what the lease has not is spent on top."""
        row = self.leases[lease]
        part = self.slices[row.place]
        drawn = min(amount, row.open)
        row.granted += amount - drawn
        row.spent += amount
        part.leased -= drawn
        part.spent += amount

    def correct(self, lease: int, amount: int) -> None:
        """Spend more than was charged, or less, and leave alone what the worker still has."""
        row = self.leases[lease]
        row.granted += amount
        row.spent += amount
        self.slices[row.place].spent += amount

    def give_back(self, lease: int, amount: int) -> None:
        """Take back what is there of an amount."""
        row = self.leases[lease]
        amount = max(0, min(amount, row.open))
        row.returned += amount
        self.slices[row.place].leased -= amount

    def write(self) -> None:
        write_slices(self._db, self.slices.values())
        write_leases(self._db, self.leases.values())


def pieces(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while chunk := list(islice(source, AT_ONCE)):
        size = AT_ONCE
        while chunk:
            while size > len(chunk):
                size //= 2
            yield chunk[:size]
            chunk = chunk[size:]


def values_of(row: Sequence[Any], count: int) -> str:
    """`(?, ?), (?, ?)`: placeholders for so many rows."""
    return ", ".join([f"({', '.join('?' * len(row))})"] * count)
