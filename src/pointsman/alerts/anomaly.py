"""When spending is out of the ordinary: one series of sums, judged bucket by bucket.

Theory. Costs vary by factors, not by amounts, so everything is judged on y = ln(1 + x/u), where u
is a tenth of the least amount that is worth telling. What is expected of a bucket is the season
(the median of the same hour of the last weeks, or of the last days while there are no weeks) and
the level (the median of what the recent buckets differed from it). What is left is measured in
units of scale: 1.4826 times the median absolute deviation, which is the standard deviation of
normal noise and is not moved by the outliers that are looked for (Hampel 1974; Iglewicz & Hoaglin
1993), but never less than `FLOOR`. Without that floor a series of constant costs has a scale of 0,
and a change of 1 % would be infinitely odd.

Two questions are asked of each bucket. A *spike*: is it more than `SPIKE` scales above? A *shift*:
is the exponentially weighted mean of the last few (Roberts 1959), each cut to ±`CLIP` so that one
spike is not taken for a shift, more than `SHIFT` scales above? Either counts only where it comes
to the least amount in money. Because the level follows, a rise that stays becomes the new normal
after some hours and is no longer told.

Only rises are anomalies: somebody who spends less needs no warning about money.
"""

from __future__ import annotations

import math
from array import array
from statistics import median
from typing import Final, Literal

import msgspec

RECENT: Final = 72
"""Buckets whose median is the level where a season is known: six hours of five minutes."""
RECENT_PLAIN: Final = 36
"""The same without a season: shorter, since the level has to follow the day."""
LEAST: Final = 12
"""Buckets that must be known before anything is judged."""
FLOOR: Final = 0.15
"""The least scale: a bucket that is 16 % more is one scale above."""
SPIKE: Final = 6.0
SHIFT: Final = 4.6
SHIFT_PLAIN: Final = 6.0
CLIP: Final = 5.5
WEIGHT: Final = 0.25
HOURS: Final = 21 * 24
"""Hours that are remembered of a series: three weeks."""
WEEK: Final = 168
LEAST_WEEKS: Final = 2
LEAST_DAYS: Final = 2
NAN: Final = math.nan


class Oddity(msgspec.Struct, frozen=True):
    """What is out of the ordinary: amounts of the bucket, `scales` above what was expected."""

    shape: Literal["spike", "shift"]
    nano: int
    expected_nano: int
    scales: float


class Series:
    """What is known of one series. `add` is called once for every bucket, in order, also where
    nothing was spent."""

    __slots__ = ("_ahead", "_every_s", "_hour", "_hours", "_mean", "_now", "_recent", "_unit")

    def __init__(self, every_s: float, least_nano: int) -> None:
        self._every_s = every_s
        self._unit = max(least_nano, 10) / 10
        self._recent = array("d")
        """y less the season, oldest first."""
        self._hours: array[float] | None = None
        """Mean y by hour, in a ring; made with the first full hour."""
        self._hour = -1
        self._now = (0.0, 0)
        """Sum and count of y in the hour that is not over."""
        self._mean = 0.0
        self._ahead: tuple[int, float | None, float | None] = (-1, None, None)
        """The season of an hour and of the next one, so that it is looked up once an hour."""

    def add(self, start: float, nano: int, least_nano: int) -> Oddity | None:
        """Judge a bucket that began at `start` (seconds since the epoch), then learn it."""
        y = math.log1p(max(0, nano) / self._unit)
        season = self._season(start)
        found = None
        # What the level is judged by must not change its meaning when a season becomes known.
        is_plain = season is None
        rest = y - (season or 0.0)
        recent = self._recent[-(RECENT_PLAIN if is_plain else RECENT) :]
        if len(recent) >= LEAST:
            level = median(recent)
            scale = max(FLOOR, 1.4826 * median([abs(each - level) for each in recent]))
            if not is_plain:  # To come back to what is usual at this time is nothing odd.
                level = max(level, 0.0)
            scales = (rest - level) / scale
            self._mean += WEIGHT * (max(-CLIP, min(CLIP, scales)) - self._mean)
            expected = round(math.expm1(min(level + (season or 0.0), 60.0)) * self._unit)
            # The mean of n equal weights has 1/n of the variance; of ours, w/(2-w).
            shifted = self._mean / math.sqrt(WEIGHT / (2 - WEIGHT))
            if nano - expected >= least_nano:
                if scales > SPIKE:
                    found = Oddity("spike", nano, max(0, expected), scales)
                elif shifted > (SHIFT_PLAIN if is_plain else SHIFT) and scales > 1:
                    found = Oddity("shift", nano, max(0, expected), scales)
        self._learn(start, y, rest)
        return found

    def _learn(self, start: float, y: float, rest: float) -> None:
        self._recent.append(rest)
        if len(self._recent) >= 2 * RECENT:
            del self._recent[:RECENT]
        hour = int(start // 3600)
        if hour != self._hour:
            self._close_hour(hour)
        total, count = self._now
        self._now = total + y, count + 1

    def _close_hour(self, hour: int) -> None:
        total, count = self._now
        self._now = 0.0, 0
        before, self._hour = self._hour, hour
        if not count:
            return
        if self._hours is None:
            self._hours = array("d", [NAN]) * HOURS
        self._hours[before % HOURS] = total / count
        for missed in range(before + 1, min(hour, before + HOURS)):
            self._hours[missed % HOURS] = NAN

    def _season(self, start: float) -> float | None:
        """What is usual at this time, None where that is not known yet.

        Between the middles of two hours it lies on the line between them; but jobs begin with the
        hour, so it is never less than what the hour itself has.
        """
        at = start / 3600 - 0.5 + self._every_s / 7200
        first = math.floor(at)
        if self._ahead[0] != first:
            low, high = self._usual(first), self._usual(first + 1)
            if low is None or high is None:
                low = high = None
            if (low is None) != (self._ahead[1] is None):
                # From here on rests are of another kind: the level is learned anew.
                del self._recent[:]
                self._mean = 0.0
            self._ahead = first, low, high
        low, high = self._ahead[1:]
        if low is None or high is None:
            return None
        part = at - first
        own = low if part < 0.5 else high
        return max(own, low + (high - low) * part)

    def _usual(self, hour: int) -> float | None:
        """The median of this hour in the last weeks, else in the last days."""
        hours = self._hours
        if hours is None:
            return None
        for step, least in ((WEEK, LEAST_WEEKS), (24, LEAST_DAYS)):
            known = [
                value
                for back in range(hour - step, max(-1, hour - HOURS), -step)
                if back < self._hour and not math.isnan(value := hours[back % HOURS])
            ]
            if len(known) >= least:
                return median(known[:7])
        return None

    def __repr__(self) -> str:
        return f"Series({len(self._recent)} recent, mean {self._mean:.2f})"
