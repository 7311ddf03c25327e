"""The line: requests whose tills have not enough, in the order in which they came.

Theory. A turn goes through the line from its head. Who finds enough takes it and leaves. Who is
short sends a want along with the next errand to the escrow. Who needs a till that somebody before
is short of waits behind them, and nobody else does: a full budget holds up its own requests and
not those that merely share a parent with them. New requests that find somebody in line for one of
their tills join it. So nobody is passed by, and nobody waits for a stranger.

Each request has one timer, at the moment when it must have an answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pointsman.budgets.clerk import Clerk
from pointsman.budgets.desk import Desk, Job
from pointsman.budgets.escrow import PLENTY, Refused, Want
from pointsman.budgets.facts import RefusalListener
from pointsman.budgets.refusals import out_of_reach, refusal
from pointsman.budgets.till import Amounts, Drawer, Plan, Till, lacking, take, untake
from pointsman.clock import Clock, Timer

WANTS: Final = 32
"""Requests served by one errand."""
CROWD: Final = 32
LINE_S: Final = 10.0
"""How long somebody stands in line at most where the escrow answers, but has too many to serve."""


class Waiting:
    """A request in line. `turned_away`: the refusal that it stays in line after."""

    __slots__ = (
        "amounts",
        "answer",
        "deadline",
        "drawers",
        "plan",
        "short",
        "since",
        "timer",
        "turned_away",
    )

    def __init__(self, plan: Plan, amounts: Amounts, since: float, deadline: float) -> None:
        self.plan = plan
        self.amounts = amounts
        self.since = since
        self.deadline = deadline
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.drawers: list[Drawer] | None = None
        self.short: set[Till] = set()
        self.turned_away: tuple[Refused, int] | None = None
        self.timer: Timer | None = None

    def is_short_of(self, tills: set[Till]) -> None:
        for till in self.short:
            till.waiters -= 1
        self.short = tills
        for till in tills:
            till.waiters += 1


class Line:
    """patience_s: how long an escrow that does not answer is waited for."""

    def __init__(self, clock: Clock, desk: Desk, patience_s: float) -> None:
        self._clock = clock
        self._desk = desk
        self._patience_s = patience_s
        self._waiting: dict[Waiting, None] = {}
        self._soon: asyncio.Handle | None = None
        self._again: Timer | None = None
        self._again_at = float("inf")
        self._is_turning = False
        self._is_over = False
        self.denials: dict[str, int] = {}
        """How often each budget has refused somebody."""
        self.listeners: list[RefusalListener] = []
        desk.on_news = self.turn

    def __len__(self) -> int:
        return len(self._waiting)

    # Who waits.

    async def join(self, plan: Plan, amounts: Amounts, deadline: float) -> list[Drawer]:
        """Wait for enough in every till; the drawers it was taken from. Raises Rejected."""
        if self._is_over:
            raise out_of_reach()
        now = self._clock.now()
        waiting = Waiting(plan, amounts, now, deadline)
        self._waiting[waiting] = None
        self._is_due(waiting, now + self._patience_s)
        try:
            self._arrived(waiting)
            await waiting.answer
        except asyncio.CancelledError:
            if waiting.drawers is not None:
                untake(plan, amounts, waiting.drawers)
                self.turn_soon()
            raise
        finally:
            self._leave(waiting)
        assert waiting.drawers is not None
        return waiting.drawers

    def _arrived(self, waiting: Waiting) -> None:
        """Look at it now where that may help; a crowd is looked at once, not once for each."""
        behind = {till for till, _ in waiting.plan if till.waiters}
        waiting.is_short_of(behind)
        if behind or len(self._waiting) > CROWD:
            self.turn_soon()
        else:
            self.turn()

    def _leave(self, waiting: Waiting) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        self._waiting.pop(waiting, None)
        if waiting.short:
            waiting.is_short_of(set())
            self.turn_soon()  # For who stood behind.

    def _is_due(self, waiting: Waiting, at: float) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        wait = max(0.0, min(at, waiting.deadline) - self._clock.now())
        waiting.timer = self._clock.call_later(wait, lambda: self._is_late(waiting))

    def _is_late(self, waiting: Waiting) -> None:
        """1. turned away, and it has waited for room; 2. the escrow answers, others come first;
        3. nobody answers."""
        now = self._clock.now()
        heard = max((till.clerk.heard_at for till in waiting.short), default=float("-inf"))
        patience = min(heard + self._patience_s, waiting.since + LINE_S, waiting.deadline)
        if waiting.turned_away is not None:
            self._deny(waiting, *waiting.turned_away)
        elif now < patience:
            self._is_due(waiting, patience)
        else:
            self._fail(waiting, out_of_reach())

    def _deny(self, waiting: Waiting, refused: Refused, needed: int) -> None:
        if self._fail(waiting, refusal(refused, needed)):
            name = refused.budget.name
            self.denials[name] = self.denials.get(name, 0) + 1
            for listener in self.listeners:
                listener(refused.budget, refused.account, refused.left)

    def _fail(self, waiting: Waiting, error: Exception) -> bool:
        if waiting.answer.done():
            return False
        waiting.answer.set_exception(error)
        return True

    # Turns.

    def turn_soon(self) -> None:
        """Look at the line when the event loop next turns; several such are one."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._turn_now)

    def _turn_now(self) -> None:
        self._soon = None
        self.turn()

    def _turn_at(self, at: float) -> None:
        if self._again is not None:
            if self._again_at <= at:
                return
            self._again.cancel()
        self._again_at = at
        wait = max(0.0, at - self._clock.now())
        self._again = self._clock.call_later(wait, self._turn_again)

    def _turn_again(self) -> None:
        self._again = None
        self.turn()

    def sweep(self) -> None:
        """Send every clerk who has something to tell."""
        for clerk in self._desk.clerks:
            clerk.tells = True
        self.turn()

    def turn(self) -> None:
        """Serve whom it can, and send for the rest."""
        if self._is_turning or self._is_over:
            return  # News of a local escrow: the turn under way goes round again.
        self._is_turning = True
        try:
            while self._desk.send(self._walk(self._clock.now())):
                pass
        finally:
            self._is_turning = False

    def _walk(self, now: float) -> dict[Clerk, list[Job]]:
        """Let go who has enough, refuse who has no hope; collect what the others need."""
        jobs: dict[Clerk, list[Job]] = {}
        blocked: set[Till] = set()
        for waiting in list(self._waiting):
            if not waiting.answer.done():
                self._look_at(waiting, blocked, jobs, now)
            if waiting.answer.done():
                self._waiting.pop(waiting)
                waiting.is_short_of(set())
            blocked |= waiting.short
        return jobs

    def _look_at(
        self, waiting: Waiting, blocked: set[Till], jobs: dict[Clerk, list[Job]], now: float
    ) -> None:
        """1. enough; 2. behind somebody; 3. refused; 4. to be asked for."""
        lacks = lacking(waiting.plan, waiting.amounts, now)
        behind = {till for till, _ in waiting.plan if till in blocked}
        if not lacks and not behind:
            waiting.drawers = take(waiting.plan, waiting.amounts)
            waiting.answer.set_result(None)
            return
        if behind:
            # Only of what it stands in line for: what else it lacks is there for others.
            waiting.is_short_of(behind)
            for till, kind in waiting.plan:
                if till in behind and till.refusal is not None:
                    self._stays(waiting, till, till.refusal.refused, waiting.amounts[kind])
        elif not self._is_refused(waiting, lacks, now):
            waiting.is_short_of({till for till, _ in lacks})
            self._ask(waiting, lacks, jobs, now)

    def _is_refused(self, waiting: Waiting, lacks: list[tuple[Till, int]], now: float) -> bool:
        """Whether a refusal that still stands answers it: then it is told, or stays in line."""
        for till, need in lacks:
            told = till.refusal
            if told is None or now >= told.until or need - till.open_at(now) <= told.left:
                continue
            if till.budget.at_cap != "queue":
                self._deny(waiting, told.refused, need)
                return True
            waiting.is_short_of({till})
            self._stays(waiting, till, told.refused, need)
            self._turn_at(told.until)
            return True
        return False

    def _stays(self, waiting: Waiting, till: Till, refused: Refused, need: int) -> None:
        """Keep it in line after a refusal, for as long as the budget lets it wait."""
        if till.budget.at_cap == "queue":
            if waiting.turned_away is None:
                self._is_due(waiting, waiting.since + till.budget.queue_s)
            waiting.turned_away = (refused, need)

    def _ask(
        self,
        waiting: Waiting,
        lacks: list[tuple[Till, int]],
        jobs: dict[Clerk, list[Job]],
        now: float,
    ) -> None:
        mine: dict[Clerk, Job] = {}
        for till, need in lacks:
            clerk = till.clerk
            if now < clerk.down_until and waiting.turned_away is None:
                self._fail(waiting, out_of_reach())
                return
            self._desk.retire_ended(till, now)
            job = mine.setdefault(clerk, Job(waiting.answer))
            if (least := need - till.drawer.free) > 0:
                job.tills.append(till)
                job.wants.append(Want(till.budget, till.account, least, PLENTY))
        for clerk, job in mine.items():
            if len(jobs.setdefault(clerk, [])) < WANTS:
                jobs[clerk].append(job)

    def close(self) -> None:
        """Turn away who still waits."""
        for timer in (self._again, self._soon):
            if timer is not None:
                timer.cancel()
        self._again = self._soon = None
        for waiting in self._waiting:
            self._fail(waiting, out_of_reach())

    def end(self) -> None:
        """Send nobody any more: what is settled from now on is told by the log alone."""
        self.close()
        self._is_over = True
