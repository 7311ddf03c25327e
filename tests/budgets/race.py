"""Several workers over one store, each with a loop and a thread of its own, and what came of it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pointsman.budgets.escrow_sql import Charge, close_worker, settle
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.membership import Membership
from pointsman.budgets.subjects import Ask
from pointsman.budgets.treasury import Treasury
from pointsman.clock import SystemClock
from pointsman.domain.budgets import Account, Budget
from pointsman.domain.call import Caller
from pointsman.domain.deployment import Deployment
from pointsman.errors import BudgetExhausted
from pointsman.store.open import Store

MODEL = Deployment("p/m", "p", "m", "workhorse", "openai_chat", None)


class ShippedLog:
    """An AheadLog in memory, that tells the store when it is asked to."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.open: dict[str, Sequence[tuple[int, int]]] = {}
        self.charges: list[Charge] = []
        self._seq = 0

    def dispatch(
        self, attempt_id: str, parts: Sequence[tuple[int, int]], amount: int, note: bytes
    ) -> None:
        self.open[attempt_id] = parts

    def synced(self) -> None: ...

    def settle(
        self,
        attempt_id: str,
        charges: Sequence[tuple[int, int, int]],
        exact: bool,
        charged_nano: int | None = None,
    ) -> None:
        del self.open[attempt_id]
        self._seq += 1
        self.charges += [
            Charge(attempt_id, lease, held, charged, exact, self._seq, 1.0)
            for lease, held, charged in charges
        ]

    def void(self, attempt_id: str) -> None:
        del self.open[attempt_id]

    def ship(self, store: Store, *, is_last: bool = True) -> None:
        database = store.open()
        with database.transaction():
            settle(database, self.worker, 1, self.charges)
            if is_last:
                close_worker(database, self.worker)
        self.charges = []
        database.close()


@dataclass
class Tally:
    """What all workers have in hand, counted beside them, and who was refused wrongly."""

    limits: dict[Account, int]
    taken: Counter[Account] = field(default_factory=Counter)
    granted: int = 0
    denied: int = 0
    false_denials: int = 0
    most: Counter[Account] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def got(self, accounts: Sequence[Account], amount: int) -> None:
        with self.lock:
            self.granted += 1
            for account in accounts:
                self.taken[account] += amount
                self.most[account] = max(self.most[account], self.taken[account])

    def gave(self, accounts: Sequence[Account], amount: int) -> None:
        with self.lock:
            for account in accounts:
                self.taken[account] -= amount

    def refused(self, accounts: Sequence[Account]) -> None:
        with self.lock:
            self.denied += 1
            lefts = [1 - self.taken[a] / self.limits[a] for a in accounts]
            self.false_denials += min(lefts) > 0.1


def run(
    store: Store,
    budgets: Sequence[Budget],
    asks: Sequence[tuple[str, Ask, tuple[Account, ...]]],
    tally: Tally,
    *,
    hold: int,
    cost: int,
    workers: int = 3,
    seed: int = 1,
) -> list[Treasury]:
    """Ask for everything at once; return the treasuries, closed, with their logs told."""
    treasuries: list[Treasury] = []
    logs = [ShippedLog(f"w{n}") for n in range(workers)]
    rng = random.Random(seed)
    shares: list[list[tuple[str, Ask, tuple[Account, ...]]]] = [[] for _ in range(workers)]
    for ask in asks:
        shares[rng.randrange(workers)].append(ask)

    def work(log: ShippedLog, mine: list[tuple[str, Ask, tuple[Account, ...]]]) -> None:
        clock = SystemClock()
        escrow = StoreEscrow(store, Membership(log.worker, "host", "boot", 60.0))

        async def one(
            treasury: Treasury, name: str, ask: Ask, accounts: tuple[Account, ...]
        ) -> None:
            try:
                held = await treasury.hold(ask, name, hold, hold, 1, b"", clock.now() + 60)
            except BudgetExhausted:
                tally.refused(accounts)
                return
            tally.got(accounts, hold)
            await asyncio.sleep(0)
            tally.gave(accounts, hold - cost)
            held.settle(cost, exact=True, tokens=1)

        async def main() -> None:
            treasury = Treasury(budgets, escrow, clock, log=log, patience_s=30.0)
            treasuries.append(treasury)
            await asyncio.gather(*(one(treasury, *ask) for ask in mine))
            await treasury.close()

        asyncio.run(main())
        log.ship(store)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(logs, shares, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return treasuries


def ask_of(team: str) -> Ask:
    return Ask(Caller(f"key-{team}", team=team), "chat", deployment=MODEL)
