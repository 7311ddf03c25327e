"""The ledger in a store: a queue, one writer thread, batches; with a log that nothing is lost from.

Theory. `append` runs on the event loop for every request, so it only puts the entry on a deque
and, when the writer sleeps, wakes it: two tenths of a microsecond. The writer waits `flush_s` so
that a batch forms, then writes it in one transaction (about 20 µs an entry; 140 µs each if
written singly). The store lets go of the interpreter's lock while it works, so the loop runs on.

*Without a log* a batch that is committed survives `kill -9`, what waits in memory does not. While
the store cannot be written (full disk, another process's lock, a server gone) the batch is kept
and tried again with growing pauses, while up to `pending_rows` entries wait in memory. What comes
on top is counted in `lost`; the log says once when writing stops, once when entries begin to be
lost, and once when all is well again. Nobody waits and nothing is raised on the loop.

*With a log* every entry, and every step of an attempt that may cost money, is first written there
(`wal/log.py`), and numbered. The store is told of them in that order, together with the number up
to which it was told (`shipping.py`). What does not fit in memory is read from the log again when
the store takes it, without its decision; so entries are bounded by the disk, not by memory. When
all is told, a segment of the log is deleted.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.shipping import Shipping, name_of
from pointsman.store.database import Database
from pointsman.store.errors import BadStatement, RowRefused, StorageError, StorageUnavailable
from pointsman.store.open import Store
from pointsman.wal import entry as entries
from pointsman.wal.log import Log
from pointsman.wal.record import DISPATCH, ENTRY, SETTLE, VOID, dispatch_tail, encode, settle_tail
from pointsman.wal.replay import Item, Settled, items_of

log = logging.getLogger("pointsman.ledger")

_UNSAYABLE: Final = (ValueError, TypeError, OverflowError, struct.error)
"""What encoding raises for a value that no log can hold; no store will take it either."""


class _Barrier:
    """A mark in the queue: all before it is written, or given up, when `passed` is set."""

    __slots__ = ("is_last", "passed")

    def __init__(self, *, is_last: bool) -> None:
        self.is_last = is_last
        self.passed = threading.Event()


_Queued: TypeAlias = "Item | tuple[int, _Barrier]"


class KeptLedger:
    """A LedgerStore, and an AheadLog where there is a log, over a store that many may share.

    flush_s: how long a batch gathers, in seconds. batch_rows: entries a transaction.
    pending_rows: entries that wait in memory at most. retry_s: first and longest pause after a
    failed write. close_s: how long `close` keeps trying. shipping: whose entries they are.
    sync_before_asking: whether `synced` has anybody wait. open: for tests.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        flush_s: float = 0.2,
        batch_rows: int = 512,
        *,
        pending_rows: int = 100_000,
        retry_s: tuple[float, float] = (0.1, 5.0),
        close_s: float = 5.0,
        shipping: Shipping | None = None,
        log: Log | None = None,
        sync_before_asking: bool = False,
        open: Callable[[], Database] | None = None,
    ) -> None:
        self.lost = 0
        self.shipped = 0
        """Entries and charges that the store has taken, ever growing."""
        self.unlogged = 0
        """Records that the log could not take and that wait in memory only."""
        self._store_of = store
        self._clock = clock
        self._flush_s = flush_s
        self._batch_rows = batch_rows
        self._limit = pending_rows
        self._retry_s = retry_s
        self._close_s = close_s
        self._shipping = shipping if shipping is not None else Shipping()
        self._log = log
        self._epoch = self._shipping.owner.epoch if self._shipping.owner else 0
        self._sync_before_asking = sync_before_asking
        self._seq = 0
        self._queue: deque[_Queued] = deque()
        self._counting = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._is_idle = False
        self._is_spilled = False
        self._closes_at: float | None = None
        self._gave_up = False
        self._stalled_at: float | None = None
        self._lost_told = 0
        self._database = (open or store.open)()
        self._check()
        self._thread = threading.Thread(target=self._run, name="pointsman-ledger", daemon=True)
        self._thread.start()

    def _check(self) -> None:
        """Open a file at once: one that can never be written is a mistake of the configuration.

        A server is left to the writer: it may be back in a moment, and may not be waited for here.
        """
        if self._store_of.kind != "sqlite":
            return
        try:
            self._database.rows("SELECT 1 FROM entry LIMIT 1")
        except (StorageError, OSError) as error:
            self._database.close()
            raise ConfigError(
                f"ledger {self._store_of.shown}: cannot be written ({error}); "
                "choose a writable `ledger.path`, or leave it out to keep the ledger in memory"
            ) from error

    # On the event loop: the ledger.

    def append(self, entry: LedgerEntry) -> None:
        seq = 0
        if self._log is not None:
            seq = self._logged_entry(self._log, entry)
        self._queue_up(seq, entry)

    def _logged_entry(self, log: Log, entry: LedgerEntry) -> int:
        """Write an entry to the log; 0 where that cannot be done: then it waits in memory only,
        and the log keeps what it has of its attempts."""
        seq = self._next()
        try:
            tail = entries.encode(entry)
            log.write(seq, encode(ENTRY, self._epoch, seq, self._clock.wall(), 0, "", tail))
        except (*_UNSAYABLE, StorageUnavailable):
            self.unlogged += 1
            return 0
        for attempt in entry.attempts:
            if attempt.id:
                log.let_go(attempt.id)
        return seq

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _queue_up(self, seq: int, what: LedgerEntry | Settled) -> None:
        if len(self._queue) < self._limit and not (seq and self._is_spilled):
            self._queue.append((seq, what))
        elif seq:
            self._is_spilled = True
        else:
            self._lose(1)
            return
        if self._is_idle:
            self._is_idle = False
            self._wake.set()

    # On the event loop: the log.

    def dispatch(
        self, attempt_id: str, parts: Sequence[tuple[int, int]], amount: int, note: bytes
    ) -> None:
        if self._log is None:
            return
        seq = self._next()
        tail = dispatch_tail(parts, note)
        record = encode(DISPATCH, self._epoch, seq, self._clock.wall(), amount, attempt_id, tail)
        self._log.write(seq, record, holds=attempt_id)

    def synced(self) -> Awaitable[None] | None:
        if self._log is None or not self._sync_before_asking:
            return None
        return self._log.synced()

    def settle(
        self,
        attempt_id: str,
        charges: Sequence[tuple[int, int, int]],
        exact: bool,
        charged_nano: int | None = None,
    ) -> None:
        if charged_nano is None:
            if not charges:
                self.void(attempt_id)
                return
            charged_nano = max(charged for _, _, charged in charges)
        at = self._clock.wall()
        seq = 0
        if self._log is not None:
            seq = self._next()
            try:
                tail = settle_tail(charges, exact)
                record = encode(SETTLE, self._epoch, seq, at, charged_nano, attempt_id, tail)
                self._log.put(seq, record)
            except _UNSAYABLE:
                self.unlogged += 1
                seq = 0
        if charges:
            self._queue_up(seq, Settled(attempt_id, tuple(charges), exact, at))

    def void(self, attempt_id: str) -> None:
        log = self._log
        if log is None:
            return
        seq = self._next()
        record = encode(VOID, self._epoch, seq, self._clock.wall(), 0, attempt_id, b"")
        try:
            log.write(seq, record)
        except StorageUnavailable:
            log.put(seq, record)
        log.let_go(attempt_id)

    @property
    def fault(self) -> str:
        """Why nothing is written just now; "" where all is well."""
        if not self._thread.is_alive():
            return "closed"
        if self._stalled_at is not None and self._log is None:
            return "cannot be written"
        return self._log.fault if self._log is not None else ""

    @property
    def pending(self) -> int:
        """Entries and charges that wait in memory for the store."""
        return len(self._queue)

    # On any other thread.

    def flush(self) -> None:
        """Return when everything appended before is in the store and synced to its disk.

        Blocks for as long as the store cannot be written. After `close` it returns at once.
        """
        self._pass(_Barrier(is_last=False))

    def close(self) -> None:
        """Write what is left, for at most `close_s` seconds more, and let go.

        Entries that still cannot be written stay in the log for another worker; without a log
        they are `lost`, as are any appended from now on.
        """
        self._limit = 0
        self._closes_at = self._clock.now() + self._close_s
        self._pass(_Barrier(is_last=True))
        self._thread.join()

    def _pass(self, barrier: _Barrier) -> None:
        self._queue.append((0, barrier))
        self._hurry.set()
        self._wake.set()
        while self._thread.is_alive() and not barrier.passed.wait(0.05):
            pass

    def _lose(self, entries: int) -> None:
        with self._counting:
            self.lost += entries

    # On the writer thread.

    def _run(self) -> None:
        while True:
            self._await_work()
            batch, barrier = self._take()
            self._store(batch)
            if self._is_spilled and (barrier is not None or not self._queue):
                self._catch_up()
            if barrier is None:
                continue
            if barrier.is_last:
                break
            self._sync()
            barrier.passed.set()
        self._end()
        barrier.passed.set()

    def _await_work(self) -> None:
        """Sleep until there is an entry, then until a batch has formed or somebody hurries.

        `_is_idle` is raised before the queue is looked at a last time: an entry that `append`
        puts there without waking us is then either seen here or wakes us.
        """
        if not self._queue and not self._is_spilled:
            self._is_idle = True
            if not self._queue and not self._is_spilled:
                self._wake.wait()
            self._is_idle = False
            self._wake.clear()
        if len(self._queue) < self._batch_rows and self._hurry.wait(self._flush_s):
            self._hurry.clear()

    def _take(self) -> tuple[list[Item], _Barrier | None]:
        """The next batch. What was read from the log meanwhile is passed over."""
        batch: list[Item] = []
        while self._queue and len(batch) < self._batch_rows:
            seq, what = self._queue.popleft()
            if isinstance(what, _Barrier):
                return batch, what
            if not 0 < seq <= self._shipping.told:
                batch.append((seq, what))
        return batch, None

    def _catch_up(self) -> None:
        """Tell the store from the log what did not fit in memory.

        `_is_spilled` is lowered first: whatever still saw it raised is in the log by now, and what
        is queued from here on may be in what we read, so that `_take` passes over it.
        """
        assert self._log is not None
        self._is_spilled = False
        batch: list[Item] = []
        try:
            for item in items_of(self._log.items_after(self._shipping.told), self._refuse):
                batch.append(item)
                if len(batch) >= self._batch_rows:
                    self._store(batch)
                    batch = []
                if self._gave_up:
                    return
        except OSError as error:
            self._is_spilled = True  # It is tried again.
            log.error("ledger.log_unreadable error=%r", str(error))
        self._store(batch)

    def _store(self, batch: Sequence[Item]) -> None:
        """Write a batch, again and again if need be; lose it only when closing.

        1. nothing to do, or given up; 2. written; 3. the store is at fault: keep the batch,
        pause, try again; 4. an entry is at fault: write the others singly, so that one
        impossible entry costs only itself.
        """
        pause, longest = self._retry_s
        while batch:
            if self._gave_up:
                self._lose(sum(not seq for seq, _ in batch))
                return
            if self._log is not None:
                self._log.flush()
            try:
                self._shipping.ship(self._database, batch)
            except RowRefused as error:
                self._write_singly(batch, error)
                return
            except (StorageUnavailable, BadStatement, OSError, ConfigError) as error:
                self._tell_stall(error, len(batch))
                self._database.close()
                self._hurry.wait(pause)
                self._hurry.clear()
                pause = min(pause * 2, longest)
                self._gave_up = self._closes_at is not None and self._clock.now() >= self._closes_at
            except Exception as error:  # noqa: BLE001 - the thread's outermost edge
                self._write_singly(batch, error)
                return
            else:
                self.shipped += len(batch)
                self._tell_recovery()
                if self._log is not None:
                    self._log.forget(self._shipping.told)
                return

    def _write_singly(self, batch: Sequence[Item], error: Exception) -> None:
        """Write what can be written of a batch that failed as a whole; lose the one at fault."""
        if len(batch) > 1:
            for item in batch:
                self._store([item])
            return
        self._refuse(name_of(batch[0]), error)
        self._shipping.pass_over(batch[0])

    def _refuse(self, name: str, error: Exception) -> None:
        self._lose(1)
        log.error("ledger.refused request_id=%s error=%r", name, str(error))

    def _end(self) -> None:
        """Let go of the store, and of the log: deleted if the store has all of it."""
        if self._log is not None:
            is_open = self._gave_up or self._is_spilled or self._log.open_attempts > 0
            self._log.close(is_shipped=not is_open and self._told_all())
        self._database.close()

    def _told_all(self) -> bool:
        try:
            self._shipping.end(self._database, self._seq)
        except StorageError as error:
            log.error("ledger.unfinished error=%r", str(error))
            return False
        return True

    def _sync(self) -> None:
        """Bring what is committed to the disk itself; a server does so by itself."""
        if self._store_of.kind != "sqlite":
            return
        try:
            self._database.rows("PRAGMA wal_checkpoint(PASSIVE)")
        except StorageError as error:
            log.error("ledger.unsynced store=%s error=%r", self._store_of.shown, str(error))

    def _tell_stall(self, error: Exception, held: int) -> None:
        where = self._store_of.shown
        if self._stalled_at is None:
            self._stalled_at = self._clock.now()
            self._lost_told = self.lost
            log.error("ledger.stalled store=%s error=%r", where, str(error))
        elif self.lost > self._lost_told:
            self._lost_told = 1 << 62
            log.error("ledger.losing store=%s pending=%d", where, held + len(self._queue))

    def _tell_recovery(self) -> None:
        if self._stalled_at is not None:
            after_s = self._clock.now() - self._stalled_at
            self._stalled_at = None
            log.warning(
                "ledger.recovered store=%s after_s=%.1f lost=%d",
                self._store_of.shown,
                after_s,
                self.lost,
            )

    def __repr__(self) -> str:
        state = "open" if self._stalled_at is None else "stalled"
        state = state if self._thread.is_alive() else "closed"
        pending = len(self._queue)
        return f"KeptLedger({self._store_of.shown!r}, {state}, pending={pending}, lost={self.lost})"
