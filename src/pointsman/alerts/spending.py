"""What was spent by whom, in buckets of a few minutes, and which of it is out of the ordinary.

With a ledger the sums are read from it, so they are of all workers, and every worker sees the
same: each judges, and the first one to say so raises the alert. At the start the last days are
read, hence a restart forgets nothing that matters. Without a ledger the entries are counted as
they come.

Memory is bounded: of `MOST_SERIES` series those that have not spent for the longest are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from pointsman.alerts.alert import Alert
from pointsman.alerts.anomaly import Oddity, Series
from pointsman.config.settings_money import AnomalySettings
from pointsman.domain.call import Caller
from pointsman.domain.money import format_usd
from pointsman.ledger.entries import LedgerEntry
from pointsman.store.database import Database

MOST_SERIES: Final = 4_096
MOST_LOCAL: Final = 20_000
"""Sums of one bucket that are counted here, without a ledger."""
LATE_S: Final = 5.0
"""How long after its end a bucket is judged: by then its entries are written, as a rule."""
HISTORY_S: Final = 3 * 86_400.0
"""How much of the ledger is read at the start: so much that the hours of the day are known."""
OUT: Final = 1_000_000_000.0

Who: TypeAlias = "tuple[str, str | None, str]"
"""A dimension, the tenant whose value it is (None: everybody's), and the value."""
Sums: TypeAlias = "Mapping[Who, int]"
"""nano-USD by who."""


class Local:
    """Sums of the entries of this process."""

    def __init__(self, by: Iterable[str], every_s: float) -> None:
        self._by = tuple(by)
        self._every_s = every_s
        self._buckets: dict[int, dict[Who, int]] = {}

    def add(self, entry: LedgerEntry) -> None:
        bucket = self._buckets.setdefault(int(entry.at // self._every_s), {})
        for dimension in self._by:
            if dimension == "model":
                for attempt in entry.attempts:
                    _count(bucket, (dimension, None, attempt.model), attempt.cost_nano)
            elif (value := _OF_ENTRY[dimension](entry)) is not None:
                tenant = None if dimension == "route" else entry.caller.tenant
                _count(bucket, (dimension, tenant, value), entry.cost_nano)

    def take(self, number: int) -> Sums:
        """The sums of a bucket; it and those before it are forgotten. On another thread than
        `add`: what is iterated is a copy, made in one step."""
        for old in [each for each in list(self._buckets) if each < number]:
            del self._buckets[old]
        return self._buckets.pop(number, {})


def _count(bucket: dict[Who, int], who: Who, nano: int | None) -> None:
    if nano and (who in bucket or len(bucket) < MOST_LOCAL):
        bucket[who] = bucket.get(who, 0) + nano


def from_ledger(db: Database, by: Iterable[str], start: float, end: float) -> Sums:
    """The sums of the entries from `start` to `end`, seconds since the epoch."""
    sums: dict[Who, int] = {}
    for dimension in by:
        for tenant, value, nano in db.rows(_IN_LEDGER[dimension], (start, end)):
            if value is not None and nano:
                sums[dimension, None if dimension in _EVERYBODYS else tenant, value] = nano
    return sums


class Spending:
    """Judge the buckets as they end. Times are seconds since the epoch."""

    def __init__(self, settings: AnomalySettings) -> None:
        self.settings = settings
        self._series: OrderedDict[Who, Series] = OrderedDict()
        self._odd: dict[Who, Oddity] = {}
        self.judged: int | None = None
        """The number of the bucket that was judged last."""

    def due(self, now: float) -> int | None:
        """The number of the next bucket to judge, where it is over; else None."""
        last = int((now - LATE_S) // self.settings.every_s) - 1
        following = last if self.judged is None else self.judged + 1
        return following if following <= last else None

    def is_news(self, number: int, now: float) -> bool:
        """Whether a bucket ended just now; what was odd long ago is only learned from."""
        return (number + 1) * self.settings.every_s > now - 2 * self.settings.every_s - LATE_S

    def judge(self, number: int, sums: Sums) -> list[Alert]:
        """Judge the next bucket; series that are not in `sums` have spent nothing in it."""
        settings = self.settings
        start = number * settings.every_s
        odd: dict[Who, Oddity] = {}
        for who, nano in sums.items():
            if who not in self._series:
                self._series[who] = Series(settings.every_s, settings.least_nano)
            if nano:
                self._series.move_to_end(who)
        while len(self._series) > MOST_SERIES:
            self._series.popitem(last=False)
        for who, series in self._series.items():
            found = series.add(start, sums.get(who, 0), settings.least_nano)
            if found is not None:
                odd[who] = found
        self._odd = odd
        self.judged = number
        return [_alert(who, found, start, settings) for who, found in odd.items()]

    def __repr__(self) -> str:
        return f"Spending({len(self._series)} series, {len(self._odd)} odd)"


def _alert(who: Who, found: Oddity, start: float, settings: AnomalySettings) -> Alert:
    dimension, tenant, value = who
    whose = f"{dimension} {value}" + (f" of tenant {tenant}" if tenant is not None else "")
    times = found.nano / max(found.expected_nano, settings.least_nano)
    return Alert(
        kind="anomaly",
        severity="critical" if times >= 10 else "warning",
        key=f"anomaly|{dimension}|{tenant or ''}|{value}",
        text=f"{whose} has spent {format_usd(found.nano)} in {settings.every_s / 60:g} minutes, "
        f"where {format_usd(found.expected_nano)} is usual",
        # Two buckets more: a series that stays odd is seen again at the end of the next.
        stands_s=2 * settings.every_s + 2 * LATE_S,
        tenant=tenant,
        facts={
            "dimension": dimension,
            "value": value,
            "shape": found.shape,
            "spent_nano_usd": found.nano,
            "usual_nano_usd": found.expected_nano,
            "scales": round(min(found.scales, OUT), 1),
            "from": start,
            "seconds": settings.every_s,
        },
    )


_EVERYBODYS: Final = frozenset({"route", "model"})
"""Dimensions whose values no tenant owns."""


def _caller(read: Callable[[Caller], str | None]) -> Callable[[LedgerEntry], str | None]:
    return lambda entry: read(entry.caller)


_OF_ENTRY: Final[Mapping[str, Callable[[LedgerEntry], str | None]]] = {
    "key": _caller(lambda caller: caller.key),
    "user": _caller(lambda caller: caller.user),
    "app": _caller(lambda caller: caller.app),
    "team": _caller(lambda caller: caller.team),
    "tenant": _caller(lambda caller: caller.tenant),
    "route": lambda entry: entry.route,
}


def _by_entry(columns: str) -> str:
    return (
        f"SELECT {columns}, sum(known_nano) FROM entry"  # noqa: S608
        f" WHERE at >= ? AND at < ? GROUP BY {columns}"
    )


_IN_LEDGER: Final[Mapping[str, str]] = {
    **{name: _by_entry(f"tenant, {name}") for name in ("key", "app", "team")},
    "user": _by_entry('tenant, "user"'),
    "tenant": "SELECT tenant, tenant, sum(known_nano) FROM entry"
    " WHERE at >= ? AND at < ? GROUP BY tenant",
    "route": "SELECT NULL, route, sum(known_nano) FROM entry"
    " WHERE at >= ? AND at < ? GROUP BY route",
    "model": "SELECT NULL, attempt.model, sum(attempt.cost_nano)"
    " FROM entry JOIN attempt ON attempt.entry = entry.seq"
    " WHERE entry.at >= ? AND entry.at < ? GROUP BY attempt.model",
}
