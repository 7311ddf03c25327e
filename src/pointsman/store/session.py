"""What both engines' connections have in common: transactions that succeed or fail as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from pointsman.store.errors import StorageError

_Error = TypeVar("_Error", bound=StorageError)


class Session(ABC):
    """Keep whether a transaction is open, and the first failure in it, which spoils it.

    The rule is PostgreSQL's. SQLite would go on after a failed statement, and what works with one
    engine must not half-work with the other.
    """

    def __init__(self) -> None:
        self._in_transaction = False
        self._spoilt: StorageError | None = None

    @abstractmethod
    def _begin(self, patience_s: float | None) -> None: ...

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _roll_back(self) -> None:
        """Undo the transaction if it is still there; raise nothing, drop the connection instead."""

    @abstractmethod
    def _ended(self) -> None:
        """Put back what `_begin` has changed for one transaction."""

    @property
    def in_transaction(self) -> bool:
        return self._in_transaction

    @contextmanager
    def transaction(self, patience_s: float | None = None) -> Iterator[None]:
        if self._in_transaction:
            raise RuntimeError("a transaction is open already; they do not nest")
        try:
            self._begin(patience_s)
            self._in_transaction = True
            yield
            self._raise_if_spoilt()
            self._commit()
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._in_transaction = False
            self._spoilt = None
            self._ended()

    def _raise_if_spoilt(self) -> None:
        """Call it before every statement."""
        if self._spoilt is not None:
            raise self._spoilt

    def _noted(self, error: _Error) -> _Error:
        """Every failure passes through here, so that the transaction knows of it."""
        if self._in_transaction and self._spoilt is None:
            self._spoilt = error
        return error
