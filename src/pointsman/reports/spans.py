"""Which sums a period is made of: whole months, days and hours in UTC, and what is left over.

Theory. A period is its whole months, with the days added that are missing at the ends, or taken
away that are too many, and the same with hours: sums of integers can be subtracted exactly, so a
day in New York is a day in UTC less four hours and four hours more, not twenty-four hours. Only
less than an hour at either end has to be read from the entries themselves: a period may begin and
end at any second, and its sums are exact all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from pointsman.domain.windows import Window
from pointsman.errors import InvalidRequest

Bucket = Literal["hour", "day", "week", "month"]
BUCKETS: Final[tuple[Bucket, ...]] = get_args(Bucket)
MOST_BUCKETS: Final = 10_000
"""Over a year by the hour."""

HOUR: Final = 3_600.0


class Piece(NamedTuple):
    """Slots `first` up to `end`, itself left out, of a grain: 0 hours, 1 days, 2 months.

    sign: 1 to add them, -1 to take them away again.
    """

    grain: int
    first: int
    end: int
    sign: int = 1


class Cut(NamedTuple):
    """A period as sums and as the seconds, (begin, end), that no sum is of."""

    pieces: tuple[Piece, ...]
    rest: tuple[tuple[float, float], ...]


class Share(NamedTuple):
    """A piece, and the beginning of the period that it counts in; None: each of its slots counts
    in the period that it lies in."""

    piece: Piece
    period: float | None


@lru_cache(maxsize=4096)
def month_of(day: int) -> int:
    """Months from the year 0 to the month of a day since the epoch."""
    date = datetime.fromtimestamp(day * 86_400, UTC)
    return date.year * 12 + date.month - 1


def month_begins(month: int) -> int:
    """The first day of a month, in days since the epoch."""
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) // 86_400


def begins(grain: int, slot: int) -> float:
    """Where a slot begins, in seconds since the epoch."""
    return float(
        slot * 3_600 if grain == 0 else 86_400 * (slot if grain == 1 else month_begins(slot))
    )


def cut(since: float, until: float) -> Cut:
    """Cut [since, until)."""
    if until <= since:
        return Cut((), ())
    first, end = int(-(-since // HOUR)), int(until // HOUR)  # Exact, as a quotient is not.
    if first > end:
        return Cut((), ((since, until),))
    edges = ((since, first * HOUR), (end * HOUR, until))
    return Cut(tuple(_pieces(first, end)), tuple(each for each in edges if each[0] < each[1]))


def _pieces(first: int, end: int) -> Iterator[Piece]:
    """Whole hours `first` to `end`: from the midnight that is nearest to each end, with the hours
    between that and the end added, or taken away where the midnight lies outside."""
    day, last = (first + 12) // 24, (end + 12) // 24
    if day >= last:
        if first < end:
            yield Piece(0, first, end)
        return
    yield from _edge(0, first, day * 24)
    month, last_month = _nearest_month(day), _nearest_month(last)
    if month >= last_month:
        yield Piece(1, day, last)
    else:
        yield from _edge(1, day, month_begins(month))
        yield Piece(2, month, last_month)
        yield from _edge(1, month_begins(last_month), last)
    yield from _edge(0, last * 24, end)


def _edge(grain: int, begin: int, end: int) -> Iterator[Piece]:
    if begin < end:
        yield Piece(grain, begin, end)
    elif begin > end:
        yield Piece(grain, end, begin, -1)


def _nearest_month(day: int) -> int:
    month = month_of(day)
    return month if day - month_begins(month) <= month_begins(month + 1) - day else month + 1


def buckets(bucket: Bucket, timezone: str, since: float, until: float) -> list[tuple[float, float]]:
    """The periods of a wall clock that [since, until) has a part in, the first and last cut off.

    Raises InvalidRequest where they would be too many.
    """
    window = Window(period=bucket, timezone=timezone)
    found: list[tuple[float, float]] = []
    at = since
    while at < until:
        end = window.slice_at(at)[1]
        found.append((at, min(end, until)))
        if len(found) > MOST_BUCKETS:
            raise InvalidRequest(
                f"more than {MOST_BUCKETS:,} lines of a {bucket} each: ask for a shorter period",
                param="bucket",
            )
        at = end
    return found


def planned(periods: list[tuple[float, float]]) -> tuple[list[Share], list[tuple[float, float]]]:
    """Cut adjacent periods, and read together what can be: neighbours of a grain that each lie in
    a period whole. Returns the shares, and the seconds that no sum is of."""
    shares: list[Share] = []
    rest: list[tuple[float, float]] = []
    for period in periods:
        found = cut(*period)
        rest += found.rest
        for piece in found.pieces:
            begin, end = begins(piece.grain, piece.first), begins(piece.grain, piece.end)
            if piece.sign < 0 or begin < period[0] or end > period[1]:
                shares.append(Share(piece, period[0]))
                continue
            before = shares[-1] if shares and shares[-1].period is None else None
            if before is not None and (before.piece.grain, before.piece.end) == piece[:2]:
                shares[-1] = Share(before.piece._replace(end=piece.end), None)
            else:
                shares.append(Share(piece, None))
    return shares, rest


@lru_cache(maxsize=4096)
def label(bucket: Bucket, timezone: str, begin: float) -> str:
    """How the period that `begin` lies in is called: when it begins on its wall clock."""
    start = Window(period=bucket, timezone=timezone).slice_at(begin)[0]
    local = datetime.fromtimestamp(start, ZoneInfo(timezone))
    if bucket == "hour":
        text = local.isoformat(timespec="minutes")
        return text.replace("+00:00", "Z")
    return local.strftime("%Y-%m" if bucket == "month" else "%Y-%m-%d")
