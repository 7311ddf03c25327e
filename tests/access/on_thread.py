"""A database that works on a thread of its own, for tests that run on an event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from pointsman.store.database import Database, Kind, Row, Value

_Found = TypeVar("_Found")


class OnThread:
    """Does what a Database does, on its thread, while the caller waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1)

    def _do(self, work: Callable[..., _Found], *values: Any) -> _Found:
        return self._thread.submit(work, *values).result()

    @property
    def kind(self) -> Kind:
        return self._database.kind

    @property
    def for_update(self) -> str:
        return self._database.for_update

    @property
    def in_transaction(self) -> bool:
        return self._database.in_transaction

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._do(self._database.rows, sql, values)

    def named(self, sql: str, values: Sequence[Value] = ()) -> Sequence[Row]:
        return self._do(self._database.named, sql, values)

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        return self._do(self._database.run, sql, values)

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self._do(self._database.run_many, sql, rows)

    def script(self, sql: str) -> None:
        self._do(self._database.script, sql)

    def now(self) -> float:
        return self._do(self._database.now)

    @contextmanager
    def transaction(self, patience_s: float | None = None) -> Iterator[None]:
        begun = self._database.transaction(patience_s)
        self._do(begun.__enter__)
        try:
            yield
        except BaseException as error:
            self._do(begun.__exit__, type(error), error, error.__traceback__)
            raise
        self._do(begun.__exit__, None, None, None)

    def close(self) -> None:
        self._do(self._database.close)
        self._thread.shutdown()
