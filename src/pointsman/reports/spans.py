"""Which sums a period is made of: whole months, days and hours in UTC, and what is left over.

Theory. A period is cut greedily: the whole months in it, the whole days beside them, the whole
hours beside those. Only less than an hour at either end has to be read from the entries themselves,
so a period may begin and end at any second and its sums are exact all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from pointsman.domain.windows import FOREVER, Window
from pointsman.errors import InvalidRequest

Bucket = Literal["hour", "day", "week", "month"]
BUCKETS: Final[tuple[Bucket, ...]] = get_args(Bucket)
MOST_BUCKETS: Final = 10_000
"""Over a year by the hour."""

HOUR: Final = 3_600.0


class Piece(NamedTuple):
    """Slots `first` up to `end`, itself left out, of a grain: 0 hours, 1 days, 2 months."""

    grain: int
    first: int
    end: int


class Cut(NamedTuple):
    """A period as sums and as the seconds, (begin, end), that no sum is of."""

    pieces: tuple[Piece, ...]
    rest: tuple[tuple[float, float], ...]


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
    """Whole hours `first` to `end`, in the coarsest sums that fit, in order of time."""
    day, last_day = -(-first // 24), end // 24
    if day >= last_day:
        yield from _unless_empty(Piece(0, first, end))
        return
    yield from _unless_empty(Piece(0, first, day * 24))
    month, last_month = month_of(day), _month_before(last_day)
    if month_begins(month) < day:
        month += 1
    if month >= last_month:
        yield Piece(1, day, last_day)
    else:
        yield from _unless_empty(Piece(1, day, month_begins(month)))
        yield Piece(2, month, last_month)
        yield from _unless_empty(Piece(1, month_begins(last_month), last_day))
    yield from _unless_empty(Piece(0, last_day * 24, end))


def _month_before(day: int) -> int:
    """The month that begins on a day, or the last that has begun before it."""
    if day * 86_400.0 >= FOREVER:
        return 10_000 * 12
    return month_of(day)


def _unless_empty(piece: Piece) -> Iterator[Piece]:
    if piece.first < piece.end:
        yield piece


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


def joined(cuts: list[Cut]) -> Cut:
    """Several adjacent periods' pieces as one list, neighbours of a grain as one piece.

    Every slot still belongs to one of the periods whole, so it is known by where it begins.
    """
    pieces: list[Piece] = []
    for piece in (piece for each in cuts for piece in each.pieces):
        last = pieces[-1] if pieces else None
        if last is not None and (last.grain, last.end) == (piece.grain, piece.first):
            pieces[-1] = last._replace(end=piece.end)
        else:
            pieces.append(piece)
    return Cut(tuple(pieces), tuple(rest for each in cuts for rest in each.rest))


@lru_cache(maxsize=4096)
def label(bucket: Bucket, timezone: str, begin: float) -> str:
    """How the period that `begin` lies in is called: when it begins on its wall clock."""
    start = Window(period=bucket, timezone=timezone).slice_at(begin)[0]
    local = datetime.fromtimestamp(start, ZoneInfo(timezone))
    if bucket == "hour":
        text = local.isoformat(timespec="minutes")
        return text.replace("+00:00", "Z")
    return local.strftime("%Y-%m" if bucket == "month" else "%Y-%m-%d")
