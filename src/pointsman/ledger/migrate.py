"""Bring the ledger's SQLite file to its newest form: `store.migrate` on a plain connection."""

from __future__ import annotations

import sqlite3

from pointsman.clock import SystemClock
from pointsman.store.errors import StorageError
from pointsman.store.migrate import migrate as take_steps
from pointsman.store.migrate import newest as newest
from pointsman.store.sqlite import SqliteDatabase


def version_of(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing; the connection is in autocommit mode.

    Raises sqlite3.Error, and ConfigError where a newer Pointsman has been here.
    """
    try:
        take_steps(SqliteDatabase.around(connection, SystemClock()))
    except StorageError as error:
        if isinstance(error.__cause__, sqlite3.Error):
            raise error.__cause__ from None
        raise
