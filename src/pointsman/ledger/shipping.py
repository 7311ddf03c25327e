"""Tell the store what a worker has to say, exactly once.

Theory. What a log holds may be told twice: by a worker that lost its connection in the middle of a
commit and cannot know what came of it, and by the one that reads the log of a dead worker. So each
worker's row in the store has the number up to which it was told, which moves in the transaction
that tells. What is not in the log (number 0) has no such guard; it rests on its own ids, as all of
it could: an entry's request and a charge's attempt are taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final, Protocol

from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.write import Repeated, insert, unknown
from pointsman.store.database import Database
from pointsman.store.errors import RowRefused
from pointsman.wal.folder import Owner
from pointsman.wal.replay import Item, Settled

PATIENCE_S: Final = 5.0
"""How long a server may take for a statement: only the writer's thread waits for it. A file's
lock is waited for as long as the connection says."""

_FIND = "SELECT shipped_seq FROM worker WHERE id = ?"
_MOVE = "UPDATE worker SET shipped_seq = ? WHERE id = ? AND shipped_seq = ?"


class Accounts(Protocol):
    """What the store does with a worker and its charges; all inside a transaction.

    Safe to repeat: a charge that was taken before is passed over.
    """

    def enrol(self, database: Database, owner: Owner) -> None:
        """Make the worker's row where there is none."""
        ...

    def settle(
        self, database: Database, owner: Owner, charges: Sequence[tuple[int, Settled]]
    ) -> None:
        """Put what was charged in the place of what was held. With each its number in the log."""
        ...

    def end(self, database: Database, owner: Owner, *, is_sure: bool) -> None:
        """Everything the worker had to say was told: give back what is left of its leases.

        is_sure False: the last of it may be missing. What is left stays counted, in suspense.
        """
        ...


def _transaction(database: Database) -> AbstractContextManager[None]:
    return database.transaction(None if database.kind == "sqlite" else PATIENCE_S)


class Shipping:
    """What one worker tells. Without an owner it is entries only, and they have no numbers."""

    def __init__(self, owner: Owner | None = None, accounts: Accounts | None = None) -> None:
        self.owner = owner
        self._accounts = accounts
        self.told = 0
        """The number up to which there is nothing left to tell."""

    def ship(self, database: Database, items: Sequence[Item]) -> None:
        """Tell items, ascending by number where they have one. Raises StorageError: then none of
        them was told, or, where the connection was lost, all of them may have been."""
        try:
            with _transaction(database):
                self._tell(database, items, are_new=True)
        except Repeated:
            with _transaction(database):
                self._tell(database, items, are_new=False)
        self.told = max([self.told, *(seq for seq, _ in items)])

    def pass_over(self, item: Item) -> None:
        """The store will never take it: do not come back to it."""
        self.told = max(self.told, item[0])

    def end(self, database: Database, seq: int, *, is_sure: bool = True) -> None:
        """All is told up to a number, but for what the store will never take."""
        if self.owner is None or self._accounts is None:
            return
        with _transaction(database):
            before = self._found(database, self.owner, self._accounts)
            if seq > before:
                self._move(database, self.owner, before, seq)
            self._accounts.end(database, self.owner, is_sure=is_sure)
        self.told = max(self.told, seq)

    def resume(self, database: Database) -> None:
        """Learn how far a worker has come that is not there any more."""
        if self.owner is not None and self._accounts is not None:
            with _transaction(database):
                self.told = self._found(database, self.owner, self._accounts)

    def _tell(self, database: Database, items: Sequence[Item], *, are_new: bool) -> None:
        owner, accounts = self.owner, self._accounts
        before = 0
        if owner is not None and accounts is not None:
            before = self._found(database, owner, accounts)
            items = [item for item in items if not 0 < item[0] <= before]
        entries = [each for _, each in items if isinstance(each, LedgerEntry)]
        insert(database, entries if are_new else unknown(database, entries))
        if owner is None or accounts is None:
            return
        charges = [(seq, each) for seq, each in items if isinstance(each, Settled)]
        if charges:
            accounts.settle(database, owner, charges)
        last = max((seq for seq, _ in items), default=0)
        if last > before:
            self._move(database, owner, before, last)

    def _found(self, database: Database, owner: Owner, accounts: Accounts) -> int:
        """The number up to which the store was told, its row locked."""
        find = _FIND + database.for_update
        rows = database.rows(find, (owner.worker,))
        if not rows:
            accounts.enrol(database, owner)
            rows = database.rows(find, (owner.worker,))
        return int(rows[0][0])

    def _move(self, database: Database, owner: Owner, before: int, last: int) -> None:
        if database.run(_MOVE, (last, owner.worker, before)) != 1:
            raise AssertionError(f"{owner.worker}: its row was locked, and yet it has moved")


Refuse = Callable[[str, Exception], object]
"""Told of what the store will never take: which request or attempt, and why."""


def ship_all(
    shipping: Shipping, database: Database, items: Iterable[Item], rows: int, refuse: Refuse
) -> int:
    """Tell everything, `rows` at a time, and return how much that was. Raises StorageError."""
    count = 0
    source = (item for item in items if not 0 < item[0] <= shipping.told)
    while batch := list(islice(source, rows)):
        count += len(batch)
        try:
            shipping.ship(database, batch)
        except RowRefused:
            for item in batch:
                try:
                    shipping.ship(database, [item])
                except RowRefused as error:
                    refuse(name_of(item), error)
                    shipping.pass_over(item)
                    count -= 1
    return count


def name_of(item: Item) -> str:
    """What an item is of, for the log."""
    _, what = item
    return what.request_id if isinstance(what, LedgerEntry) else what.attempt_id
