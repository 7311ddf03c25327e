"""What the rest of the house knows of a database: one connection, in the hands of one thread.

The calls block, so they are made on threads of their own, never on an event loop. A connection
belongs to the thread that uses it; it may be handed to another, but two must not use it at once.
It is made at the first use, and made anew at the first use after it was lost.

Statements are written once for both engines: `?` for values, types and functions that both have.
What to mind is told in `migrations/README.md`.

A transaction in which a statement has failed is spoilt, whichever the engine: nothing more can be
done in it, and it cannot be committed, even where the failure was caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["sqlite", "postgresql"]
Value: TypeAlias = "int | float | str | bytes | None"


class Row(Protocol):
    """A row that answers by a column's name or number."""

    def __getitem__(self, column: str | int) -> Any: ...


class Database(Protocol):
    """One connection. Every call raises StorageUnavailable, RowRefused or BadStatement."""

    @property
    def kind(self) -> Kind: ...

    @property
    def for_update(self) -> str:
        """What to end a SELECT with so that its rows stay ours until the transaction's end.

        " FOR UPDATE" in PostgreSQL; "" in SQLite, where a transaction has the whole file.
        """
        ...

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows, also those of RETURNING."""
        ...

    def named(self, sql: str, values: Sequence[Value] = ()) -> Sequence[Row]:
        """The same, as rows that answer to `row["column"]`."""
        ...

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run a statement and return how many rows it has changed."""
        ...

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row of values: for all of them or, where one fails, for none."""
        ...

    def script(self, sql: str) -> None:
        """Run several statements without values, each ended by a semicolon at a line's end."""
        ...

    def transaction(self, patience_s: float | None = None) -> AbstractContextManager[None]:
        """Commit what is done inside, or nothing of it if anything is raised; not nested.

        SQLite takes the file's write lock at once. PostgreSQL reads what is committed at each
        statement (READ COMMITTED): lock what you decide upon, by `for_update` or by an UPDATE.
        patience_s: how long each statement may take, where it is not the usual time.
        """
        ...

    @property
    def in_transaction(self) -> bool: ...

    def now(self) -> float:
        """Seconds since the Unix epoch by the clock that everybody at this store shares."""
        ...

    def close(self) -> None: ...


Prepare: TypeAlias = Callable[[Database], None]
"""What is done to a new connection before its first use, such as bringing tables up to date."""


def as_it_is(database: Database) -> None:
    """Do nothing to a new connection."""
