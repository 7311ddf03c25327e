"""What is going to be spent, how sure that is, and when a budget is used up.

Theory. Level and slope of the series without its season are smoothed exponentially, the slope
damped (Gardner and McKenzie 1985; Holt's method as in Hyndman and Athanasopoulos, Forecasting, 3rd
ed., 8.2). The two constants are those of a small grid with the least absolute error one step
ahead. Intervals are no normal curve: the future is drawn many times, each step with errors that
were really made, in runs of a few as they followed each other (bootstrapped residuals, 5.5 there;
blocks after Künsch 1989), so that the outliers of the past are those of the future. Sums and times
are read from the same drawn futures, which a formula for one step could not give.

The errors were made by constants chosen to make them small, so they are stretched by
sqrt(n / (n - PARAMETERS)). How often the truth lies within is measured in the tests.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from pointsman.reports.season import Parts, decomposed

ALPHAS = (0.05, 0.1, 0.2, 0.4, 0.7)
BETAS = (0.0, 0.05, 0.2)
DAMPING = 0.95
PARAMETERS = 4
LEAST = 6
"""Periods below which nothing is foretold."""
FUTURES = 400
BLOCK = 3


@dataclass(frozen=True, slots=True)
class Range:
    """The middle of the drawn futures, and between what a share of them lies."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """steps: each period to come. total: all of them together. share: of futures in each range."""

    steps: tuple[Range, ...]
    total: Range
    share: float
    futures: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """When what is left will have been spent, in periods from now, counted in parts of one.

    likelihood: the share of futures in which that is within the periods looked at. `early` to
    `late` holds the forecast's share of them; None where it lies beyond those periods.
    """

    likelihood: float
    early: float | None
    middle: float | None
    late: float | None


def forecast(
    series: Sequence[float], season: int, ahead: int, *, share: float = 0.8, seed: int = 0
) -> Forecast | None:
    """Foretell `ahead` periods; None where there are too few to tell from.

    The same series gives the same answer: what is drawn depends on `seed` alone.
    """
    if len(series) < LEAST or ahead < 1:
        return None
    parts = decomposed(series, season)
    alpha, beta = min(
        ((alpha, beta) for alpha in ALPHAS for beta in BETAS),
        key=lambda each: fmean(abs(error) for error in _smoothed(parts.rest, *each)[2]),
    )
    level, slope, errors = _smoothed(parts.rest, alpha, beta)
    used = PARAMETERS + (len(parts.season) - 1 if parts.season else 0)
    stretch = math.sqrt(len(errors) / max(len(errors) - used, len(errors) / 4, 1))
    middle = median(errors)
    pool = [(error - middle) * stretch for error in errors]
    draw = random.Random(seed)
    futures = tuple(
        _future(parts, len(series), (level, slope), (alpha, beta), _errors(pool, ahead, draw))
        for _ in range(FUTURES)
    )
    steps = tuple(_range(step, share) for step in zip(*futures, strict=True))
    return Forecast(steps, _range([math.fsum(each) for each in futures], share), share, futures)


def _smoothed(
    values: Sequence[float], alpha: float, beta: float
) -> tuple[float, float, list[float]]:
    """The last level and slope, and the errors one step ahead, without those of the start."""
    start = min(len(values) // 2, 7)
    level, slope = median(values[: max(start, 1)]), 0.0
    errors = []
    for place, value in enumerate(values):
        expected = level + DAMPING * slope
        error = value - expected
        if place >= start // 2:
            errors.append(error)
        level = expected + alpha * error
        slope = DAMPING * slope + alpha * beta * error
    return level, slope, errors


def _errors(pool: Sequence[float], count: int, draw: random.Random) -> list[float]:
    found: list[float] = []
    while len(found) < count:
        begin = draw.randrange(max(len(pool) - BLOCK + 1, 1))
        found += pool[begin : begin + BLOCK]
    return found[:count]


def _future(
    parts: Parts,
    begin: int,
    state: tuple[float, float],
    constants: tuple[float, float],
    errors: Sequence[float],
) -> tuple[float, ...]:
    (level, slope), (alpha, beta) = state, constants
    values = []
    for step, error in enumerate(errors):
        expected = level + DAMPING * slope
        values.append(parts.value(expected + error + parts.phase(begin + step)))
        level = expected + alpha * error
        slope = DAMPING * slope + alpha * beta * error
    return tuple(values)


def _range(drawn: Sequence[float], share: float) -> Range:
    ascending = sorted(drawn)
    low, high = _bounds(len(ascending), share)
    return Range(ascending[low], median(ascending), ascending[high])


def _bounds(count: int, share: float) -> tuple[int, int]:
    """Places of the ends of the middle `share` of `count` sorted values, rounded outward."""
    low = max(math.floor((1 - share) / 2 * (count + 1)) - 1, 0)
    return low, count - 1 - low


def exhaustion(left: float, coming: Forecast) -> Exhaustion:
    """When `left` is used up, in the drawn futures; at once where nothing is left."""
    times = sorted(_time(left, future) for future in coming.futures)
    low, high = _bounds(len(times), coming.share)
    found = [None if math.isinf(times[n]) else times[n] for n in (low, len(times) // 2, high)]
    return Exhaustion(sum(not math.isinf(each) for each in times) / len(times), *found)


def _time(left: float, future: Sequence[float]) -> float:
    if left <= 0:
        return 0.0
    for step, value in enumerate(future):
        if value >= left:
            return step + left / value
        left -= value
    return math.inf
