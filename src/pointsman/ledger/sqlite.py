"""The ledger in a SQLite file: a queue, one writer thread, batches.

Theory. `append` runs on the event loop for every request, so it only puts the entry on a deque
and, when the writer sleeps, wakes it: two tenths of a microsecond. The writer waits `flush_s` so
that a batch forms, then writes it in one transaction (about 20 µs an entry; 140 µs each if
written singly). SQLite lets go of the interpreter's lock while it works, so the loop runs on.

The file is in WAL mode with synchronous=NORMAL: a committed batch survives `kill -9` of the
process, whose dirty pages belong to the kernel; a power cut may take what came after the last
checkpoint. `flush` makes one.

When the file cannot be written (full disk, another process's lock beyond `busy_s`, a file gone)
the batch is kept and tried again with growing pauses, while up to `pending_rows` entries wait
in memory. What comes on top is counted in `lost`; the log says once when writing stops, once
when entries begin to be lost, and once when all is well again. Nobody waits and nothing is
raised on the loop.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.migrate import migrate
from pointsman.ledger.rows import (
    ATTEMPT_COLUMNS,
    ENTRY_COLUMNS,
    Row,
    attempt_rows,
    decision_json,
    entry_row,
    tags_of,
)

log = logging.getLogger("pointsman.ledger")

_ENTRYS_FAULT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
)
"""What SQLite says of a row that no table of ours can hold; all else is the file's fault."""

Connect = Callable[[Path, float], sqlite3.Connection]


def connect(path: Path, busy_s: float) -> sqlite3.Connection:
    """Open the ledger's file for writing, made and migrated where needed.

    `busy_s` is how long to wait for another process's lock, in seconds. Raises sqlite3.Error,
    OSError, and ConfigError for a file of a newer form.
    """
    if sqlite3.sqlite_version_info < (3, 37):
        raise ConfigError(
            f"ledger {path}: SQLite {sqlite3.sqlite_version} is too old, 3.37 or newer is needed"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


class _Barrier:
    """A mark in the queue: all before it is written, or given up, when `passed` is set."""

    __slots__ = ("is_last", "passed")

    def __init__(self, *, is_last: bool) -> None:
        self.is_last = is_last
        self.passed = threading.Event()


class SqliteLedger:
    """A LedgerStore in one file, which several processes may share.

    flush_s: how long a batch gathers, in seconds: what `kill -9` may take. batch_rows: entries
    a transaction. pending_rows: entries that wait in memory at most. retry_s: first and longest
    pause after a failed write. close_s: how long `close` keeps trying.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        flush_s: float = 0.2,
        batch_rows: int = 512,
        *,
        pending_rows: int = 100_000,
        busy_s: float = 5.0,
        retry_s: tuple[float, float] = (0.1, 5.0),
        close_s: float = 5.0,
        connect: Connect = connect,
    ) -> None:
        self.lost = 0
        self._path = path
        self._clock = clock
        self._flush_s = flush_s
        self._batch_rows = batch_rows
        self._limit = pending_rows
        self._busy_s = busy_s
        self._retry_s = retry_s
        self._close_s = close_s
        self._connect = connect
        self._queue: deque[LedgerEntry | _Barrier] = deque()
        self._counting = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._is_idle = False
        self._closes_at: float | None = None
        self._gave_up = False
        self._stalled_at: float | None = None
        self._lost_told = 0
        self._connection: sqlite3.Connection | None = self._opened()
        self._thread = threading.Thread(target=self._run, name="pointsman-ledger", daemon=True)
        self._thread.start()

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connect(self._path, self._busy_s)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"ledger {self._path}: cannot be written ({error}); "
                "choose a writable `ledger.path`, or leave it out to keep the ledger in memory"
            ) from error

    # On the event loop.

    def append(self, entry: LedgerEntry) -> None:
        if len(self._queue) >= self._limit:
            self._lose(1)
            return
        self._queue.append(entry)
        if self._is_idle:
            self._is_idle = False
            self._wake.set()

    @property
    def fault(self) -> str:
        """Why nothing is written just now; "" where all is well."""
        if not self._thread.is_alive():
            return "closed"
        return "" if self._stalled_at is None else "cannot be written"

    # On any other thread.

    def flush(self) -> None:
        """Return when everything appended before is in the file and synced to the disk.

        Blocks for as long as the file cannot be written. After `close` it returns at once.
        """
        self._pass(_Barrier(is_last=False))

    def close(self) -> None:
        """Write what is left, for at most `close_s` seconds more, and let go of the file.

        Entries that still cannot be written, and any appended from now on, are `lost`.
        """
        self._limit = 0
        self._closes_at = self._clock.now() + self._close_s
        self._pass(_Barrier(is_last=True))
        self._thread.join()

    def _pass(self, barrier: _Barrier) -> None:
        self._queue.append(barrier)
        self._hurry.set()
        self._wake.set()
        while self._thread.is_alive() and not barrier.passed.wait(0.05):
            pass

    def _lose(self, entries: int) -> None:
        with self._counting:
            self.lost += entries

    # On the writer thread.

    def _run(self) -> None:
        while True:
            self._await_work()
            batch, barrier = self._take()
            self._store(batch)
            if barrier is None:
                continue
            if barrier.is_last:
                break
            self._sync()
            barrier.passed.set()
        self._let_go()
        barrier.passed.set()

    def _await_work(self) -> None:
        """Sleep until there is an entry, then until a batch has formed or somebody hurries.

        `_is_idle` is raised before the queue is looked at a last time: an entry that `append`
        puts there without waking us is then either seen here or wakes us.
        """
        if not self._queue:
            self._is_idle = True
            if not self._queue:
                self._wake.wait()
            self._is_idle = False
            self._wake.clear()
        if len(self._queue) < self._batch_rows and self._hurry.wait(self._flush_s):
            self._hurry.clear()

    def _take(self) -> tuple[list[LedgerEntry], _Barrier | None]:
        batch: list[LedgerEntry] = []
        while self._queue and len(batch) < self._batch_rows:
            item = self._queue.popleft()
            if isinstance(item, _Barrier):
                return batch, item
            batch.append(item)
        return batch, None

    def _store(self, batch: Sequence[LedgerEntry]) -> None:
        """Write a batch, again and again if need be; lose it only when closing.

        1. nothing to do, or given up; 2. written; 3. the file is at fault: keep the batch,
        pause, try again; 4. an entry is at fault: write the others singly, so that one
        impossible entry costs only itself.
        """
        pause, longest = self._retry_s
        while batch:
            if self._gave_up:
                self._lose(len(batch))
                return
            try:
                self._write(batch)
            except _ENTRYS_FAULT as error:
                self._write_singly(batch, error)
                return
            except (sqlite3.Error, OSError, ConfigError) as error:
                self._tell_stall(error, len(batch))
                self._let_go()
                self._hurry.wait(pause)
                self._hurry.clear()
                pause = min(pause * 2, longest)
                self._gave_up = self._closes_at is not None and self._clock.now() >= self._closes_at
            except Exception as error:  # noqa: BLE001 - the thread's outermost edge
                self._write_singly(batch, error)
                return
            else:
                self._tell_recovery()
                return

    def _write_singly(self, batch: Sequence[LedgerEntry], error: Exception) -> None:
        """Write what can be written of a batch that failed as a whole; lose the one at fault."""
        if len(batch) > 1:
            for entry in batch:
                self._store([entry])
            return
        self._lose(1)
        log.error("ledger.refused request_id=%s error=%r", batch[0].request_id, str(error))

    def _write(self, batch: Sequence[LedgerEntry]) -> None:
        """Write a batch in one transaction, leaving out entries that are there already."""
        if self._connection is None:
            self._connection = self._connect(self._path, self._busy_s)
        try:
            with _transaction(self._connection) as connection:
                _insert(connection, batch)
        except _Repeated:
            with _transaction(self._connection) as connection:
                _insert(connection, _unknown(connection, batch))

    def _let_go(self) -> None:
        """Close the file, to open it anew by its path: it may have been moved or remounted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _sync(self) -> None:
        """Bring what is committed to the disk itself."""
        if self._connection is None:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            log.error("ledger.unsynced path=%s error=%r", self._path, str(error))

    def _tell_stall(self, error: Exception, held: int) -> None:
        if self._stalled_at is None:
            self._stalled_at = self._clock.now()
            self._lost_told = self.lost
            log.error("ledger.stalled path=%s error=%r", self._path, str(error))
        elif self.lost > self._lost_told:
            self._lost_told = 1 << 62
            log.error("ledger.losing path=%s pending=%d", self._path, held + len(self._queue))

    def _tell_recovery(self) -> None:
        if self._stalled_at is not None:
            after_s = self._clock.now() - self._stalled_at
            self._stalled_at = None
            log.warning(
                "ledger.recovered path=%s after_s=%.1f lost=%d", self._path, after_s, self.lost
            )

    def __repr__(self) -> str:
        state = "open" if self._stalled_at is None else "stalled"
        state = state if self._thread.is_alive() else "closed"
        pending = len(self._queue)
        return f"SqliteLedger({str(self._path)!r}, {state}, pending={pending}, lost={self.lost})"


# What is done inside a transaction.


class _Insert:
    """An INSERT of one row, and the same of `ROWS_AT_ONCE`."""

    __slots__ = ("many", "one")

    def __init__(self, table: str, columns: Sequence[str], conflict: str = "") -> None:
        row = f"({', '.join('?' * len(columns))})"
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608
        self.one = head + row + conflict
        self.many = head + ", ".join([row] * ROWS_AT_ONCE) + conflict

    def write(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
        for chunk in _chunks(rows):
            if len(chunk) == ROWS_AT_ONCE:
                connection.execute(self.many, tuple(itertools.chain.from_iterable(chunk)))
            else:
                connection.executemany(self.one, chunk)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while chunk := list(itertools.islice(source, ROWS_AT_ONCE)):
        yield chunk


ROWS_AT_ONCE = 32
"""Rows a statement. SQLite lets go of the interpreter's lock at every statement, and the event
loop pays for each time it is taken back; rows are made holding it, so not all at once either."""

_ENTRY = _Insert("entry", ENTRY_COLUMNS, " ON CONFLICT (request_id) DO NOTHING")
"""Not INSERT OR IGNORE, which would also pass over a row that breaks a CHECK."""
_ATTEMPT = _Insert("attempt", ATTEMPT_COLUMNS)
_TAG = _Insert("tag", ("entry", "name", "value"))
_DECISION = _Insert("decision", ("entry", "body"))


class _Repeated(Exception):
    """A batch holds an entry that is in the file already, or the same one twice."""


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Take the write lock, then commit, or roll back whatever fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert(connection: sqlite3.Connection, batch: Sequence[LedgerEntry]) -> None:
    """Insert entries with all that belongs to them; raise `_Repeated` where one is not new.

    We hold the write lock, so the numbers after the last one are ours.
    """
    last: int = connection.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()[0]
    before = connection.total_changes
    numbered = list(enumerate(batch, last + 1))
    _ENTRY.write(connection, (entry_row(seq, each) for seq, each in numbered))
    if connection.total_changes - before != len(batch):
        raise _Repeated
    _ATTEMPT.write(connection, (row for seq, each in numbered for row in attempt_rows(seq, each)))
    _TAG.write(
        connection,
        ((seq, name, value) for seq, each in numbered for name, value in tags_of(each).items()),
    )
    _DECISION.write(
        connection,
        (
            (seq, decision_json(each.decision))
            for seq, each in numbered
            if each.decision is not None
        ),
    )


def _unknown(connection: sqlite3.Connection, batch: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """The entries of a batch that are not in the file, each once."""
    find = "SELECT 1 FROM entry WHERE request_id = ?"
    first = {entry.request_id: entry for entry in reversed(list(batch))}
    new = [
        e for e in first.values() if connection.execute(find, (e.request_id,)).fetchone() is None
    ]
    return new[::-1]
