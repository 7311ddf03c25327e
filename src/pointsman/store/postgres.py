"""A database at a PostgreSQL server, over one connection of its own.

Theory. The driver is asynchronous and the callers are threads, so each connection owns a private
event loop, which turns only while a statement runs. Time is bounded twice: the server ends a
statement (also one that waits for a lock) after four fifths of `timeout_s`, and the connection
stays good; where nothing has come back after `timeout_s` the server hangs or is cut off, and the
connection is dropped. So no thread waits longer, whatever the server does.

A transaction whose owner has fallen silent is ended by the server after `IDLE_FACTOR` times
`timeout_s`: a process that was stopped in the middle must not keep its locks.

Between statements nobody listens to the socket, so a connection that was closed meanwhile is found
out before it is used: the loop turns a few times, which costs about 15 µs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pointsman.errors import ConfigError
from pointsman.store.database import Kind, Prepare, Row, Value, as_it_is
from pointsman.store.errors import BadStatement, RowRefused, StorageError, StorageUnavailable
from pointsman.store.session import Session

try:
    import asyncpg
except ImportError as missing:
    raise ConfigError(
        "PostgreSQL needs the package asyncpg: pip install pointsman[postgres]"
    ) from missing

_Answer = TypeVar("_Answer")

ROWS_AT_ONCE = 1000
"""Rows sent together by `run_many`; `timeout_s` is for each such chunk."""
SERVER_SHARE = 0.8
"""The server's limit as a share of ours: it is to speak first, so that the connection lives."""
IDLE_FACTOR = 2.0
CLOSE_S = 0.5
LISTENED_TURNS = 4

_DRIVERS = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(OSError, ValueError),
)
_ROWS_OWN = frozenset({"21", "22", "23"})  # cardinality, data, integrity
_OURS = frozenset({"0A", "26", "34", "42"})  # not supported, no such statement, syntax and names
_BUSY = frozenset({"40001", "40P01", "55P03", "57014", "55006"})
"""Serialization, deadlock, lock not available, cancelled by its timeout, object in use."""
_RAISED = frozenset({"P0001"})  # RAISE in a function of ours: as a constraint.

_PARTS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | (\?)""", re.X | re.S
)


@lru_cache(maxsize=1024)
def numbered(sql: str) -> str:
    """Replace each `?` outside of strings, names and comments by $1, $2, …"""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match[1] is None:
            return match[0]
        count += 1
        return f"${count}"

    return _PARTS.sub(number, sql)


class PostgresDatabase(Session):
    """A Database at `url`, postgresql://user:password@host:port/database.

    timeout_s: the longest a statement may take. connect_s: the longest connecting may take. Both
    in seconds. A pooler that hands each transaction to another server connection will not do.
    """

    kind: Kind = "postgresql"
    for_update = " FOR UPDATE"

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 5.0,
        connect_s: float = 2.0,
        prepare: Prepare = as_it_is,
    ) -> None:
        super().__init__()
        self._url = url
        self._shown = shown(url)
        self._timeout_s = timeout_s
        self._connect_s = connect_s
        self._prepare = prepare
        self._patience_s = timeout_s
        self._connection: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # Statements.

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._fetched(sql, values)]

    def named(self, sql: str, values: Sequence[Value] = ()) -> Sequence[Row]:
        return self._fetched(sql, values)

    def _fetched(self, sql: str, values: Sequence[Value]) -> list[Any]:
        sent = numbered(sql)
        connection = self._ready()
        return self._awaited(connection.fetch(sent, *_kept(values), timeout=self._patience_s))

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        # "UPDATE 3", "INSERT 0 3", or a word alone.
        count = self._executed(numbered(sql), values).rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    def _executed(self, sql: str, values: Sequence[Value] = ()) -> str:
        connection = self._ready()
        kept = _kept(values)
        said: str = self._awaited(connection.execute(sql, *kept, timeout=self._patience_s))
        return said

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        if not self.in_transaction:
            with self.transaction():
                self.run_many(sql, rows)
            return
        sent, source = numbered(sql), map(_kept, rows)
        while chunk := list(islice(source, ROWS_AT_ONCE)):
            connection = self._ready()
            self._awaited(connection.executemany(sent, chunk, timeout=self._patience_s))

    def script(self, sql: str) -> None:
        self._executed(sql)

    def now(self) -> float:
        ((now,),) = self.rows("SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)")
        return float(now)

    # Transactions.

    def _begin(self, patience_s: float | None) -> None:
        self._executed("BEGIN ISOLATION LEVEL READ COMMITTED")
        if patience_s is not None:
            self._executed(f"SET LOCAL statement_timeout = {_served(patience_s)}")
            self._patience_s = patience_s

    def _commit(self) -> None:
        # A server that finds the transaction spoilt says so by this one word only.
        if self._executed("COMMIT") == "ROLLBACK":
            raise StorageUnavailable(f"{self._shown}: the transaction was rolled back")

    def _roll_back(self) -> None:
        if self._connection is None or self._connection.is_closed():
            return
        self._spoilt = None
        try:
            if self._connection.is_in_transaction():
                self._executed("ROLLBACK")
        except StorageError:  # Without its connection the server undoes it by itself.
            self._let_go()

    def _ended(self) -> None:
        self._patience_s = self._timeout_s

    # The connection.

    def _ready(self) -> Any:
        """The connection, made anew if it was lost; never in the middle of a transaction."""
        _refuse_inside_a_loop()
        self._raise_if_spoilt()
        if self._connection is not None and not self._in_transaction and self._was_closed():
            self._let_go()
        if self._connection is None:
            if self._in_transaction:
                raise self._noted(StorageUnavailable(f"{self._shown}: the connection was lost"))
            self._connect()
        return self._connection

    def _was_closed(self) -> bool:
        """Whether the server has hung up while nobody listened."""
        if not self._connection.is_closed():
            self._turned(_listened())
        return bool(self._connection.is_closed())

    def _connect(self) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        settings = {
            "application_name": "pointsman",
            "statement_timeout": _served(self._timeout_s),
            "idle_in_transaction_session_timeout": str(int(self._timeout_s * IDLE_FACTOR * 1000)),
            "timezone": "UTC",
            "jit": "off",  # Ours are small statements: compiling them costs more than it saves.
        }
        self._connection = self._awaited(self._connected(settings))
        try:
            self._prepare(self)
        except BaseException:
            self._let_go()
            raise

    async def _connected(self, settings: dict[str, str]) -> Any:
        async with asyncio.timeout(self._connect_s):
            connection = await asyncpg.connect(
                self._url, timeout=self._connect_s, server_settings=settings
            )
            # Sums of BIGINT are NUMERIC: whole ones are int, as in SQLite, and means are float.
            await connection.set_type_codec(
                "numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text"
            )
            return connection

    def _awaited(self, answer: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Turn the loop until the answer is there; map what goes wrong, drop what is unsound."""
        try:
            return self._turned(answer)
        except _DRIVERS as error:
            failure = self._judged(error)
            if isinstance(failure, StorageUnavailable) and not failure.is_busy:
                self._let_go()
            raise self._noted(failure) from error
        except BaseException:  # Interrupted: what the connection would say next is unknown.
            self._let_go()
            raise

    def _turned(self, answer: Coroutine[Any, Any, _Answer]) -> _Answer:
        assert self._loop is not None
        return self._loop.run_until_complete(answer)

    def _judged(self, error: Exception) -> StorageError:
        """Whose fault an error is.

        1. nobody answered; 2. somebody's lock; 3. a row, by the server's word or by the driver's,
        who fits values to types; 4. a statement; 5. all else is the server's or the network's.
        """
        if isinstance(error, TimeoutError):
            return StorageUnavailable(f"{self._shown}: no answer in time")
        said = f"{self._shown}: {error}"
        state: str = getattr(error, "sqlstate", None) or ""
        is_drivers = not state and self._connection is not None and not self._connection.is_closed()
        if state in _BUSY:
            return StorageUnavailable(said, is_busy=True)
        if state[:2] in _ROWS_OWN or state in _RAISED:
            return RowRefused(said)
        if is_drivers and isinstance(error, ValueError):
            return RowRefused(said)
        if isinstance(error, asyncpg.InvalidCachedStatementError):  # Tables changed beneath us.
            return StorageUnavailable(said)
        if state[:2] in _OURS or (is_drivers and isinstance(error, asyncpg.InterfaceError)):
            return BadStatement(said)
        return StorageUnavailable(said)

    def _let_go(self) -> None:
        """Drop the connection without a word, and all that the driver still has under way."""
        connection, self._connection = self._connection, None
        if self._loop is None:
            return
        if connection is not None and not connection.is_closed():
            connection.terminate()
        self._turned(_cancelled(asyncio.all_tasks(self._loop)))

    def close(self) -> None:
        if self._loop is None:
            return
        _refuse_inside_a_loop()
        if self._connection is not None and not self._connection.is_closed():
            try:
                self._turned(self._connection.close(timeout=CLOSE_S))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                pass  # It hangs or is gone: dropping it is all there is left to do.
        self._let_go()
        self._loop.close()
        self._loop = None

    def __repr__(self) -> str:
        state = "closed" if self._connection is None else "open"
        return f"PostgresDatabase({self._shown!r}, {state})"


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("a store blocks: use it on a thread of its own, not on an event loop")


async def _listened() -> None:
    """Let what has come be read: its last words, then its end, then what the driver makes of it."""
    for _ in range(LISTENED_TURNS):
        await asyncio.sleep(0)


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # So that transports close their sockets.


def _number(text: str) -> int | float:
    return float(text) if "." in text or not text.lstrip("-").isdecimal() else int(text)


def _served(seconds: float) -> str:
    """The server's limit for a statement that may take `seconds`, in milliseconds."""
    return str(max(1, int(seconds * SERVER_SHARE * 1000)))


def _kept(values: Sequence[Value]) -> Sequence[Value]:
    """Values with U+FFFD for NUL in texts, which PostgreSQL has no place for: what a client or a
    provider wrote into a name must not cost the ledger the whole row."""
    return [v.replace("\0", "\ufffd") if type(v) is str and "\0" in v else v for v in values]


def shown(url: str) -> str:
    """A URL without its password and options, for messages and logs."""
    parts = urlsplit(url)
    user, host = parts.username or "", parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{user}{'@' if user else ''}{host}{parts.path}"
