"""Workers over one store against a tiny reference: whatever happens, in whatever order.

The short form runs with every test run; `POINTSMAN_BUDGET_STEPS=20000` runs that many steps.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.budgets.race import ShippedLog, ask_of
from tests.budgets.reference import Reference, Slot

from pointsman.budgets.check import check
from pointsman.budgets.escrow_sql import Charge, close_worker, settle
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.holds import Hold
from pointsman.budgets.membership import Membership
from pointsman.budgets.treasury import Treasury
from pointsman.domain.budgets import Budget
from pointsman.domain.windows import Window
from pointsman.errors import BudgetExhausted, RateLimited
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing.clock import FakeClock

STEPS = int(os.environ.get("POINTSMAN_BUDGET_STEPS", "300"))
A_RUN = 50
A_TEST = 2000
TEAMS = ("red", "blue")
SCOPES = (("all", "everyone"), ("team", "team"))


class InlineEscrow(StoreEscrow):
    """The store's escrow on the caller's own thread, so that every step is one step."""

    is_local = True


class Worker:
    def __init__(
        self, name: str, store: Store, clock: FakeClock, budgets: Sequence[Budget]
    ) -> None:
        self.name = name
        self.log = ShippedLog(name)
        self.membership = Membership(name, "host", "boot", 60.0)
        self.treasury = Treasury(budgets, InlineEscrow(store, self.membership), clock, log=self.log)
        for clerk in self.treasury._plans.clerks:
            clerk.fence = clerk.renew_at = float("-inf")
        self.holds: dict[str, Hold] = {}


class Budgets(RuleBasedStateMachine):
    """Two workers at a time; the dead are replaced. Amounts are small, so limits are met."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.store = Store.of(Path(self.folder.name) / "store.db", self.clock)
        self.db: Database = self.store.open()
        self.names = itertools.count(1)
        self.workers: list[Worker] = []
        self.dead: list[Worker] = []

    @initialize(
        limit=st.integers(20, 300),
        window=st.sampled_from([Window("total"), Window("day"), Window("minute", rolling=True)]),
        strict=st.booleans(),
    )
    def begin(self, limit: int, window: Window, strict: bool) -> None:
        self.window = window
        self.strict = strict
        self.reference = Reference(limit)
        self.workers = [self._worker() for _ in range(2)]

    def _budgets(self) -> list[Budget]:
        limit = self.reference.limit
        return [
            Budget("all", "everyone", 2 * limit, window=self.window, strict=self.strict),
            Budget("team", "team", limit, window=self.window, strict=self.strict),
        ]

    def _worker(self) -> Worker:
        return Worker(f"w{next(self.names)}", self.store, self.clock, self._budgets())

    def _do(self, what: Callable[[], Any]) -> Any:
        async def run() -> Any:
            result = what()
            if asyncio.iscoroutine(result):
                result = await result
            for _ in range(4):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(run())

    # What happens.

    @rule(
        n=st.integers(0, 1),
        team=st.sampled_from(TEAMS),
        amounts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    )
    def hold(self, n: int, team: str, amounts: list[int]) -> None:
        for amount in amounts:
            self._hold(self.workers[n], team, amount)

    def _hold(self, worker: Worker, team: str, amount: int) -> Hold | None:
        attempt = f"a{next(self.names)}"

        async def ask() -> Hold | None:
            try:
                return await worker.treasury.hold(
                    ask_of(team), attempt, amount, amount, 1, b"", self.clock.now() + 10
                )
            except (BudgetExhausted, RateLimited):
                return None

        held: Hold | None = self._do(ask)
        if held is not None:
            worker.holds[attempt] = held
            start = {till.account[0]: drawer.start for (till, _), drawer in held._pairs()}
            slots: tuple[Slot, ...] = (("", start["all"]), (team, start["team"]))
            self.reference.hold(attempt, amount, slots)
        return held

    @rule(
        n=st.integers(0, 1),
        team=st.sampled_from(TEAMS),
        asked=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 250)), max_size=6),
    )
    def use(self, n: int, team: str, asked: list[tuple[int, int]]) -> None:
        """Hold and settle at once, as most requests do."""
        for amount, share in asked:
            if (held := self._hold(self.workers[n], team, amount)) is not None:
                self._settle(self.workers[n], held.attempt_id, share)

    @precondition(lambda self: any(worker.holds for worker in self.workers))
    @rule(data=st.data(), share=st.integers(0, 250))
    def settle(self, data: st.DataObject, share: int) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.holds]))
        attempt = data.draw(st.sampled_from(sorted(worker.holds)))
        self._settle(worker, attempt, share)

    def _settle(self, worker: Worker, attempt: str, share: int) -> None:
        held = self.reference.open[attempt][0]
        charged = held * (min(share, 100) if self.strict else share) // 100
        hold = worker.holds.pop(attempt)
        self._do(lambda: hold.settle(charged, exact=True, tokens=1))
        self.reference.settle(attempt, charged)

    @precondition(lambda self: any(worker.holds for worker in self.workers))
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.holds]))
        attempt = data.draw(st.sampled_from(sorted(worker.holds)))
        hold = worker.holds.pop(attempt)
        self._do(hold.void)
        self.reference.void(attempt)

    @rule(n=st.integers(0, 1), twice=st.booleans())
    def ship(self, n: int, twice: bool) -> None:
        worker = self.workers[n]
        charges = list(worker.log.charges)
        worker.log.ship(self.store, is_last=False)
        if twice:
            with self.db.transaction():
                settle(self.db, worker.name, worker.membership.epoch, charges[::-1])

    @rule(n=st.integers(0, 1))
    def sweep(self, n: int) -> None:
        self._do(self.workers[n].treasury.sweep)

    @rule(seconds=st.sampled_from([0.5, 0.5, 1.0, 1.0, 7.0, 30.0, 61.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(limit=st.integers(10, 300))
    def limit_changes(self, limit: int) -> None:
        self.reference.lowered = max(self.reference.lowered, self.reference.limit - limit)
        self.reference.limit = limit
        for worker in self.workers:
            self._do(partial(worker.treasury.follow, self._budgets()))
            self._do(worker.treasury.sweep)

    @rule(n=st.integers(0, 1))
    def dies(self, n: int) -> None:
        """Its log is all that is left; another takes its place."""
        self.dead.append(self.workers[n])
        self.workers[n] = self._worker()

    @precondition(lambda self: self.dead)
    @rule()
    def is_recovered(self) -> None:
        worker = self.dead.pop()
        guessed = []
        for attempt, parts in worker.log.open.items():
            amount = self.reference.open[attempt][0]
            self.reference.settle(attempt, amount)
            guessed += [
                Charge(attempt, lease, held, amount, False, 0, 1.0) for lease, held in parts
            ]
        with self.db.transaction():
            settle(self.db, worker.name, 1, [*worker.log.charges, *guessed])
            close_worker(self.db, worker.name)

    # What must be true.

    @invariant()
    def books_agree(self) -> None:
        if not self.workers:
            return
        assert check(self.db) == []

    @invariant()
    def nothing_is_lost_and_nothing_overspent(self) -> None:
        if not self.workers:
            return
        unshipped: dict[int, int] = {}
        for worker in (*self.workers, *self.dead):
            for charge in worker.log.charges:
                unshipped[charge.lease] = unshipped.get(charge.lease, 0) + charge.charged
        for budget, subject, start, lim, spent, leased, over, account in self.db.rows(
            "SELECT a.budget, a.subject, s.start, s.lim, s.spent, s.leased, s.over, a.id"
            " FROM budget_slice s JOIN budget_account a ON a.id = s.account"
        ):
            slot: Slot = (subject, start)
            pending = sum(
                unshipped.get(lease, 0)
                for (lease,) in self.db.rows(
                    "SELECT id FROM lease WHERE account = ? AND start = ?", (account, start)
                )
            )
            assert spent + pending == self.reference.spent(slot), (budget, slot)
            in_hand = self.reference.held(slot) + pending
            if self.strict:
                # What is in hand is leased: nobody can hold what is somebody else's.
                assert in_hand <= leased, (budget, slot)
                assert spent + in_hand <= lim + over
                if self.reference.lowered == 0:
                    assert over == 0
            elif self.reference.lowered == 0:
                assert over <= self.reference.excess

    def teardown(self) -> None:
        try:
            if self.workers:
                self._ends_quietly()
        finally:
            for worker in (*self.workers, *self.dead):
                self._do(worker.treasury._money.escrow.close)
            self.db.close()
            self.loop.close()
            self.folder.cleanup()

    def _ends_quietly(self) -> None:
        """When all have gone nothing is held any more (I8)."""
        while self.dead:
            self.is_recovered()
        for worker in self.workers:
            for attempt, hold in worker.holds.items():
                amount = self.reference.open[attempt][0]
                self._do(partial(hold.settle, amount, exact=True, tokens=1))
                self.reference.settle(attempt, amount)
            self._do(worker.treasury.close)
            worker.log.ship(self.store)
        assert check(self.db, quiet=True) == []
        self.nothing_is_lost_and_nothing_overspent()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(max(1, STEPS // A_TEST)))
def test_workers_keep_the_books_of_the_reference(part: int) -> None:
    run_state_machine_as_test(
        Budgets,
        settings=settings(
            max_examples=max(1, min(STEPS, A_TEST) // A_RUN),
            stateful_step_count=A_RUN,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
