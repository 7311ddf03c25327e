"""Bring a store's tables to their newest form, by the numbered scripts of `migrations/`.

Each script that was carried out is a row in the table `migration`, so that scripts which are
written side by side may arrive in any order. Files from before that table carry only the highest
number, in SQLite's `user_version`; it is kept in step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pointsman.errors import ConfigError
from pointsman.store.database import Database
from pointsman.store.neutral import script_for

PATIENCE_S = 60.0
"""How long one statement of a script may take, and another worker's migration be waited for."""
_LOCK = 0x706F696E7473
"""The number of our advisory lock in PostgreSQL: "points"."""

_TABLE = """
CREATE TABLE IF NOT EXISTS migration (
    number INTEGER NOT NULL PRIMARY KEY,
    name   TEXT    NOT NULL,
    at     REAL    NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Script:
    """One step: `0002_hedges.sql` is number 2, named hedges."""

    number: int
    name: str
    text: str


@cache
def scripts() -> tuple[Script, ...]:
    """All steps, ascending."""
    found = []
    for file in files("pointsman.store").joinpath("migrations").iterdir():
        number, _, name = file.name.partition("_")
        if name.endswith(".sql"):
            text = file.read_text(encoding="utf-8")
            found.append(Script(int(number), name.removesuffix(".sql"), text))
    return tuple(sorted(found, key=lambda script: script.number))


def newest() -> int:
    return scripts()[-1].number


def applied(database: Database) -> frozenset[int]:
    """The numbers of the steps that a store has taken; none where it is new."""
    # First, since another worker may be at it: with its number, its table is there as well.
    version = _user_version(database)
    if not _has_table(database):
        return frozenset(range(1, version + 1))
    taken = {number for (number,) in database.rows("SELECT number FROM migration")}
    # Of a newer Pointsman that knew no such table, its highest number is enough to know.
    return frozenset(taken | {version} if version > newest() else taken)


def migrate(database: Database, steps: tuple[Script, ...] | None = None) -> None:
    """Take the steps that are missing, under a lock: of several workers one does it.

    Raises ConfigError where a newer Pointsman has been here: we would not understand its rows.
    """
    steps = scripts() if steps is None else steps
    if not _missing(database, steps):
        return
    with database.transaction(patience_s=PATIENCE_S):
        if database.kind == "postgresql":
            database.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        missing = _missing(database, steps)  # Another worker may have been first.
        before = applied(database)
        if not _has_table(database):
            database.script(script_for(database.kind, _TABLE))
            _note(database, [step for step in steps if step.number in before])
        for step in missing:
            database.script(script_for(database.kind, step.text))
        _note(database, missing)
        if database.kind == "sqlite":
            highest = max(before.union(step.number for step in missing))
            database.run(f"PRAGMA user_version = {highest:d}")


def _missing(database: Database, steps: tuple[Script, ...]) -> list[Script]:
    taken = applied(database)
    if foreign := taken.difference(step.number for step in steps):
        raise ConfigError(
            f"the store has form {max(foreign)}, this Pointsman knows up to {steps[-1].number}: "
            "upgrade Pointsman, or choose another store"
        )
    return [step for step in steps if step.number not in taken]


def _note(database: Database, steps: list[Script]) -> None:
    now = database.now()
    database.run_many(
        "INSERT INTO migration (number, name, at) VALUES (?, ?, ?)",
        [(step.number, step.name, now) for step in steps],
    )


def _has_table(database: Database) -> bool:
    find = {
        "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'",
        # Not to_regclass: it may answer from what the connection knew before it got the lock.
        "postgresql": "SELECT 1 FROM pg_catalog.pg_tables"
        " WHERE tablename = 'migration' AND schemaname = current_schema()",
    }
    return bool(database.rows(find[database.kind]))


def _user_version(database: Database) -> int:
    if database.kind != "sqlite":
        return 0
    ((version,),) = database.rows("PRAGMA user_version")
    return int(version)
