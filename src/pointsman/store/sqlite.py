"""A database that is a SQLite file, which several processes may share.

The file is in WAL mode: who reads does not wait for who writes. With synchronous=NORMAL a commit
survives `kill -9` of the process, whose dirty pages belong to the kernel; a power cut may take
what came after the last checkpoint. FULL syncs at every commit.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.store.database import Kind, Prepare, Row, Value, as_it_is
from pointsman.store.errors import BadStatement, RowRefused, StorageError, StorageUnavailable
from pointsman.store.session import Session

_ROWS_OWN = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})
_OURS = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_SCHEMA})
_PAUSE_S = 0.005
OLDEST = (3, 37)
"""STRICT tables."""


class SqliteDatabase(Session):
    """A Database in the file at `path`, which is made where there is none.

    busy_s: how long to wait for another connection's lock, in seconds. prepare: what is done to
    a new connection, such as bringing its tables up to date.
    """

    kind: Kind = "sqlite"
    for_update = ""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        busy_s: float = 5.0,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        prepare: Prepare = as_it_is,
    ) -> None:
        super().__init__()
        self._path = path
        self._clock = clock
        self._busy_s = busy_s
        self._synchronous = synchronous
        self._prepare = prepare
        self._connection: sqlite3.Connection | None = None
        self._usual_ms: int | None = None
        """What a patient transaction has to put back."""

    @classmethod
    def around(cls, connection: sqlite3.Connection, clock: Clock) -> Self:
        """A Database of a connection that is open already, in autocommit mode."""
        database = cls(Path(), clock)
        database._connection = connection
        return database

    # Statements.

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        with self._at_work() as connection:
            return connection.execute(sql, values).fetchall()

    def named(self, sql: str, values: Sequence[Value] = ()) -> Sequence[Row]:
        with self._at_work() as connection:
            cursor = connection.cursor()
            cursor.row_factory = sqlite3.Row
            return cursor.execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        with self._at_work() as connection:
            cursor = connection.execute(sql, values)
            cursor.fetchall()  # A statement with RETURNING ends only with its last row.
            return max(cursor.rowcount, 0)

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        if not self.in_transaction:
            with self.transaction():
                self.run_many(sql, rows)
            return
        with self._at_work() as connection:
            connection.executemany(sql, rows)

    def script(self, sql: str) -> None:
        for statement in statements(sql):
            self.run(statement)

    def now(self) -> float:
        return self._clock.wall()

    # Transactions.

    def _begin(self, patience_s: float | None) -> None:
        if patience_s is not None:
            ((usual,),) = self.rows("PRAGMA busy_timeout")
            self.rows(f"PRAGMA busy_timeout = {int(patience_s * 1000):d}")
            self._usual_ms = usual
        self.run("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        self.run("COMMIT")

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is None or not connection.in_transaction:
            return
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:  # Closing undoes it too.
            self._let_go()

    def _ended(self) -> None:
        usual, self._usual_ms = self._usual_ms, None
        if usual is not None and self._connection is not None:
            self._connection.execute(f"PRAGMA busy_timeout = {usual:d}")

    # The connection.

    @contextmanager
    def _at_work(self) -> Iterator[sqlite3.Connection]:
        self._raise_if_spoilt()
        try:
            if self._connection is None:
                self._connect()
            assert self._connection is not None
            yield self._connection
        except (sqlite3.Error, OSError, OverflowError, UnicodeEncodeError) as error:
            failure, is_lost = _judged(self._path, error)
            if is_lost:
                self._let_go()
            raise self._noted(failure) from error

    def _connect(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise ConfigError(
                f"{self._path}: SQLite {sqlite3.sqlite_version} is too old, "
                f"{'.'.join(map(str, OLDEST))} or newer is needed"
            )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            self._path,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            _write_ahead(self._connection, self._busy_s)
            self._connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._connection.execute("PRAGMA foreign_keys = ON")  # As PostgreSQL has it.
            self._prepare(self)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        """Close the file, to open it anew by its path: it may have been moved or remounted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self._let_go()

    def __repr__(self) -> str:
        state = "closed" if self._connection is None else "open"
        return f"SqliteDatabase({str(self._path)!r}, {state})"


def _write_ahead(connection: sqlite3.Connection, busy_s: float) -> None:
    """Put the file in WAL mode. SQLite does not wait where two do so at once, so we do."""
    until = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _judged(path: Path, error: Exception) -> tuple[StorageError, bool]:
    """Whose fault an error is, and whether the connection is to be given up.

    1. a value no column can hold; 2. a constraint; 3. the statement; 4. somebody's lock; 5. the
    file.
    """
    said = f"{path}: {error}"
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return RowRefused(said), False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # The module's own errors.
        if isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError):
            is_rows = str(error).startswith("Error binding parameter")
            return (RowRefused(said) if is_rows else BadStatement(said)), False
        return StorageUnavailable(said), True
    code &= 0xFF  # The rest of an extended code says more about the same.
    if code in _ROWS_OWN:
        return RowRefused(said), False
    if code in _OURS:
        return BadStatement(said), False
    is_busy = code in _BUSY
    return StorageUnavailable(said, is_busy=is_busy), not is_busy


def statements(script: str) -> Iterator[str]:
    """Split a script where SQLite says that a statement is whole (triggers hold semicolons)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
