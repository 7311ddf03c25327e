"""Rates in a Redis or Valkey: one round trip a grant, counted by its clock.

The same rules as in a store (`budgets.escrow`), for what may be forgotten: requests, tokens and
slots. A worker that has not said for `lease_s` that it lives is forgotten with its slots; what it
took of a rate leaves the window by itself. A server that comes back empty knows no worker, so the
first word with it begins anew, for everybody: nothing is given twice by a server that remembers.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pointsman.budgets.escrow import (
    SOON_S,
    AccountStanding,
    Back,
    Fenced,
    Lease,
    Refused,
    Want,
    reopens,
    window_of,
)
from pointsman.clock import Clock
from pointsman.config.settings_money import RedisSettings
from pointsman.domain.budgets import Account, Budget
from pointsman.domain.windows import LENGTHS, Window
from pointsman.shared.client import FAULTS, blocking_client
from pointsman.shared.scripts import GIVE_BACK, GRANT, RENEW
from pointsman.store.errors import StorageUnavailable

LEASE_S: Final = 3.0
"""How long a worker counts that is not heard of."""
MOST: Final = 1 << 53
TRIES: Final = 4
"""How often a slice may turn between our asking and its answer."""
KEPT_MS: Final = 60_000
"""How much longer than its window an account is kept."""
SLOTS_MS: Final = 604_800_000
"""How long slots are kept that nobody takes or returns: a week."""
WORKERS: Final = "{pointsman}:workers"


class _Part(msgspec.Struct, gc=False):
    """A lease of ours, where it stands there."""

    id: int
    account: str
    start: float
    until: float
    is_slots: bool
    is_ended: bool = False


class RedisEscrow:
    """Satisfy `Escrow` for one worker. Raises StorageUnavailable for whatever is wrong there."""

    is_local = False
    is_logged = False
    lease_s = LEASE_S

    def __init__(self, settings: RedisSettings, clock: Clock) -> None:
        self._clock = clock
        self._client = blocking_client(settings)
        self._renew = self._client.register_script(RENEW)
        self._grant = self._client.register_script(GRANT)
        self._give_back = self._client.register_script(GIVE_BACK)
        self.worker = ""
        """Who it is there; "" until it has joined."""
        self._ids = itertools.count(1)
        self._leases: dict[int, _Part] = {}
        self._open: dict[Account, _Part] = {}
        self._ahead_s = 0.0
        """How far its clock is ahead of ours."""
        self.workers = 1
        """How many live, as far as is known."""

    def renew(self) -> bool:
        is_new = not self.worker
        if is_new:
            self._begin_anew()
        told = self._say(self._renew, [WORKERS], [self.worker, LEASE_S, 0 if is_new else 1])
        if told[2]:
            self.workers = max(1, int(told[3]))
            self._forget_old()
            return True
        self._begin_anew()
        told = self._say(self._renew, [WORKERS], [self.worker, LEASE_S, 0])
        self.workers = max(1, int(told[3]))
        return False

    def _begin_anew(self) -> None:
        self.worker = secrets.token_hex(8)
        self._leases.clear()
        self._open.clear()

    def leave(self) -> None:
        """Be nobody until the next `renew`: what was leased is left behind."""
        self.worker = ""
        self._leases.clear()
        self._open.clear()

    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        if not wants:
            return []
        for _ in range(TRIES):
            now = self._clock.wall() + self._ahead_s
            parts = [self._part(want, now) for want in wants]
            keys = [WORKERS]
            args: list[str | int] = [self.worker]
            for want, part in zip(wants, parts, strict=True):
                keys += [part.account, self._lease_key(part)]
                args += _asked(want, part, now)
            told = self._say(self._grant, keys, args)
            now = _seconds(told)
            match told[2]:
                case b"granted":
                    return self._granted(wants, parts, told[3], now)
                case b"refused":
                    return _refused(wants[told[3]], told[4], told[5], now)
                case b"fenced":
                    raise Fenced
        raise StorageUnavailable("redis: its clock does not stand still", is_busy=True)

    def _part(self, want: Want, now: float) -> _Part:
        """The lease that a grant of now grows, or a new one."""
        start, until = window_of(want.budget).slice_at(now)
        part = self._open.get(want.account)
        if part is not None and part.start == start and not part.is_ended:
            return part
        is_slots = want.budget.unit == "at_once"
        return _Part(
            next(self._ids), _account_key(want.budget, want.account), start, until, is_slots
        )

    def _lease_key(self, part: _Part) -> str:
        return f"{{pointsman}}:lease:{self.worker}:{part.id}"

    def _granted(
        self, wants: Sequence[Want], parts: Sequence[_Part], sums: list[list[int]], now: float
    ) -> list[Lease]:
        leases = []
        for want, part, (granted, returned, left) in zip(wants, parts, sums, strict=True):
            self._leases[part.id] = self._open[want.account] = part
            leases.append(
                Lease(
                    id=part.id,
                    account=want.account,
                    granted=granted,
                    returned=returned,
                    start=part.start,
                    until=part.until,
                    lasts_s=part.until - now,
                    left=left,
                )
            )
        return leases

    def give_back(self, parts: Sequence[Back]) -> None:
        keys = [WORKERS]
        args: list[str | int] = []
        for back in parts:
            part = self._leases.get(back.lease)
            if part is None:
                continue
            part.is_ended = part.is_ended or back.ended
            keys += [part.account, self._lease_key(part)]
            cells = (
                (self.worker, "") if part.is_slots else (f"s{part.start:.0f}", f"u{part.start:.0f}")
            )
            args += [*cells, back.returned, back.used]
        if len(keys) > 1:
            self._say(self._give_back, keys, args)

    def _forget_old(self) -> None:
        """Drop what has left every window, however late it is settled."""
        now = self._clock.wall() + self._ahead_s
        for number, part in list(self._leases.items()):
            if now > part.until + KEPT_MS / 1e3:
                del self._leases[number]
        for account, part in list(self._open.items()):
            if now > part.until:
                del self._open[account]

    def follow(self, budgets: Sequence[Budget]) -> None:
        """Nothing to do: limits are told with every grant."""

    def standing(self, budgets: Sequence[Budget]) -> list[AccountStanding]:
        """The accounts that this worker has met: their names stand there only as digests."""
        by_name = {budget.name: budget for budget in budgets}
        now = self._clock.wall() + self._ahead_s
        found = []
        for account in sorted(self._open):
            budget = by_name.get(account[0])
            if budget is None:
                continue
            try:
                cells: Any = self._client.hgetall(_account_key(budget, account))
                alive: Any = self._client.zrangebyscore(WORKERS, now, "+inf")
            except FAULTS as fault:
                raise _out_of_reach(fault) from fault
            found.append(_standing(budget, account, cells, set(alive), now))
        return found

    def _say(self, script: Any, keys: list[str], args: Sequence[str | int | float]) -> list[Any]:
        try:
            told: list[Any] = script(keys=keys, args=args)
        except FAULTS as fault:
            raise _out_of_reach(fault) from fault
        self._ahead_s = _seconds(told) - self._clock.wall()
        return told

    def close(self) -> None:
        self._client.close()

    def __repr__(self) -> str:
        return f"RedisEscrow({len(self._leases)} leases, {self.workers} workers)"


def _seconds(told: list[Any]) -> float:
    return int(told[0]) + int(told[1]) / 1e6


def _out_of_reach(fault: Exception) -> StorageUnavailable:
    return StorageUnavailable(f"redis: {type(fault).__name__}")


def _account_key(budget: Budget, account: Account) -> str:
    """Another unit or window is another account; a name there tells nobody who asks us."""
    window = window_of(budget)
    parts = (*account, budget.unit, window.period, str(window.rolling), window.timezone)
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass"))
    return "{pointsman}:account:" + digest.hexdigest()[:40]


def _length_s(window: Window) -> float:
    return LENGTHS.get(window.period, 0) if window.rolling else 0.0


def _asked(want: Want, part: _Part, now: float) -> list[str | int]:
    budget = want.budget
    window = window_of(budget)
    if part.is_slots or window.period == "total":
        keep_ms = SLOTS_MS
    else:
        keep_ms = int((part.until - now + _length_s(window)) * 1e3) + KEPT_MS
    return [
        1 if part.is_slots else 0,
        f"{part.start:.0f}",
        f"{part.until:.0f}",
        f"{window.since(now):.0f}",
        min(budget.limit, MOST),
        min(want.least, MOST),
        min(want.wish, MOST),
        1 if budget.at_cap == "alert" and want.least > 0 else 0,
        keep_ms,
    ]


def _refused(want: Want, left: int, counting: list[bytes], now: float) -> Refused:
    if want.budget.unit == "at_once":
        at = now + SOON_S
    else:
        pairs = zip(counting[::2], counting[1::2], strict=True)
        slices = sorted((float(start), int(amount)) for start, amount in pairs)
        at = reopens(want.budget.window, now, slices, want.least - left)
    return Refused(want.budget, want.account, left, at - now, at)


def _standing(
    budget: Budget, account: Account, cells: dict[bytes, bytes], alive: set[bytes], now: float
) -> AccountStanding:
    window = window_of(budget)
    since = window.since(now)
    taken = used = 0
    for name, amount in cells.items():
        if budget.unit == "at_once":
            taken += int(amount) if name in alive else 0
        elif float(name[1:]) >= since:
            taken += int(amount) if name[:1] == b"s" else 0
            used += int(amount) if name[:1] == b"u" else 0
    return AccountStanding(
        budget=account[0],
        subject=account[1],
        unit=budget.unit,
        limit=budget.limit,
        spent=used,
        leased=max(0, taken - used),
        over=max(0, taken - budget.limit),
        suspense=0,
        start=since,
        until=window.slice_at(now)[1],
    )
