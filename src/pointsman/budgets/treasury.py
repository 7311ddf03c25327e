"""The treasury: what a worker asks before it lets a request in, and before it asks a provider.

    admission = await treasury.admit(ask, tokens)          # a request, in the rates it counts in
    hold = await treasury.hold(ask, attempt_id, …)         # an attempt, in every budget
    hold.settle(cost, exact=True, tokens=1200)             # or hold.void()
    admission.close(tokens)

All or nothing: a hold that does not fit into one account is taken from none. As long as the tills
have enough nothing is awaited and nobody else is asked. `follow` takes over another set of
budgets; what is under way is settled where it was held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final

from pointsman.budgets.ahead import NO_LOG, AheadLog
from pointsman.budgets.clerk import Clerk
from pointsman.budgets.escrow import AccountStanding, Escrow
from pointsman.budgets.facts import Bounds, RefusalListener, Settled, SettleListener, Standing
from pointsman.budgets.holds import Admission, Hold
from pointsman.budgets.line import Line
from pointsman.budgets.plans import Plans
from pointsman.budgets.refusals import out_of_reach, unpriced
from pointsman.budgets.subjects import Ask
from pointsman.budgets.till import (
    EXPECTED,
    STRICT,
    TOKENS,
    Amounts,
    Drawer,
    Plan,
    Till,
    take,
)
from pointsman.clock import Clock
from pointsman.domain.budgets import Budget, Unit
from pointsman.store.errors import StorageUnavailable

__all__ = ["Bounds", "RefusalListener", "SettleListener", "Settled", "Standing", "Treasury"]

PATIENCE_S: Final = 1.0
SWEEP_S: Final = 1.0
IDLE_S: Final = 20.0
"""What nobody has touched for this long is given back."""
NEVER: Final = float("inf")


class Treasury:
    """`escrow` keeps money, `rates` everything else; one may do for both."""

    def __init__(
        self,
        budgets: Sequence[Budget],
        escrow: Escrow,
        clock: Clock,
        *,
        log: AheadLog = NO_LOG,
        rates: Escrow | None = None,
        patience_s: float = PATIENCE_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self.log = log
        self.listeners: list[SettleListener] = []
        self._clock = clock
        self._idle_s = idle_s
        self._money = Clerk(escrow, clock)
        self._rates = self._money if rates is None else Clerk(rates, clock)
        self._plans = Plans(clock, self._money, self._rates)
        self._desk = self._plans.desk
        self._line = Line(clock, self._desk, patience_s)
        self._plans.is_in_use = lambda: len(self._line) > 0
        self._over: dict[str, int] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._idle_at = clock.now() + idle_s
        self.follow(budgets)

    # What a request asks.

    async def admit(self, ask: Ask, tokens: int, deadline: float = NEVER) -> Admission:
        """Count a request in its rates. Raises RateLimited, PermissionDenied or Overloaded."""
        plan = self._plans.of(ask, False)
        amounts = (0, 0, 1, tokens)
        drawers = self._taken(plan, amounts)
        if drawers is None:
            drawers = await self._line.join(plan, amounts, deadline)
        return Admission(self, plan, amounts, drawers)

    async def hold(
        self,
        ask: Ask,
        attempt_id: str,
        worst_nano: int | None,
        expected_nano: int | None,
        tokens: int,
        note: bytes,
        deadline: float,
    ) -> Hold:
        """Hold what an attempt may cost, and write that down. Settle or void it, once.

        Raises BudgetExhausted, RateLimited, NoCandidate (no price), PermissionDenied, Overloaded.
        """
        plan = self._plans.of(ask, True)
        if worst_nano is None:
            self._raise_if_unpriced(plan, ask)
            worst_nano = 0
        # One nano-USD at least: a till that is asked for nothing need not even be open.
        expected = worst_nano if expected_nano is None else max(expected_nano, min(1, worst_nano))
        amounts = (worst_nano, expected, 1, tokens)
        drawers = self._taken(plan, amounts)
        if drawers is None:
            drawers = await self._line.join(plan, amounts, deadline)
        hold = Hold(self, plan, amounts, drawers, attempt_id)
        try:
            self.log.dispatch(attempt_id, hold.parts, worst_nano, note)
        except StorageUnavailable as error:
            hold.never_dispatched()
            raise out_of_reach() from error
        except BaseException:
            hold.never_dispatched()
            raise
        if (synced := self.log.synced()) is not None:
            await self._synced(hold, synced)
        return hold

    async def _synced(self, hold: Hold, synced: Awaitable[None]) -> None:
        try:
            await synced
        except BaseException:
            hold.void()
            raise

    def _taken(self, plan: Plan, amounts: Amounts) -> list[Drawer] | None:
        """Take from every till if all have enough and nobody waits for one."""
        now = self._clock.now()
        if now >= self._money.fence or now >= self._rates.fence:
            return None
        for till, kind in plan:
            drawer = till.drawer
            if drawer.free < amounts[kind] or now >= drawer.ends or till.waiters:
                return None
        drawers = take(plan, amounts)
        if self._money.thin or self._rates.thin:
            self._line.turn_soon()
        return drawers

    def _raise_if_unpriced(self, plan: Plan, ask: Ask) -> None:
        for till, kind in plan:
            if kind <= EXPECTED:
                raise unpriced(till.budget, ask.deployment.name if ask.deployment else "unknown")

    # What is told.

    def exceeded(self, drawer: Drawer, excess: int) -> None:
        """More was used than was held; what the lease does not cover is over."""
        over = min(excess, max(0, -drawer.free))
        if over:
            name = drawer.till.budget.name
            self._over[name] = self._over.get(name, 0) + over

    def came_back(self) -> None:
        if len(self._line) or self._money.tells or self._rates.tells:
            self._line.turn_soon()

    def listen(self, listener: SettleListener) -> None:
        """Have `listener` told, on the event loop, of every settling of money."""
        self.listeners.append(listener)

    def listen_refused(self, listener: RefusalListener) -> None:
        """Have `listener` told, on the event loop, of every request that is turned away."""
        self._line.listeners.append(listener)

    def tell(self, till: Till, drawer: Drawer, charged: int) -> None:
        settled = Settled(
            budget=till.budget,
            account=till.account,
            charged=charged,
            spent=till.spent(drawer),
            limit=till.budget.limit,
            start=drawer.start,
            until=drawer.until,
        )
        for listener in self.listeners:
            listener(settled)

    def counts_request(self, ask: Ask) -> bool:
        """Whether a request counts in any rate. Raises PermissionDenied."""
        return bool(self._plans.of(ask, False))

    def counts_tokens(self, ask: Ask) -> bool:
        """Whether a request, or an attempt, counts by its tokens."""
        return any(
            kind == TOKENS
            for of_attempt in (False, True)
            for _, kind in self._plans.of(ask, of_attempt)
        )

    def is_strict(self, ask: Ask) -> bool:
        """Whether an attempt counts in a budget that must never be overspent."""
        return any(kind == STRICT for _, kind in self._plans.of(ask, True))

    def affordable_nano(self, ask: Ask) -> int | None:
        """The least that is left of the budgets that lead to cheaper deployments; None: of none."""
        now = self._clock.now()
        lefts = [
            till.known_left(now)
            for till, kind in self._plans.of(ask, True)
            if kind <= EXPECTED and till.budget.at_cap == "downgrade"
        ]
        return min(lefts, default=None)

    def view(self, ask: Ask) -> tuple[Standing, ...]:
        """The budgets and rates that an ask counts in, tightest first."""
        now, wall = self._clock.now(), self._clock.wall()
        found = [
            Standing(
                budget=till.budget,
                unit=till.budget.unit,
                limit=till.budget.limit,
                remaining=till.known_left(now),
                reset_s=till.whole_in_s(now, wall),
            )
            for of_attempt in (False, True)
            for till, _ in self._plans.of(ask, of_attempt)
        ]
        found.sort(key=lambda standing: standing.remaining / max(1, standing.limit))
        return tuple(found)

    def bounds(self) -> tuple[Bounds, ...]:
        """What each budget comes to here, for metrics; by name."""
        sums: dict[str, tuple[Unit, int, int]] = {}
        for till in self._plans.tills.values():
            unit, held, idle = sums.get(till.budget.name, (till.budget.unit, 0, 0))
            drawer = till.drawer
            sums[till.budget.name] = (unit, held + drawer.held, idle + max(0, drawer.free))
        return tuple(
            Bounds(name, unit, held, idle, self._over.get(name, 0), self._line.denials.get(name, 0))
            for name, (unit, held, idle) in sorted(sums.items())
        )

    @property
    def refills(self) -> int:
        """Grants, since the start."""
        return self._desk.refills

    @property
    def fencings(self) -> int:
        return self._desk.fencings

    @property
    def waiting(self) -> int:
        """Requests in line."""
        return len(self._line)

    async def standing(self) -> list[AccountStanding]:
        """All accounts of the budgets that apply, as the escrows have them. Raises StorageError."""
        self.sweep()  # So that what is settled is counted as such.
        await self._desk.done()
        found: list[AccountStanding] = []
        for clerk in self._plans.clerks:
            budgets = [b for b in self._plans.matcher.budgets if self._plans.clerk_of(b) is clerk]
            found += await clerk.call(partial(clerk.escrow.standing, budgets))
        return found

    # Its life.

    def follow(self, budgets: Sequence[Budget]) -> None:
        """Go on with these budgets. Changed limits apply to the windows that run."""
        self._plans.follow(budgets)
        if any(clerk.limits for clerk in self._plans.clerks) or len(self._line):
            self._line.turn_soon()

    async def start(self) -> None:
        """Begin to give back in time, and to say that the worker lives."""
        self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            self.sweep()
            await self._clock.sleep(SWEEP_S)

    def sweep(self) -> None:
        """Give back what has ended and what lies idle; have the worker's leases renewed."""
        now = self._clock.now()
        is_idle_time = now >= self._idle_at
        if is_idle_time:
            self._idle_at = now + self._idle_s
        for till in self._plans.tills.values():
            drawer = till.drawer
            if not drawer.lease:
                continue
            self._desk.retire_ended(till, now)
            if is_idle_time and till.drawer is drawer and drawer.is_idle():
                if drawer.held:
                    self._desk.give_up(drawer)
                else:
                    self._desk.retire(till)
            elif not drawer.till.clerk.is_local and drawer.free > 2 * drawer.share:
                drawer.give_up(drawer.share)
                till.clerk.tell[drawer] = None
            if drawer.is_told_used and drawer.told() is not None:
                till.clerk.tell[drawer] = None
        self._line.sweep()

    async def close(self) -> None:
        """Give everything back. What is still held stays leased until its log was read."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        self._line.close()
        await self._desk.done()
        for till in self._plans.tills.values():
            self._desk.retire(till)
        self._line.sweep()
        await self._desk.done()
        self._line.end()
        for clerk in self._plans.clerks:
            await clerk.call(clerk.escrow.close)
            clerk.end()

    def __repr__(self) -> str:
        return f"Treasury({len(self._plans.matcher.budgets)} budgets, {len(self._plans)} accounts)"
