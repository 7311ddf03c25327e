"""The books of one process: ledger, log and budgets, put together and run.

Where the ledger is kept, budgets are kept in the same store, and each worker leases its parts of
them there. Without one everything is in memory; whoever starts several workers like that is told
so, since each would count for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pointsman.budgets.accounts import StoreAccounts
from pointsman.budgets.ahead import NO_LOG
from pointsman.budgets.escrow import AccountStanding, Escrow
from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.membership import Membership
from pointsman.budgets.treasury import Treasury
from pointsman.clock import Clock
from pointsman.config.settings import LedgerSettings, Settings
from pointsman.domain.budgets import Budget
from pointsman.errors import ConfigError
from pointsman.ledger.entries import LedgerStore
from pointsman.ledger.opening import Kept, open_ledger
from pointsman.observe.budget_metrics import Watched, show_kept, show_standings, show_treasury
from pointsman.store.errors import StorageError

if TYPE_CHECKING:
    from pointsman.shared.rates import SharedRates

LOOK_S: Final = 10.0
"""How old what is shown of all accounts may be, in seconds."""

_log = logging.getLogger("pointsman")


class Books:
    """`ledger` None: as the settings say; else that one, and budgets in memory."""

    def __init__(self, settings: Settings, clock: Clock, ledger: LedgerStore | None = None) -> None:
        self.kept = (
            open_ledger(settings.ledger, clock, StoreAccounts())
            if ledger is None
            else Kept(ledger, NO_LOG)
        )
        self.ledger = self.kept.ledger
        escrow = _escrow_of(self.kept, settings.ledger, clock)
        rates = _rates_of(self.kept, settings, clock)
        self.redis_uses: Mapping[str, Callable[[], bool]] = (
            {} if rates is None else {"rates": lambda: rates.is_shared}
        )
        """What the shared server is used for, and whether it answers."""
        self.treasury = Treasury(settings.budgets, escrow, clock, log=self.kept.log, rates=rates)
        self._of_file: tuple[Budget, ...] = settings.budgets
        self._stored: tuple[Budget, ...] = ()
        self.accounts: Sequence[AccountStanding] = ()
        """How all accounts stood when the store was last asked."""
        self._clock = clock
        self._looking: asyncio.Task[None] | None = None

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
        self.kept.start()
        await self.treasury.start()
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Ask now and then how all accounts stand, for whoever shows it."""
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                self.accounts = await self.treasury.standing()
            except StorageError as error:
                _log.warning("budgets.unknown error=%r", str(error))

    def show(self, metrics: Watched) -> None:
        show_treasury(metrics, self.treasury)
        show_standings(metrics, lambda: self.accounts)
        show_kept(metrics, self.kept)

    async def close(self) -> None:
        """Hand back what is leased, then make the ledger durable."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.treasury.close()
        await asyncio.to_thread(self.kept.close)

    def __repr__(self) -> str:
        return f"Books({self.ledger!r}, {self.treasury!r})"


def check_shared(settings: Settings, started: Settings | None = None) -> None:
    """Raise ConfigError where several workers would each count for themselves.

    `started`: what the process was started with, where it is not these: a reload changes neither
    where the ledger is nor who counts rates.
    """
    kept = settings if started is None else started
    if not settings.budgets or kept.ledger.is_kept:
        return
    when = "" if started is None else ", from the start,"
    is_counted = kept.redis is not None and kept.redis.rates
    if not is_counted:
        raise ConfigError(
            f"{settings.origin}: budgets and rates need `ledger.path` or `ledger.url`{when} with "
            "several workers (rates alone may have `redis`): in memory each would count for itself"
        )
    money = [budget.name for budget in settings.budgets if budget.unit == "nano_usd"]
    if money:
        raise ConfigError(
            f"{settings.origin}: budget {money[0]} needs `ledger.path` or `ledger.url`{when} with "
            "several workers: `redis` counts rates and never money"
        )


def _escrow_of(kept: Kept, settings: LedgerSettings, clock: Clock) -> Escrow:
    store, owner = kept.store, kept.owner
    if store is None or owner is None:
        return MemoryEscrow(clock)
    return StoreEscrow(store, Membership(owner.worker, owner.host, owner.boot, settings.lease_s))


def _rates_of(kept: Kept, settings: Settings, clock: Clock) -> SharedRates | None:
    """Who counts rates, where it is not who keeps money. It falls back on the same store, as a
    worker of its own: it has a thread of its own, and no log."""
    if settings.redis is None or not settings.redis.rates:
        return None
    from pointsman.shared.rates import rates_of

    store, owner = kept.store, kept.owner
    if store is None or owner is None:
        return rates_of(settings.redis, clock)
    lease_s = settings.ledger.lease_s
    membership = Membership(f"{owner.worker}-rates", owner.host, owner.boot, lease_s)
    return rates_of(settings.redis, clock, StoreEscrow(store, membership))
