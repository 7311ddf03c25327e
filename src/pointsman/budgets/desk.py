"""The desk: sends clerks to their escrows, and puts into the tills what they bring.

Whatever a worker does not need goes back with the next errand: the rest of a slice that has ended,
what has lain idle, what a lowered limit leaves no room for. Each is told as a sum since the lease
began, and again until it was heard, so nothing is given back twice and nothing is forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pointsman.budgets.clerk import Answer, Clerk, Errand, Told
from pointsman.budgets.escrow import PLENTY, Back, Refused, Want
from pointsman.budgets.refusals import out_of_reach
from pointsman.budgets.till import Drawer, Refusal, Till
from pointsman.clock import Clock
from pointsman.domain.budgets import Account
from pointsman.store.errors import StorageError, StorageUnavailable

REMEMBERED_S: Final = 0.1
"""For how long a refusal stands, unless something comes back here before: others may give too."""


class Job:
    """What one request wants of one clerk, or nobody in particular. `answer` is told of failure."""

    __slots__ = ("answer", "tills", "wants")

    def __init__(self, answer: asyncio.Future[Any] | None) -> None:
        self.answer = answer
        self.tills: list[Till] = []
        self.wants: list[Want] = []


class Desk:
    """`tills` are all tills of this worker; `clerks` all that go for them."""

    def __init__(
        self, clock: Clock, clerks: Sequence[Clerk], tills: Mapping[Account, Till]
    ) -> None:
        self._clock = clock
        self.clerks = tuple(clerks)
        self._tills = tills
        self._errands: set[asyncio.Task[None]] = set()
        self.on_news: Callable[[], None] = lambda: None
        self.refills = 0
        self.fencings = 0

    def send(self, jobs: dict[Clerk, list[Job]]) -> bool:
        """Send every clerk who has something to do. True: a local one is back with news."""
        now = self._clock.now()
        has_news = False
        for clerk in self.clerks:
            if clerk.is_busy:
                continue
            mine = jobs.get(clerk, [])
            mine.extend(self._ahead_of_need(clerk, mine, now))
            errand = self._errand(clerk, [job.wants for job in mine], now)
            tells, clerk.tells = clerk.tells, False
            if not (mine or clerk in jobs or errand.limits or (tells and errand.is_worth_it)):
                continue  # What is to be given back goes with the next errand, or the sweep.
            if clerk.is_local:
                self._came_back(clerk, mine, errand, clerk.go(errand))
                has_news = has_news or any(job.answer is not None for job in mine)
            else:
                clerk.is_busy = True
                task = asyncio.get_running_loop().create_task(self._run(clerk, mine, errand))
                self._errands.add(task)
                task.add_done_callback(self._errands.discard)
        return has_news

    def _ahead_of_need(self, clerk: Clerk, mine: list[Job], now: float) -> Iterable[Job]:
        """Refills of drawers that run low, but for those that are asked for anyhow."""
        asked = {till for job in mine for till in job.tills}
        for till in clerk.thin:
            if till in asked or now >= till.drawer.ends or now < clerk.down_until:
                continue
            job = Job(None)
            job.tills.append(till)
            job.wants.append(Want(till.budget, till.account, 0, PLENTY))
            yield job
        clerk.thin.clear()

    def _errand(self, clerk: Clerk, wants: Sequence[Sequence[Want]], now: float) -> Errand:
        backs = [back for drawer in clerk.tell if (back := drawer.told()) is not None]
        return Errand(backs, now >= clerk.renew_at, clerk.limits, wants)

    async def _run(self, clerk: Clerk, jobs: list[Job], errand: Errand) -> None:
        try:
            told = await clerk.send(errand)
        finally:
            clerk.is_busy = False
        self._came_back(clerk, jobs, errand, told)
        self.on_news()

    # What comes back.

    def _came_back(self, clerk: Clerk, jobs: list[Job], errand: Errand, told: Told) -> None:
        clerk.trips += 1
        if told.trouble is None and any(not isinstance(a, StorageError) for a in told.answers):
            clerk.heard_at = self._clock.now()
        if told.renewed is not None and told.trouble is None:
            clerk.renewed(told.went)
        if told.are_backs_told:
            self._heard(clerk, errand.backs)
        if told.trouble is not None:
            clerk.troubled(told.trouble, self._clock.now())
        elif clerk.limits is errand.limits and not told.fenced:
            clerk.limits = ()
        if told.fenced:
            self._fenced(clerk)
        for job, answer in zip(jobs, told.answers, strict=False):
            self._answered(clerk, job, answer, told.went)

    def _answered(self, clerk: Clerk, job: Job, answer: Answer, went: float) -> None:
        """1. granted; 2. refused; 3. nobody there; 4. the store does not take what we say."""
        if isinstance(answer, list):
            for till, lease in zip(job.tills, answer, strict=True):
                drawer = till.drawer
                if drawer.lease != lease.id:
                    self.retire(till)
                    drawer = Drawer(till, lease.id, lease.start, lease.until)
                    till.drawer = drawer
                drawer.grow(lease, went + lease.lasts_s)
                till.refusal = None
                self.refills += 1
        elif isinstance(answer, Refused):
            self._refused(job, answer)
        elif isinstance(answer, StorageUnavailable):
            clerk.troubled(answer, self._clock.now())
            if not answer.is_busy and job.answer is not None and not job.answer.done():
                job.answer.set_exception(out_of_reach())
        elif job.answer is not None and not job.answer.done():
            job.answer.set_exception(answer)
        elif job.answer is None:
            clerk.trouble = answer

    def _refused(self, job: Job, refused: Refused) -> None:
        if job.answer is None:
            return  # It was ahead of need: who needs it will hear it.
        # Also where the window turns this moment it stands for a moment, not to be asked for ever.
        until = self._clock.now() + max(0.001, min(REMEMBERED_S, refused.reopens_in_s))
        for till in job.tills:
            if till.account == refused.account:
                till.refusal = Refusal(refused, until)
                till.drawer.left = refused.left

    def _heard(self, clerk: Clerk, backs: Iterable[Back]) -> None:
        """Forget who has nothing more to tell."""
        heard = {back.lease: back for back in backs}
        for drawer in list(clerk.tell):
            back = heard.get(drawer.lease)
            if back is not None:
                drawer.said = back
            if drawer.told() is None:
                del clerk.tell[drawer]

    def _fenced(self, clerk: Clerk) -> None:
        """All leases are gone. What is under way is settled in them all the same."""
        self.fencings += 1
        clerk.fence = clerk.renew_at = float("-inf")
        for till in self._tills.values():
            if till.clerk is clerk:
                self.retire(till)

    # What is given back.

    def retire_ended(self, till: Till, now: float) -> None:
        if till.drawer.lease and now >= till.drawer.ends:
            self.retire(till)

    def retire(self, till: Till) -> None:
        """Close the open drawer for good; holds in it go on."""
        drawer = till.drawer
        if drawer.lease:
            drawer.is_ended = True
            self.give_up(drawer)
            till.drawer = till.shut()

    def give_up(self, drawer: Drawer) -> None:
        """Give back what is free in a drawer."""
        drawer.give_up()
        drawer.till.clerk.tell[drawer] = None

    async def done(self) -> None:
        """Wait until no clerk is under way."""
        while self._errands:
            await asyncio.wait(set(self._errands))
