"""The least that `Accounts` can be: what was charged, once for each attempt and lease."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.store.database import Database
from pointsman.store.neutral import script_for
from pointsman.wal.folder import Owner
from pointsman.wal.replay import Settled

TABLES = """
CREATE TABLE IF NOT EXISTS tally (
    attempt_id TEXT    NOT NULL,
    lease      INTEGER NOT NULL,
    held       INTEGER NOT NULL,
    charged    INTEGER NOT NULL CHECK (charged >= 0),
    exact      INTEGER NOT NULL,
    worker     TEXT    NOT NULL,
    PRIMARY KEY (attempt_id, lease)
) STRICT;
CREATE TABLE IF NOT EXISTS ended (
    worker TEXT    NOT NULL,
    sure   INTEGER NOT NULL
) STRICT;
"""
WORKER = """
CREATE TABLE IF NOT EXISTS worker (
    id          TEXT    NOT NULL PRIMARY KEY,
    shipped_seq INTEGER NOT NULL
) STRICT;
"""


class Tally:
    """Accounts in tables of their own."""

    def __init__(self, database: Database) -> None:
        database.script(script_for(database.kind, TABLES + WORKER))

    def enrol(self, database: Database, owner: Owner) -> None:
        database.run(
            "INSERT INTO worker (id, shipped_seq) VALUES (?, 0) ON CONFLICT (id) DO NOTHING",
            (owner.worker,),
        )

    def settle(
        self, database: Database, owner: Owner, charges: Sequence[tuple[int, Settled]]
    ) -> None:
        for _, settled in charges:
            for lease, held, charged in settled.charges:
                database.run(
                    "INSERT INTO tally (attempt_id, lease, held, charged, exact, worker) "
                    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (attempt_id, lease) DO NOTHING",
                    (settled.attempt_id, lease, held, charged, int(settled.exact), owner.worker),
                )

    def end(self, database: Database, owner: Owner, *, is_sure: bool) -> None:
        database.run("INSERT INTO ended (worker, sure) VALUES (?, ?)", (owner.worker, int(is_sure)))
