"""Directory: the keys of the store as one worker knows them, a second old at most.

Requests never wait for the store. A thread of the directory's own asks every second whether
anything has changed, which is one row, and fetches what has: so a key is revoked on every worker
of every machine within two seconds, and nobody can make us ask the store by showing made-up keys.

While the store is down what is known goes on for `STALE_S`. After that, and before it was ever
read, the answer is 503 and never 401: "I cannot tell" is not "no", and clients throw keys away
that they are told are bad.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from pointsman.access.keys import keys_since, mark_used
from pointsman.access.pepper import settled_pepper
from pointsman.access.principal import EVERYTHING
from pointsman.access.records import Key, TenantRecord, caller_of
from pointsman.access.rules import rules
from pointsman.access.tenants import bounds
from pointsman.access.tokens import digest
from pointsman.clock import Clock
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.errors import PointsmanError
from pointsman.store.errors import StorageError, StorageUnavailable
from pointsman.store.open import Store

POLL_S: Final = 1.0
STALE_S: Final = 15 * 60.0
BOOT_S: Final = 3.0
"""The longest that a start waits for the store."""
MARK_S: Final = 60.0
"""How exactly it is known when a key was used last."""

_Found = TypeVar("_Found")

_log = logging.getLogger("pointsman")


@dataclass(frozen=True, slots=True)
class Held:
    """A secret that may be shown: its digest, and who shows it. `ends_at` is seconds since the
    epoch, the sooner of the key's end and the secret's own."""

    key: str
    digest: bytes = field(repr=False)
    caller: Caller
    ends_at: float
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look at the store has found."""

    number: int
    pepper: bytes = field(repr=False)
    keys: Sequence[Key]
    tenants: dict[str, TenantRecord]
    limits: tuple[Budget, ...]


_NOBODY: Final = Held("", secrets.token_bytes(32), Caller(), 0.0, is_revoked=True)
"""What an unknown id is compared with, so that it takes as long as a known one."""


class Directory:
    """Who the store's keys stand for. `start` and `close` it; read it on the event loop."""

    def __init__(self, store: Store, clock: Clock, pepper: bytes | None = None) -> None:
        self._clock = clock
        self._given = pepper
        self._database = store.open()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        self._polling: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._pepper = secrets.token_bytes(32)
        self._number = -1
        self._keys: dict[str, Key] = {}
        self._held: dict[str, Held] = {}
        self._tenants: dict[str, TenantRecord] = {}
        self._read_at: float | None = None
        self._ahead_s = 0.0
        """The store's clock before ours: ends of keys are by the clock that all share."""
        self._used: dict[str, float] = {}
        self._made_at = self._marked_at = clock.now()
        self._followers: list[Callable[[tuple[Budget, ...]], object]] = []
        self.limits: tuple[Budget, ...] = ()
        """Of the stored budgets and rates."""
        self.fault = ""
        """Why the store could not be read, "" where it could."""

    # Who shows what.

    def caller(self, token: bytes, id: str) -> Caller | None:
        """Who shows this token, whose public id is `id`; None where nobody may.

        Raises StorageUnavailable where that cannot be told. A known, an unknown, an expired and
        a revoked id take the same steps.
        """
        self._raise_if_unknown()
        held = self._held.get(id, _NOBODY)
        is_good = hmac.compare_digest(digest(self._pepper, token), held.digest)
        now = self._clock.wall() + self._ahead_s
        if not is_good or held.is_revoked or now >= held.ends_at:
            return None
        self._used[held.key] = now
        return held.caller

    @property
    def has_keys(self) -> bool:
        """Whether there is or ever was a key. Raises StorageUnavailable."""
        self._raise_if_unknown()
        return bool(self._keys)

    def raise_if_never_read(self) -> None:
        """Raise StorageUnavailable where it is not known what the store limits. What was known
        once goes on: a store that is down takes no limit away."""
        if self._read_at is None:
            raise StorageUnavailable("limits cannot be looked up just now; try again")

    def _raise_if_unknown(self) -> None:
        if self._read_at is None or self._clock.now() - self._read_at > STALE_S:
            raise StorageUnavailable("keys cannot be looked up just now; try again")

    @property
    def age_s(self) -> float:
        """How long ago the store was read, in seconds; where it never was, we were made."""
        return self._clock.now() - (self._made_at if self._read_at is None else self._read_at)

    def complaint(self) -> str:
        """What is wrong with it, "" where nothing is: for /readyz."""
        try:
            self._raise_if_unknown()
        except StorageUnavailable:
            return "the store cannot be read"
        return ""

    # Its life.

    async def start(self) -> None:
        """Read the store once, waiting `BOOT_S` at most, and go on reading it."""
        self._polling = asyncio.create_task(self._poll())
        first = asyncio.create_task(self.look())
        await asyncio.wait({first}, timeout=BOOT_S)

    async def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling})
        async with self._looking:
            await self._in_thread(self._end)
        self._thread.shutdown()

    def follow(self, follower: Callable[[tuple[Budget, ...]], object]) -> None:
        """Call `follower` with the stored limits now and whenever they change."""
        self._followers.append(follower)
        follower(self.limits)

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(POLL_S)
            await self.look()

    async def look(self) -> None:
        """Take up what has changed in the store; where it is down, stay at what is known."""
        async with self._looking:
            began = self._clock.now()
            used = self._used if began - self._marked_at >= MARK_S else {}
            if used:
                self._used, self._marked_at = {}, began
            try:
                at, seen = await self._in_thread(lambda: self._read(used))
            except (PointsmanError, msgspec.MsgspecError) as error:
                # Also a row that cannot be read: what it would have refused is not let pass.
                self._used = {**used, **self._used}
                self._say(str(error))
                return
            self._say("")
            self._read_at = began
            self._ahead_s = at - self._clock.wall()
            if seen is not None:
                self._take(seen)

    async def _in_thread(self, work: Callable[[], _Found]) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # On the thread.

    def _read(self, used: dict[str, float]) -> tuple[float, _Seen | None]:
        """The store's time, and what is new in it."""
        database = self._database
        if used:
            mark_used(database, used)
        ((number,),) = database.rows("SELECT number FROM access_change")
        at = database.now()
        if number == self._number:
            return at, None
        return at, _Seen(
            number,
            settled_pepper(database, self._given),
            keys_since(database, self._number),
            bounds(database, EVERYTHING),
            tuple(budget for rule in rules(database, EVERYTHING) for budget in rule.budgets()),
        )

    def _end(self) -> None:
        try:
            if self._used:
                mark_used(self._database, self._used)
        except StorageError as error:
            _log.warning("keys.use_not_noted keys=%d error=%r", len(self._used), error.message)
        finally:
            self._database.close()

    # On the loop.

    def _take(self, seen: _Seen) -> None:
        self._number, self._pepper = seen.number, seen.pepper
        for key in seen.keys:
            self._keys[key.id] = key
        moved = seen.tenants != self._tenants
        self._tenants = seen.tenants
        for key in self._keys.values() if moved else seen.keys:
            self._hold(key)
        if seen.limits != self.limits:
            self.limits = seen.limits
            for follower in self._followers:
                follower(seen.limits)

    def _hold(self, key: Key) -> None:
        caller = caller_of(key, self._tenants.get(key.tenant or ""))
        for part in key.parts:
            ends = [end for end in (part.ends_at, key.expires_at) if end is not None]
            self._held[part.id] = Held(
                key.id,
                part.digest,
                caller,
                min(ends, default=float("inf")),
                key.revoked_at is not None,
            )

    def _say(self, fault: str) -> None:
        """Tell the log once of each change."""
        if fault and not self.fault:
            _log.error("keys.store_down error=%r", fault)
        elif self.fault and not fault:
            _log.info("keys.store_back")
        self.fault = fault

    def __repr__(self) -> str:
        return f"Directory({len(self._keys)} keys, change {self._number}, fault={self.fault!r})"
