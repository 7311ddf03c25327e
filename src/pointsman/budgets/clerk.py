"""A clerk goes to the escrow for all tills of a worker: one thread, one errand at a time.

An errand is one trip for all who wait: give back what is not needed, say that the worker lives,
and ask for every want, each in a transaction of its own. What went wrong comes back as the answer
to the one who asked, so that nobody's trouble is another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from pointsman.budgets.escrow import Back, Escrow, Fenced, Lease, Refused, Want
from pointsman.clock import Clock
from pointsman.domain.budgets import Budget
from pointsman.store.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from pointsman.budgets.till import Drawer, Till

T = TypeVar("T")

MARGIN_S: Final = 2.0
"""A worker stops this long before its leases end for everybody else; a quarter of short leases."""
PAUSE_S: Final = 1.0
"""After an escrow that cannot be reached was asked, nobody asks again for this long."""

Answer = list[Lease] | Refused | StorageError


class Errand(msgspec.Struct):
    backs: Sequence[Back] = ()
    renews: bool = False
    limits: Sequence[Budget] = ()
    wants: Sequence[Sequence[Want]] = ()

    @property
    def is_worth_it(self) -> bool:
        """Whether it is for something also without wants."""
        return bool(self.backs or self.renews or self.limits)


class Told(msgspec.Struct):
    """What came of an errand. went: when it set out, on the monotonic clock. renewed: None where
    that was not asked. trouble: what kept the clerk from giving back or renewing."""

    went: float
    answers: Sequence[Answer] = ()
    renewed: bool | None = None
    are_backs_told: bool = False
    fenced: bool = False
    trouble: StorageError | None = None


class Clerk:
    """`thin` are tills that want more ahead of need; `tell` drawers with something to give back."""

    def __init__(self, escrow: Escrow, clock: Clock) -> None:
        self.escrow = escrow
        self._clock = clock
        self.is_local = escrow.is_local
        self.is_logged = escrow.is_logged
        self.lease_s = escrow.lease_s
        # What is in memory is never fenced; a store has to be asked first.
        self.fence = float("inf") if self.is_local else float("-inf")
        self.renew_at = float("inf") if self.is_local else float("-inf")
        self.is_busy = False
        self.heard_at = float("-inf")
        """When the escrow last answered."""
        self.down_until = float("-inf")
        self.trouble: StorageError | None = None
        self.thin: list[Till] = []
        self.tell: dict[Drawer, None] = {}
        self.tells = False
        """Whether it is to go also for no other reason than to give back."""
        self.limits: tuple[Budget, ...] = ()
        """Whose limits the running windows have yet to follow."""
        self.trips = 0
        self._thread: ThreadPoolExecutor | None = None

    def go(self, errand: Errand) -> Told:
        """Do an errand; it blocks, except where the escrow is local."""
        told = Told(self._clock.now())
        try:
            if errand.renews:
                told.renewed = self.escrow.renew()
                told.fenced = not told.renewed
            if errand.backs:
                self.escrow.give_back(errand.backs)
                told.are_backs_told = True
            if errand.limits:
                self.escrow.follow(errand.limits)
        except StorageError as trouble:
            told.trouble = trouble
        except Fenced:
            told.fenced = True
        answers: list[Answer] = []
        for wants in errand.wants:
            if told.fenced:
                break  # What is granted now would be of a worker that has to begin anew.
            if told.trouble is not None:
                answers.append(told.trouble)
                continue
            try:
                answers.append(self.escrow.grant(wants))
            except StorageUnavailable as trouble:
                answers.append(trouble)
                # The next would wait as long for the same.
                told.trouble = None if trouble.is_busy else trouble
            except StorageError as trouble:
                answers.append(trouble)
            except Fenced:
                told.fenced = True
        told.answers = answers
        return told

    def send(self, errand: Errand) -> Awaitable[Told]:
        """Do an errand on the clerk's thread."""
        return self.on_thread(lambda: self.go(errand))

    def on_thread(self, what: Callable[[], T]) -> Awaitable[T]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="pointsman-escrow")
        return asyncio.get_running_loop().run_in_executor(self._thread, what)

    async def call(self, what: Callable[[], T]) -> T:
        """Have something else asked of the escrow, in between two errands."""
        return what() if self.is_local else await self.on_thread(what)

    def renewed(self, went: float) -> None:
        """Count from when the clerk set out: that is earlier than the store did."""
        margin = min(MARGIN_S, self.lease_s / 4)
        self.fence = went + self.lease_s - margin
        self.renew_at = went + self.lease_s / 3
        self.down_until = float("-inf")

    def troubled(self, trouble: StorageError, now: float) -> None:
        self.trouble = trouble
        if isinstance(trouble, StorageUnavailable) and not trouble.is_busy:
            self.down_until = now + PAUSE_S

    def end(self) -> None:
        """Let the thread end with what it does; never waits."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"Clerk({self.escrow!r}, {self.trips} trips)"
