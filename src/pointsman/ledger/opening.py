"""Open the ledger that the settings name, with its log and the recovery of others' logs.

How it is plugged in. `open_ledger` returns a `Kept`:

* `ledger` is the LedgerStore: the gateway appends entries to it and tells its `fault` and `lost`.
* `log` is the AheadLog for the `Treasury`: the same object where there is a store, else `NO_LOG`.
* `store` and `owner` are for the escrow: it leases in the name of `owner.worker`, whose row both
  share. `None` where the ledger is in memory: then the escrow is too.
* `start()` begins to look for logs of dead workers; it returns at once.
* `close()` blocks, so call it on a thread, and last: after the treasury has handed its leases
  back and nobody settles any more.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pointsman.budgets.accounts import StoreAccounts
from pointsman.budgets.ahead import NO_LOG, AheadLog
from pointsman.clock import Clock
from pointsman.config.settings import LedgerSettings
from pointsman.errors import ConfigError
from pointsman.ledger.entries import LedgerStore
from pointsman.ledger.keeper import KeptLedger
from pointsman.ledger.memory import MemoryLedger
from pointsman.ledger.recovery import Recovery
from pointsman.ledger.shipping import Accounts, Shipping
from pointsman.store.open import Store
from pointsman.wal.folder import Owner, boot_id, make, new_worker_id
from pointsman.wal.log import Log

ACCOUNTS: Final = StoreAccounts()


@dataclass(frozen=True, slots=True)
class Kept:
    """What a process keeps its accounts with; the module says what each part is for."""

    ledger: LedgerStore
    log: AheadLog
    store: Store | None = None
    owner: Owner | None = None
    wal: Log | None = None
    """The log itself, for its counts (`appended`, `bytes_written`, `open_attempts`)."""
    recovery: Recovery | None = None

    def start(self) -> None:
        if self.recovery is not None:
            self.recovery.start()

    def close(self) -> None:
        """Write what is left and let go; what the store does not take now stays in the log."""
        if self.recovery is not None:
            self.recovery.close()
        self.ledger.close()


def store_of(settings: LedgerSettings, clock: Clock) -> Store | None:
    """Where the ledger is kept; None for memory. Raises ConfigError."""
    if settings.url is not None:
        return Store.of(settings.url.reveal(), clock, timeout_s=settings.timeout_s)
    if settings.path is not None:
        return Store.of(settings.path, clock)
    return None


def open_ledger(settings: LedgerSettings, clock: Clock, accounts: Accounts = ACCOUNTS) -> Kept:
    """Open it all. Raises ConfigError for what can never be written."""
    store = store_of(settings, clock)
    if store is None:
        return Kept(MemoryLedger(), NO_LOG)
    host = socket.gethostname()
    owner = Owner(
        worker=new_worker_id(host),
        store=store.shown,
        boot=boot_id(),
        host=host,
        pid=os.getpid(),
        started=clock.wall(),
    )
    wal, recovery = None, None
    if settings.log:
        wal = _log(settings, owner)
        recovery = Recovery(
            _root(settings), store, accounts, batch_rows=settings.batch_rows, boot=owner.boot
        )
    try:
        ledger = KeptLedger(
            store,
            clock,
            settings.flush_s,
            settings.batch_rows,
            shipping=Shipping(owner, accounts),
            log=wal,
            sync_before_asking=settings.sync_before_asking,
        )
    except BaseException:
        if wal is not None:
            wal.close(is_shipped=True)
        raise
    return Kept(ledger, ledger, store, owner, wal, recovery)


def _root(settings: LedgerSettings) -> Path:
    if settings.log_dir is not None:
        return settings.log_dir
    if settings.path is not None:
        return settings.path.with_name(settings.path.name + "-log")
    return Path("pointsman-log")


def _log(settings: LedgerSettings, owner: Owner) -> Log:
    root = _root(settings)
    try:
        return Log(make(root, owner), sync_s=settings.log_sync_s)
    except OSError as error:
        raise ConfigError(
            f"ledger's log {root}: cannot be written ({error}); choose a writable "
            "`ledger.log_dir`, or set `ledger.log: false` to do without"
        ) from error
