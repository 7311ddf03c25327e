"""A worker that asks a provider again and again, until it kills itself at a point of its choice.

    python -m tests.ledger.crash_child PLACE ROOT JOURNAL POINT NTH SEED

The provider is the file JOURNAL: a line is what it was asked for and what it bills.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.ledger.leases import leased

from pointsman.budgets.accounts import StoreAccounts
from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.ledger.keeper import KeptLedger
from pointsman.ledger.recovery import Recovery
from pointsman.ledger.shipping import Shipping
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.wal import note as notes
from pointsman.wal.folder import Owner, boot_id, make
from pointsman.wal.log import Log
from pointsman.wal.note import Note
from pointsman.wal.replay import Item, Settled

POINTS = (
    *("before-dispatch", "after-dispatch", "mid-stream", "after-settle", "after-entry"),
    *("before-commit", "after-commit", "never"),
)
RECOVERY_POINTS = ("recovery-before-end", "recovery-after-batch", "recovery-after-end")
HELD = 1_000
KEPT = "model"


class Killer:
    """Dies when a point is come to the nth time."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._left = nth

    def at(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DyingShipping(Shipping):
    def __init__(self, owner: Owner, accounts: StoreAccounts, killer: Killer) -> None:
        super().__init__(owner, accounts)
        self._killer = killer

    def ship(self, database: Database, items: Sequence[Item]) -> None:
        self._killer.at("before-commit")
        super().ship(database, items)
        self._killer.at("after-commit")


class DyingAccounts(StoreAccounts):
    """Dies inside a recovery."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer

    def end(self, database: Database, owner: Owner, *, is_sure: bool) -> None:
        self._killer.at("recovery-before-end")
        super().end(database, owner, is_sure=is_sure)

    def settle(
        self, database: Database, owner: Owner, charges: Sequence[tuple[int, Settled]]
    ) -> None:
        super().settle(database, owner, charges)
        self._killer.at("recovery-after-batch")


def note(request: str, worker: str, at: float) -> Note:
    return Note(
        *(request, "d", at, "chat", "auto", "auto", True, "acme/m", "acme", KEPT, "workhorse"),
        key=worker,
        tags={"app": "x"},
        price_version="list",
        expected_input=10,
        expected_output=20,
        expected_nano=300,
    )


class Worker:
    def __init__(
        self, ledger: KeptLedger, journal: int, name: str, leases: list[int], seed: int
    ) -> None:
        self._leases = leases
        self._ledger = ledger
        self._journal = journal
        self._name = name
        self._random = random.Random(seed)

    def attempt(self, request: str, number: int, killer: Killer) -> Attempt:
        attempt_id = f"{request}.{number}"
        clock = SystemClock()
        parts = [(lease, HELD) for lease in self._leases]
        killer.at("before-dispatch")
        self._ledger.dispatch(
            attempt_id, parts, HELD, notes.encode(note(request, self._name, clock.wall()))
        )
        killer.at("after-dispatch")
        bill = self._random.randrange(HELD + 1)
        os.write(self._journal, f"{attempt_id} {bill}\n".encode())
        killer.at("mid-stream")
        self._ledger.settle(attempt_id, [(lease, HELD, bill) for lease, _ in parts], True, bill)
        killer.at("after-settle")
        return Attempt(
            *("acme/m", "acme", KEPT, "workhorse", "ok", Usage(10, 20), bill, "list"),
            id=attempt_id,
        )

    def request(self, number: int, killer: Killer) -> None:
        request = f"{self._name}-{number}"
        if number % 7 == 0:  # Held and called off again.
            parts = [(lease, HELD) for lease in self._leases]
            body = notes.encode(note(request, self._name, 1.0))
            self._ledger.dispatch(f"{request}.v", parts, HELD, body)
            self._ledger.void(f"{request}.v")
        attempts = tuple(self.attempt(request, n, killer) for n in range(1 + (number % 3 == 0)))
        total = sum(each.cost_nano or 0 for each in attempts)
        self._ledger.append(
            LedgerEntry(
                *(request, "d", SystemClock().wall(), "chat", "auto", "auto", Caller(self._name)),
                *(True, 200, "ok", attempts, Usage(10, 20), total),
            )
        )
        killer.at("after-entry")


def main(place: str, root: Path, journal: Path, point: str, nth: int, seed: int) -> None:
    clock = SystemClock()
    store = Store.of(place, clock, timeout_s=5.0)
    killer = Killer(point, nth)
    if point in RECOVERY_POINTS:
        recovery = Recovery(root, store, DyingAccounts(killer), batch_rows=8)
        recovery.sweep()
        recovery.close()
        killer.at("recovery-after-end")
        return
    name = f"w{os.getpid()}"
    owner = Owner(name, store.shown, boot_id(), "h", os.getpid(), clock.wall())
    log = Log(make(root, owner), segment_bytes=20_000)
    ledger = KeptLedger(
        store,
        clock,
        flush_s=0.002,
        batch_rows=16,
        shipping=DyingShipping(owner, StoreAccounts(), killer),
        log=log,
    )
    out = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    worker = Worker(ledger, out, name, leased(store, name), seed)
    print("ready", flush=True)
    for number in range(1, 100_000 if point == "never" else 400):
        worker.request(number, killer)
    ledger.close()


if __name__ == "__main__":
    main(
        sys.argv[1],
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        sys.argv[4],
        int(sys.argv[5]),
        int(sys.argv[6]),
    )
