"""The books of one process: ledger, budgets and the log between them, put together and run.

Where the ledger is kept, budgets are kept in the same store, and workers lease their parts of them
there; whoever starts several workers without one is told so, since each would count for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.budgets.treasury import Treasury
from pointsman.clock import Clock
from pointsman.config.settings import Settings
from pointsman.domain.budgets import Budget
from pointsman.errors import ConfigError
from pointsman.ledger.entries import LedgerStore
from pointsman.ledger.memory import MemoryLedger
from pointsman.ledger.sqlite import SqliteLedger


class Books:
    """`ledger` None: as the settings say."""

    def __init__(self, settings: Settings, clock: Clock, ledger: LedgerStore | None = None) -> None:
        self.ledger = ledger if ledger is not None else _ledger_of(settings, clock)
        self.treasury = Treasury(settings.budgets, MemoryEscrow(clock), clock)
        self._of_file: tuple[Budget, ...] = settings.budgets
        self._stored: tuple[Budget, ...] = ()

    def follow(self, budgets: Sequence[Budget]) -> None:
        """Go by the budgets and rates of another configuration."""
        self._of_file = tuple(budgets)
        self._tell()

    def follow_stored(self, budgets: Sequence[Budget]) -> None:
        """Go by these of the store too; where both have one of a name, the file's counts."""
        self._stored = tuple(budgets)
        self._tell()

    def _tell(self) -> None:
        names = {budget.name for budget in self._of_file}
        stored = (budget for budget in self._stored if budget.name not in names)
        self.treasury.follow((*self._of_file, *stored))

    async def start(self) -> None:
        await self.treasury.start()

    async def close(self) -> None:
        """Hand back what is leased, then make the ledger durable."""
        await self.treasury.close()
        await asyncio.to_thread(self.ledger.close)

    def __repr__(self) -> str:
        return f"Books({self.ledger!r}, {self.treasury!r})"


def check_shared(settings: Settings) -> None:
    """Raise ConfigError where several workers would each count for themselves."""
    if settings.budgets and not settings.ledger.is_kept:
        raise ConfigError(
            f"{settings.origin}: budgets and rates need `ledger.path` or `ledger.url` with several "
            "workers: in memory each would count for itself"
        )


def _ledger_of(settings: Settings, clock: Clock) -> LedgerStore:
    ledger = settings.ledger
    if ledger.path is None:
        return MemoryLedger()
    return SqliteLedger(ledger.path, clock, flush_s=ledger.flush_s, batch_rows=ledger.batch_rows)
