"""Hours of the week as people write them: `mon-fri 08:00-18:00`, `22:00-06:00`, `sat,sun`.

A span names days, a time, or both; days left out are all days, a time left out is the whole day.
A time that ends before it begins goes on past midnight and belongs to the day on which it began:
`fri 22:00-06:00` holds on Saturday at five. Times are those of a wall clock, so on the day that
summer time begins `02:00-03:00` holds never, and on the day that it ends twice as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES: Final = 24 * 60

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)", re.ASCII)


class Span(msgspec.Struct, frozen=True):
    """`days` count from Monday, 0; `begin` and `end` are minutes of the day, `end` up to 1440 and
    below `begin` where the span goes past midnight."""

    days: frozenset[int]
    begin: int = 0
    end: int = DAY_MINUTES

    def covers(self, weekday: int, minute: int) -> bool:
        """Does it hold on this day of the week at this minute of the day?"""
        if self.begin < self.end:
            return weekday in self.days and self.begin <= minute < self.end
        if weekday in self.days and minute >= self.begin:
            return True
        return (weekday - 1) % 7 in self.days and minute < self.end


def parse_span(text: str) -> Span:
    """Read one span. Raises ValueError with what is wrong and how to write it."""
    words = text.lower().split()
    if not 1 <= len(words) <= 2:
        raise ValueError("write days, a time, or both, such as `mon-fri 08:00-18:00`")
    days: frozenset[int] = frozenset(range(7))
    if words[0][0].isalpha():
        days = _days(words.pop(0))
    if not words:
        return Span(days)
    found = _TIME.fullmatch(words[0])
    if found is None or len(words) > 1:
        raise ValueError(f"`{' '.join(words)}` is no time: write it as `08:00-18:00`")
    begin = int(found[1]) * 60 + int(found[2])
    end = DAY_MINUTES if found[3] is None else int(found[3]) * 60 + int(found[4])
    if begin == end:
        raise ValueError("it ends as it begins: leave the time out for the whole day")
    return Span(days, begin, end)


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        for name in (first, last) if dash else (first,):
            if name not in DAYS:
                raise ValueError(f"`{name}` is no day: write {', '.join(DAYS)}")
        begin = DAYS.index(first)
        length = (DAYS.index(last) - begin) % 7 if dash else 0
        days |= {(begin + step) % 7 for step in range(length + 1)}
    return frozenset(days)


def covers(spans: Iterable[Span], weekday: int, minute: int) -> bool:
    """Does any of them hold?"""
    return any(span.covers(weekday, minute) for span in spans)
