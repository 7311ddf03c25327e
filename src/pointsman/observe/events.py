"""What observers are: callables that take one frozen record, the ledger entry of a request.

They run on the event loop when the request has settled, so they only count or append. One that
raises is logged by `Observers` and never touches the request or the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from pointsman.ledger.entries import LedgerEntry

Observer = Callable[[LedgerEntry], None]

_log = logging.getLogger("pointsman")


class Observers:
    """Tell many."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def __call__(self, entry: LedgerEntry) -> None:
        for observer in self._observers:
            try:
                observer(entry)
            except Exception:  # noqa: BLE001  an observer is the outermost edge of its own work
                _log.exception("observer.failed observer=%r request=%s", observer, entry.request_id)

    def __repr__(self) -> str:
        return f"Observers{self._observers!r}"
