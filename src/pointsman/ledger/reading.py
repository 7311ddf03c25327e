"""Open a ledger for who only wants to read it.

Theory. A report brings the ledger's sums up to date before it reads them (`reports/rollup.py`), so
it writes, and opening a store brings its tables to the newest form. Neither may be done to a file
of an older form, beside which an older Pointsman may be serving, that would not know the tables
any more, nor can it be to a file that may only be read. Of these a copy is made, and the copy is
brought up to date and read: one way to add up, whatever the file. What is no ledger is refused
before anything is written to it.

A store in PostgreSQL belongs to those who serve from it: it is opened as they open it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.store.database import Database
from pointsman.store.errors import StorageError
from pointsman.store.migrate import applied, scripts
from pointsman.store.open import Store
from pointsman.store.sqlite import SqliteDatabase

PATIENCE_S: Final = 120.0
"""A report may read for longer than a request may wait."""


@dataclass(frozen=True, slots=True)
class Read:
    """An open ledger. is_copy: what is written to it is gone when it is closed."""

    database: Database
    is_copy: bool = False


@contextmanager
def reading(place: str | Path, clock: Clock) -> Iterator[Read]:
    """Open the ledger at a path or URL, for as long as the block lasts.

    Raises ConfigError, with a remedy, for a file that is none or of a newer form.
    """
    store = Store.of(place, clock, timeout_s=PATIENCE_S)
    with ExitStack() as held:
        path = None if store.kind == "postgresql" else Path(store.where)
        is_copy = path is not None and not _may_be_brought_up_to_date(path, clock)
        if path is not None and is_copy:
            folder = Path(held.enter_context(TemporaryDirectory(prefix="pointsman-")))
            _copy(path, folder / "ledger.db")
            store = Store.of(folder / "ledger.db", clock, timeout_s=PATIENCE_S)
        yield Read(held.enter_context(closing(store.open())), is_copy)


def _may_be_brought_up_to_date(path: Path, clock: Clock) -> bool:
    """Whether a file is of the newest form and may be written. Raises ConfigError."""
    if not path.is_file():
        raise ConfigError(
            f"ledger {path}: no such file; start `pointsman serve` with `ledger.path` set, "
            "or name another with --ledger"
        )
    known = frozenset(script.number for script in scripts())
    with _untouched(path) as connection:
        try:
            taken = applied(SqliteDatabase.around(connection, clock))
        except StorageError as error:
            raise _unreadable(path, error.__cause__ or error) from error
    if not taken:
        raise ConfigError(f"ledger {path}: has no tables of ours; is it a ledger?")
    if taken - known:
        raise ConfigError(
            f"ledger {path}: has form {max(taken)}, this Pointsman reads up to {max(known)}; "
            "upgrade Pointsman, or name another with --ledger"
        )
    return taken == known and os.access(path, os.W_OK) and _is_folder_writable(path)


def _is_folder_writable(path: Path) -> bool:
    """SQLite keeps its log beside the file, and makes it anew where there is none."""
    return os.access(path.parent, os.W_OK)


def _copy(path: Path, target: Path) -> None:
    """Copy a file as it is at one moment, with what its log has."""
    with _untouched(path) as source, closing(sqlite3.connect(target)) as copied:
        try:
            source.backup(copied)
        except sqlite3.Error as error:
            raise _unreadable(path, error) from error


@contextmanager
def _untouched(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing, beside whoever writes."""
    how = "mode=ro"
    if not _is_folder_writable(path) and not path.with_name(f"{path.name}-wal").exists():
        # Nobody is writing, and without a log of its own SQLite would not open it.
        how += "&immutable=1"
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None, timeout=5.0
        )
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    with closing(connection):
        yield connection


def _unreadable(path: Path, error: BaseException) -> ConfigError:
    return ConfigError(f"ledger {path}: cannot be read ({error})")
