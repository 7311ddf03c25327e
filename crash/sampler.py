"""A look at the running store every tenth of a second: I1 and I9 hold at every commit."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pointsman.store.database import Database
from pointsman.store.errors import StorageError

EVERY_S = 0.1

ABOVE = (
    "SELECT a.budget, a.subject, s.lim, s.spent, s.leased, s.over FROM budget_slice s"
    " JOIN budget_account a ON a.id = s.account"
    " WHERE s.spent < 0 OR s.leased < 0 OR s.over <> 0 OR s.spent + s.leased > s.lim"
)
APART = (
    "SELECT s.account, s.leased, coalesce(sum(l.granted - l.spent - l.returned), 0)"
    " FROM budget_slice s LEFT JOIN lease l ON l.account = s.account AND l.start = s.start"
    " GROUP BY s.account, s.start, s.leased"
    " HAVING s.leased <> coalesce(sum(l.granted - l.spent - l.returned), 0)"
)
"""One statement is one look at the store, in either engine."""


class Sampler:
    """Looks on a thread of its own, until it is closed; a store that is away is tried again."""

    def __init__(self, open: Callable[[], Database]) -> None:
        self.looks = 0
        self.found: list[str] = []
        self._open = open
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        database: Database | None = None
        while not self._ending.wait(EVERY_S):
            try:
                database = database or self._open()
                self.found += look(database)
                self.looks += 1
            except StorageError:
                if database is not None:
                    database.close()
                database = None
        if database is not None:
            database.close()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()


def look(database: Database) -> list[str]:
    """What is wrong at this moment."""
    above = [f"sampled: {tuple(row)} above its limit" for row in database.rows(ABOVE)]
    return above + [f"sampled: {tuple(row)} leased apart" for row in database.rows(APART)]
