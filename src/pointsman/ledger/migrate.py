"""Bring a SQLite file to the ledger's newest form, by the numbered scripts of `migrations/`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from pointsman.errors import ConfigError


@cache
def scripts() -> tuple[tuple[int, str], ...]:
    """The migrations as (number, SQL), ascending; numbers are 1, 2, 3, …"""
    found = [
        (int(script.name.partition("_")[0]), script.read_text(encoding="utf-8"))
        for script in files("pointsman.ledger").joinpath("migrations").iterdir()
        if script.name.endswith(".sql")
    ]
    return tuple(sorted(found))


def newest() -> int:
    return scripts()[-1][0]


def version_of(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def statements(script: str) -> Iterator[str]:
    """Split a script where SQLite says that a statement is whole (triggers hold semicolons)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing, under an exclusive lock: of several workers one does it.

    The connection is in autocommit mode. Raises ConfigError where a newer Pointsman has been
    here: we would not understand its rows.
    """
    if version_of(connection) == newest():
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        done = version_of(connection)
        if done > newest():
            raise ConfigError(
                f"the ledger's file has form {done}, this Pointsman knows up to {newest()}: "
                "upgrade Pointsman, or choose another `ledger.path`"
            )
        for number, script in scripts():
            if number > done:
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number:d}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
