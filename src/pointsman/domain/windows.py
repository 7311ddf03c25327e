"""Windows: the span of time that a budget holds for.

Two kinds. A *calendar* window begins at a wall clock's turn in its time zone: 00:00 of the day, of
Monday, of the first. It has the length that the calendar gives it: a day on which clocks change has
23 or 25 hours. A *rolling* window always looks back by the same number of seconds, whatever clocks
do; a month of it is thirty days. `total` never ends.

Times are seconds since the Unix epoch; no clock is read here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

Period = Literal["minute", "hour", "day", "week", "month", "total"]
PERIODS: Final[tuple[Period, ...]] = get_args(Period)

LENGTHS: Final[dict[Period, int]] = {
    "minute": 60,
    "hour": 3_600,
    "day": 86_400,
    "week": 604_800,
    "month": 2_592_000,
}
"""Seconds of a rolling window."""

SLICES: Final = 60
"""Slices of a rolling window. What was spent in a slice leaves the window with its end, so up to a
sixtieth of the window longer than it would have to: never too early."""

FOREVER: Final = 253_402_300_800.0
"""The end of what never ends: the year 10000."""


class Window(msgspec.Struct, frozen=True):
    period: Period = "month"
    rolling: bool = False
    timezone: str = "UTC"
    """A name of the IANA data base; no meaning where `rolling`, for a minute or in `total`."""

    def slice_at(self, now: float) -> tuple[float, float]:
        """The slice that what is spent `now` belongs to, as (start, end). Of a calendar window it
        is the window; the end does not belong to it."""
        if self.period == "total":
            return 0.0, FOREVER
        if self.rolling:
            length = LENGTHS[self.period] / SLICES
            start = now // length * length
            return start, start + length
        return _calendar(self.period, ZoneInfo(self.timezone), now)

    def since(self, now: float) -> float:
        """The start of the oldest slice that counts `now`; slices that start earlier do not."""
        return self.slice_at(now)[0] - self.lingers_s

    @property
    def lingers_s(self) -> float:
        """How long after its end a slice still counts, in seconds."""
        return float(LENGTHS[self.period]) if self.rolling and self.period != "total" else 0.0

    def reopens_at(self, now: float) -> float:
        """When something that is spent may come back at the earliest."""
        return self.slice_at(now)[1]

    def __str__(self) -> str:
        if self.period == "total":
            return "total"
        if self.rolling:
            return f"rolling {self.period}"
        return self.period if self.timezone == "UTC" else f"{self.period} ({self.timezone})"


def _calendar(period: Period, zone: ZoneInfo, now: float) -> tuple[float, float]:
    # Minutes and hours first: they are counted on the clock that never turns back, so that the
    # hour which autumn repeats is two windows, not one of two hours.
    at = datetime.fromtimestamp(now, UTC)
    if period in ("minute", "hour"):
        offset = zone.utcoffset(at.astimezone(zone)) or timedelta()
        shift = offset.total_seconds() % LENGTHS[period]
        start = (now + shift) // LENGTHS[period] * LENGTHS[period] - shift
        return start, start + LENGTHS[period]
    local = at.astimezone(zone)
    first = local.date()
    if period == "week":
        first -= timedelta(days=first.weekday())
    elif period == "month":
        first = first.replace(day=1)
    last = first + timedelta(days={"day": 1, "week": 7}.get(period, 32))
    if period == "month":
        last = last.replace(day=1)
    return _midnight(first.isoformat(), zone), _midnight(last.isoformat(), zone)


def _midnight(day: str, zone: ZoneInfo) -> float:
    """The first moment of a day. Where autumn has midnight twice it is the first, where spring
    jumps over it, the jump: both are what fold 0 reads."""
    return datetime.fromisoformat(day).replace(tzinfo=zone, fold=0).timestamp()
