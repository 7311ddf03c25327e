"""What can go wrong in a store, divided by what the caller does next.

StorageError
├── StorageUnavailable   the store's: try again later; nothing is wrong with the rows
├── RowRefused           the row's own: it will never be taken, leave it out
└── BadStatement         ours: a statement and the tables do not fit; a bug, or a foreign store
"""

from __future__ import annotations

from pointsman.errors import PointsmanError


class StorageError(PointsmanError):
    """A statement that was not carried out. The driver's own error is its `__cause__`.

    The message names the file or the server, and so is the operator's: see `told`.
    """

    @property
    def told(self) -> str:
        return "an error of the store that is not the request's fault"


class StorageUnavailable(StorageError):
    """Locked, full, read-only, unreachable, lost, or too slow.

    is_busy: somebody else's lock was in the way (a deadlock counts too): the store itself is well.
    Where the connection is lost during a commit nobody can know whether it took place, so what
    is tried again has to be safe to repeat.
    """

    status = 503
    code = "storage_unavailable"
    should_retry = True

    def __init__(self, message: str, *, is_busy: bool = False) -> None:
        super().__init__(message, retry_after_s=1.0)
        self.is_busy = is_busy

    @property
    def told(self) -> str:
        return "the store does not answer, or cannot be written to, just now; try again"


class RowRefused(StorageError):
    """A constraint was broken, or a value fits no column."""


class BadStatement(StorageError):
    """No such table or column, bad syntax, or not as many values as placeholders."""
