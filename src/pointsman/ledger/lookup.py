"""Requests as they were recorded: one by its id, or all of them.

What was used and spent in all is for `pointsman.reports` to say; nothing is added up here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pointsman.ledger.rows import Recorded, attempt_of, decision_of, entry_of
from pointsman.store.database import Database, Row

PAGE: Final = 500


def entry_by_id(database: Database, request_id: str) -> Recorded | None:
    """One request with its attempts and its decision; None where it is not there.

    Raises StorageError.
    """
    found = database.named("SELECT * FROM entry WHERE request_id = ?", (request_id,))
    return _recorded(database, found[0]) if found else None


def every_entry(database: Database) -> Iterator[Recorded]:
    """All requests in the order they were written, read in pages. Raises StorageError."""
    last = 0
    while True:
        rows = database.named(
            "SELECT * FROM entry WHERE seq > ? ORDER BY seq LIMIT ?", (last, PAGE)
        )
        for row in rows:
            last = row["seq"]
            yield _recorded(database, row)
        if len(rows) < PAGE:
            return


def _recorded(database: Database, row: Row) -> Recorded:
    seq = (row["seq"],)
    attempts = database.named("SELECT * FROM attempt WHERE entry = ? ORDER BY n", seq)
    tags = database.rows("SELECT name, value FROM tag WHERE entry = ? ORDER BY name", seq)
    bodies = database.rows("SELECT body FROM decision WHERE entry = ?", seq)
    return Recorded(
        entry_of(row, [attempt_of(each) for each in attempts], [(t[0], t[1]) for t in tags]),
        decision_of(bodies[0][0]) if bodies else None,
    )
