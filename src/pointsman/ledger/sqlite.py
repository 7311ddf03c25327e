"""The ledger in a SQLite file, without a log: for where there is no more than a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pointsman.clock import Clock
from pointsman.ledger.keeper import KeptLedger
from pointsman.store.database import Database
from pointsman.store.open import Store


class SqliteLedger(KeptLedger):
    """A KeptLedger in the file at `path`. busy_s: how long to wait for another's lock."""

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
        open: Callable[[], Database] | None = None,
    ) -> None:
        super().__init__(
            Store.of(path, clock, timeout_s=busy_s),
            clock,
            flush_s,
            batch_rows,
            pending_rows=pending_rows,
            retry_s=retry_s,
            close_s=close_s,
            open=open,
        )
