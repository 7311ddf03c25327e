"""What a series of costs is made of: a season, a level, and where the level changed.

Theory. Spending doubles rather than adds, so where all values are above zero their logarithms are
looked at. The season is what each phase (day of the week, hour of the day) differs by from the
running median over a whole season: medians, so that one wild day does not show up every week after
(robust classical decomposition; Hyndman and Athanasopoulos, Forecasting, 3rd ed., 3.4 and 3.6).

Changes of level are found by binary segmentation (Scott and Knott 1974): where the means before and
after differ most, measured by the noise. The noise is the median absolute difference of
neighbours, which a change of level touches once only. A difference counts above
sqrt(2 ln n) + 1: the largest of n like numbers by chance, and one more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

MARGIN = 1.0
LEAST_SEGMENT = 4
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Parts:
    """season: what each phase adds, in the scale of `is_log`; empty where there is none. rest: the
    series without it. noise: of neighbours, as a standard deviation."""

    is_log: bool
    season: tuple[float, ...]
    rest: tuple[float, ...]
    noise: float

    def phase(self, place: int) -> float:
        return self.season[place % len(self.season)] if self.season else 0.0

    def value(self, scaled: float) -> float:
        """Back to what was measured; spending is never below zero."""
        return math.exp(min(scaled, 700.0)) if self.is_log else max(scaled, 0.0)


@dataclass(frozen=True, slots=True)
class Change:
    """At `place` of the series its level changed, from `before` to `after`, season left out."""

    place: int
    before: float
    after: float


def decomposed(series: Sequence[float], season: int) -> Parts:
    """Take a series apart. `season`: its length, 1 for none; it takes two whole ones to see it."""
    is_log = bool(series) and min(series) > 0
    scaled = [math.log(value) for value in series] if is_log else [float(v) for v in series]
    phases: tuple[float, ...] = ()
    if season > 1 and len(scaled) >= 2 * season:
        level = _running_median(scaled, season)
        apart = [value - middle for value, middle in zip(scaled, level, strict=True)]
        found = [median(apart[phase::season]) for phase in range(season)]
        phases = tuple(each - fmean(found) for each in found)
    rest = tuple(v - (phases[n % season] if phases else 0.0) for n, v in enumerate(scaled))
    return Parts(is_log, phases, rest, _noise(rest))


def _running_median(values: Sequence[float], width: int) -> list[float]:
    """Over `width` values around each; at the ends the same number of them, not fewer."""
    found = []
    for place in range(len(values)):
        begin = min(max(place - width // 2, 0), len(values) - width)
        found.append(median(values[begin : begin + width]))
    return found


def _noise(rest: Sequence[float]) -> float:
    if len(rest) < 3:
        return 0.0
    steps = [abs(two - one) for one, two in pairwise(rest)]
    return median(steps) * _MAD_TO_SIGMA / math.sqrt(2)


def changes(parts: Parts) -> list[Change]:
    """Where the level changed for good, in order."""
    rest = parts.rest
    # Equal neighbours everywhere are no proof of a noise of nothing: a millionth is no change.
    noise = max(parts.noise, 1e-6 * max((abs(value) for value in rest), default=0.0), 1e-12)
    places = sorted(_split(rest, 0, len(rest), noise))
    bounds = [0, *places, len(rest)]
    means = [fmean(rest[b:e]) for b, e in pairwise(bounds) if e > b]
    return [
        Change(place, parts.value(means[n]), parts.value(means[n + 1]))
        for n, place in enumerate(places)
    ]


def _split(rest: Sequence[float], begin: int, end: int, noise: float) -> list[int]:
    length = end - begin
    if length < 2 * LEAST_SEGMENT:
        return []
    whole, left = math.fsum(rest[begin:end]), 0.0
    best, at = 0.0, begin
    for place in range(begin + 1, end):
        left += rest[place - 1]
        count = place - begin
        if count < LEAST_SEGMENT or length - count < LEAST_SEGMENT:
            continue
        apart = abs(left / count - (whole - left) / (length - count))
        found = apart * math.sqrt(count * (length - count) / length) / noise
        if found > best:
            best, at = found, place
    if best <= math.sqrt(2 * math.log(len(rest))) + MARGIN:
        return []
    return [*_split(rest, begin, at, noise), at, *_split(rest, at, end, noise)]
