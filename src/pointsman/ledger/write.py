"""Insert entries with all that belongs to them, inside a transaction.

Entries are numbered in the order they are committed in, without a gap, so that who has read up to
a number has read everything: in SQLite a transaction has the whole file, in PostgreSQL the writers
of all workers go through one lock for the time of their insert.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.rows import (
    ATTEMPT_COLUMNS,
    ENTRY_COLUMNS,
    Row,
    attempt_rows,
    decision_json,
    entry_row,
    tags_of,
)
from pointsman.store.database import Database

ROWS_AT_ONCE: Final = 32
"""Rows a statement. SQLite lets go of the interpreter's lock at every statement, and the event
loop pays for each time it is taken back; rows are made holding it, so not all at once either."""
_NUMBERING: Final = 0x6C6564676572
"""The number of our advisory lock in PostgreSQL: "ledger"."""


class Repeated(Exception):
    """A batch holds an entry that is in the store already, or the same one twice."""


class _Insert:
    """An INSERT of up to `ROWS_AT_ONCE` rows at a time."""

    __slots__ = ("_conflict", "_head", "_row", "sql")

    def __init__(self, table: str, columns: Sequence[str], conflict: str = "") -> None:
        self._row = f"({', '.join('?' * len(columns))})"
        self._head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608
        self._conflict = conflict
        self.sql = lru_cache(maxsize=ROWS_AT_ONCE)(self._sql)

    def _sql(self, rows: int) -> str:
        return self._head + ", ".join([self._row] * rows) + self._conflict

    def write(self, database: Database, rows: Iterable[Row]) -> int:
        """Return how many rows were inserted."""
        count = 0
        for chunk in _chunks(rows):
            values = tuple(itertools.chain.from_iterable(chunk))
            count += database.run(self.sql(len(chunk)), values)
        return count


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """In thirty-twos, and what is left in powers of two: few statements to keep prepared."""
    source = iter(rows)
    while chunk := list(itertools.islice(source, ROWS_AT_ONCE)):
        size = ROWS_AT_ONCE
        at = 0
        while at < len(chunk):
            while size > len(chunk) - at:
                size //= 2
            yield chunk[at : at + size]
            at += size


_ENTRY = _Insert("entry", ENTRY_COLUMNS, " ON CONFLICT (request_id) DO NOTHING")
"""Not INSERT OR IGNORE, which would also pass over a row that breaks a CHECK."""
_ATTEMPT = _Insert("attempt", ATTEMPT_COLUMNS)
_TAG = _Insert("tag", ("entry", "name", "value"))
_DECISION = _Insert("decision", ("entry", "body"))


def insert(database: Database, batch: Sequence[LedgerEntry]) -> None:
    """Insert entries that are all new; raise `Repeated` where one is not, and StorageError."""
    if not batch:
        return
    if database.kind == "postgresql":
        database.rows("SELECT pg_advisory_xact_lock(?)", (_NUMBERING,))
    ((last,),) = database.rows("SELECT coalesce(max(seq), 0) FROM entry")
    numbered = list(enumerate(batch, int(last) + 1))
    if _ENTRY.write(database, (entry_row(seq, each) for seq, each in numbered)) != len(batch):
        raise Repeated
    _ATTEMPT.write(database, (row for seq, each in numbered for row in attempt_rows(seq, each)))
    _TAG.write(
        database,
        ((seq, name, value) for seq, each in numbered for name, value in tags_of(each).items()),
    )
    _DECISION.write(
        database,
        (
            (seq, decision_json(each.decision))
            for seq, each in numbered
            if each.decision is not None
        ),
    )


def unknown(database: Database, batch: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """The entries of a batch that are not in the store, each once."""
    find = "SELECT 1 FROM entry WHERE request_id = ?"
    first = {entry.request_id: entry for entry in reversed(list(batch))}
    new = [entry for entry in first.values() if not database.rows(find, (entry.request_id,))]
    return new[::-1]
