"""Alerts as a whole: what the gateway tells of money comes in, what somebody should know goes out.

How it is plugged in, all on the event loop:

    alerts = Alerts(settings.alerts, store, clock, transport)
    treasury.listen(alerts.settled)            # every settling of money
    observers += (alerts.entry,)               # every ledger entry
    treasury.listen_refused(alerts.refused)    # every hold that did not fit
    wait_s = alerts.allows(caller, request, options.run)   # before a request is routed;
                                               # a number: 429 `rate_limited`, Retry-After
    await alerts.start() … await alerts.close()   # after the treasury, before the transport
    alerts.follow(settings.alerts)             # at a reload
    await alerts.ask(lambda db: list_alerts(db, sight))   # also `acknowledge`

None of the calls waits for anything: they put something down that is looked at once a second, on
a thread of its own that may take its time with the store. `store` is the ledger's; without one
the book of alerts is a SQLite file in memory, and this process is all there is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from pointsman.alerts import book, outbox
from pointsman.alerts.accounts import Accounts, Touched, refused
from pointsman.alerts.alert import Alert
from pointsman.alerts.delivery import MOST_QUEUED, Courier
from pointsman.alerts.loops import Loop, Loops
from pointsman.alerts.sinks import Log, Sink, sink_of
from pointsman.alerts.spending import HISTORY_S, Local, Spending, from_ledger
from pointsman.alerts.thresholds import Settled
from pointsman.clock import Clock
from pointsman.config.settings_money import AlertSettings, Severity
from pointsman.domain.budgets import Account, Budget
from pointsman.domain.call import Caller
from pointsman.domain.request import Request
from pointsman.ledger.entries import LedgerEntry
from pointsman.providers.transport import Transport
from pointsman.store.database import Database
from pointsman.store.errors import StorageError
from pointsman.store.open import Store

EVERY_S: Final = 1.0
FORGET_EVERY_S: Final = 3_600.0
SEEN_EVERY_S: Final = 60.0
"""How often at most the book is told that an alert still stands, in seconds."""
MOST_BUCKETS: Final = 48
"""Buckets that are read in one round while history is learned."""
MOST_KNOWN: Final = 20_000
CLOSE_S: Final = 3.0
"""How long the end of the process waits for alerts under way, in seconds."""

T = TypeVar("T")
_log = logging.getLogger("pointsman")


class Round(msgspec.Struct):
    """What a round takes to the store, and brings back."""

    now: float
    touched: Sequence[Touched]
    loops: Sequence[Loop]
    counts: dict[str, int]
    idle: Sequence[str]
    heard: dict[str, int] = msgspec.field(default_factory=dict)
    dues: list[outbox.Due] = msgspec.field(default_factory=list)


class Alerts:
    def __init__(
        self,
        settings: AlertSettings,
        store: Store | None,
        clock: Clock,
        transport: Transport,
        *,
        rng: random.Random | None = None,
        worker: str | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = transport
        self._store = store if store is not None else Store.of(":memory:", clock)
        self._is_shared = store is not None
        self._worker = worker if worker is not None else secrets.token_hex(6)
        self._accounts = Accounts()
        self._loops = Loops(settings.loop)
        self._spending = Spending(settings.anomaly)
        self._local = Local(settings.anomaly.by, settings.anomaly.every_s)
        self._courier = Courier(
            self._sinks(), self._noted, clock.wall, rng if rng is not None else random.Random()
        )
        self._known: dict[str, float] = {}
        """Alerts that are in the book, and when it is to be told of them again."""
        self._db: Database | None = None
        self._thread = ThreadPoolExecutor(1, "alerts")
        self._task: asyncio.Task[None] | None = None
        self._forgot_at = float("-inf")
        self._stalled_at: float | None = None
        self.raised: dict[str, int] = {}
        """Alerts that this worker has raised, by kind."""

    # On the event loop, from the hot path.

    def settled(self, stands: Settled) -> None:
        """Money was spent from an account."""
        self._accounts.touch(stands, self._clock.wall())

    def refused(self, budget: Budget, account: Account, left: int) -> None:
        """A hold did not fit: the budget is used up, though perhaps not to the last cent."""
        if budget.alert_at:
            now = self._clock.wall()
            self._accounts.touch(refused(budget, account, left, now), now, is_refused=True)

    def entry(self, entry: LedgerEntry) -> None:
        """A request has ended. With a ledger its own rows are read instead."""
        if not self._is_shared and self._settings.anomaly.enabled:
            self._local.add(entry)

    def allows(self, caller: Caller, request: Request, run: str | None) -> float | None:
        """Count a request; in how many seconds it may come again, None: it may pass.

        A number only where it goes round in circles and `loop.throttle` is on.
        """
        return self._loops.allows(caller, request, run, self._clock.now())

    # The life of it.

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="alerts")

    async def close(self) -> None:
        """Look a last time, and let what is under way arrive, for a few seconds at most."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.tick()
        await self._courier.close(CLOSE_S)
        await self._on_thread(self._let_go)
        self._thread.shutdown(wait=False)

    def follow(self, settings: AlertSettings) -> None:
        """Go by other settings from now on; what is known of the past is kept where it fits."""
        before, self._settings = self._settings, settings
        if settings.loop != before.loop:
            self._loops = Loops(settings.loop)
        if settings.anomaly != before.anomaly:
            self._spending = Spending(settings.anomaly)
            self._local = Local(settings.anomaly.by, settings.anomaly.every_s)
        if settings.sinks != before.sinks:
            self._courier.follow(self._sinks())

    def _sinks(self) -> dict[str, Sink]:
        """The sinks by name; where none is configured, the log."""
        if not self._settings.sinks:
            return {"log": Log()}
        return {
            each.name: sink_of(each, self._transport, self._clock.wall)
            for each in self._settings.sinks
        }

    def _least(self) -> dict[str, Severity]:
        return {each.name: each.least for each in self._settings.sinks} or {"log": "info"}

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                await self.tick()
            except Exception:  # noqa: BLE001 - the outermost edge of a task of its own
                _log.exception("alerts.failed")

    async def tick(self) -> None:
        """Look at what has come in, and send what is due; once a second."""
        now = self._clock.now()
        loops = self._loops
        round = Round(
            self._clock.wall(),
            self._accounts.due(self._clock.wall()),
            loops.standing(now),
            loops.counts(now) if self._is_shared else {},
            self._courier.idle,
        )
        if not await self._on_thread(self._tried, round):
            return
        self._accounts.looked(round.touched, round.now)
        loops.hear(round.heard, now)
        self._courier.bring(round.dues)

    async def ask(self, question: Callable[[Database], T]) -> T:
        """Put a question to the book, on its thread. Raises StorageError."""
        return await self._on_thread(lambda: question(self._database()))

    async def _on_thread(self, call: Callable[..., T], *values: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *values)

    async def _noted(self, due: outbox.Due, problem: str, again_s: float | None) -> None:
        """How a delivery ended. Where that cannot be noted, it is made once more later."""

        def note(db: Database) -> None:
            if problem:
                again_at = None if again_s is None else db.now() + again_s
                outbox.not_delivered(db, due, problem, again_at)
            else:
                outbox.delivered(db, due)

        try:
            await self.ask(note)
        except StorageError as error:
            self._stall(error)

    # On the thread.

    def _database(self) -> Database:
        if self._db is None:
            self._db = self._store.open()
        return self._db

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _tried(self, round: Round) -> bool:
        """Whether the round was gone; a store that is away is told once, and tried again."""
        try:
            self._go(self._database(), round)
        except StorageError as error:
            self._stall(error)
            return False
        if self._stalled_at is not None:
            after_s = self._clock.now() - self._stalled_at
            self._stalled_at = None
            _log.warning("alerts.recovered after_s=%.1f", after_s)
        return True

    def _stall(self, error: StorageError) -> None:
        if self._stalled_at is None:
            self._stalled_at = self._clock.now()
            _log.error("alerts.stalled store=%s error=%r", self._store.shown, error.message)

    def _go(self, db: Database, round: Round) -> None:
        settings, sinks = self._settings, self._least()
        shared = db if self._is_shared else None
        alerts = self._accounts.look(shared, round.touched, settings, round.now)
        alerts += [loop_alert(loop, settings) for loop in round.loops]
        alerts += self._judge(shared, round.now)
        self._raise(db, alerts, round.now)
        if self._is_shared:
            round.heard = book.share_counts(db, self._worker, round.counts, settings.loop.within_s)
        book.resolve(db, sinks)
        if self._clock.now() - self._forgot_at >= FORGET_EVERY_S:
            book.forget(db)
            self._forgot_at = self._clock.now()
        round.dues = outbox.take_due(db, round.idle, MOST_QUEUED)

    def _raise(self, db: Database, alerts: Sequence[Alert], now: float) -> None:
        """Enter what the book does not know, or was not told of for a while."""
        untold = [each for each in alerts if self._known.get(each.key, 0.0) <= now]
        if not untold:
            return
        for alert in book.raise_alerts(db, untold, self._least(), self._settings.repeat_s):
            self.raised[alert.kind] = self.raised.get(alert.kind, 0) + 1
        if len(self._known) > MOST_KNOWN:
            self._known = {key: until for key, until in self._known.items() if until > now}
            while len(self._known) > MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
        for alert in untold:
            self._known[alert.key] = now + min(SEEN_EVERY_S, alert.stands_s / 3)

    def _judge(self, ledger: Database | None, now: float) -> list[Alert]:
        """Judge the buckets that have ended; at the start, learn from those of the last days."""
        spending, settings = self._spending, self._settings.anomaly
        if not settings.enabled:
            return []
        oldest = int((now - HISTORY_S) // settings.every_s)
        if ledger is not None and (spending.judged is None or spending.judged < oldest - 1):
            spending.judged = oldest - 1
        alerts: list[Alert] = []
        for _ in range(MOST_BUCKETS):
            number = spending.due(now)
            if number is None:
                break
            if ledger is None:
                sums = self._local.take(number)
            else:
                start = number * settings.every_s
                sums = from_ledger(ledger, settings.by, start, start + settings.every_s)
            odd = spending.judge(number, sums)
            if spending.is_news(number, now):
                alerts += odd
        return alerts

    def __repr__(self) -> str:
        state = "stalled" if self._stalled_at is not None else "well"
        return f"Alerts({self._courier!r}, {self._store.shown}, {state})"


def loop_alert(loop: Loop, settings: AlertSettings) -> Alert:
    caller, limits = loop.caller, settings.loop
    who = [f"key {caller.key}"]
    who += [f"app {caller.app}"] if caller.app is not None else []
    who += [f"run {loop.run}"] if loop.run is not None else []
    asked = sum(loop.counts) + loop.others
    does = "held to one in 10 s" if limits.throttle else "let through"
    return Alert(
        kind="loop",
        severity="critical" if asked >= 4 * limits.repeats else "warning",
        key=f"loop|{loop.id}",
        text=f"{', '.join(who)} asks nearly the same again and again: {asked} times in "
        f"{limits.within_s:g} s; {does}",
        stands_s=2 * limits.within_s,
        tenant=caller.tenant,
        facts={
            "key": caller.key,
            "app": caller.app,
            "user": caller.user,
            "run": loop.run,
            "requests": asked,
            "seconds": limits.within_s,
            "refused": loop.refused,
            "is_throttled": int(limits.throttle),
        },
    )
