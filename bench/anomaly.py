"""Measure the anomaly detector: `python -m bench.anomaly [SERIES] [SEED]` prints a table.

Series of spending are made up, four weeks of five-minute sums each, and one fault is put into
each. A fault is *found* if something odd is told between its beginning and half an hour after
its end. Whatever is told at other times is a *false alarm*; what is told within an hour of the
last counts once, and what is told in the six hours after a fault is the fault's own echo. The
first week is counted apart: nobody knows a week's season then.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pointsman.alerts.anomaly import Series

EVERY_S = 300.0
DAY = 288
WEEK = 7 * DAY
LEAST_NANO = 100_000_000
START = 1_699_833_600.0
"""A Monday, 00:00 UTC."""

Shape = Callable[[random.Random, int], float]
"""From a bucket's number to USD that are spent in it."""


def constant(rng: random.Random, at: int) -> float:
    return 2.0


def noisy(rng: random.Random, at: int) -> float:
    return 2.0 * rng.lognormvariate(0, 0.2)


def few_dear(rng: random.Random, at: int) -> float:
    """A handful of requests whose costs differ by an order of magnitude."""
    return sum(0.4 * rng.lognormvariate(-0.5, 1.0) for _ in range(_poisson(rng, 8)))


def office(rng: random.Random, at: int) -> float:
    """Five times as much at noon as at night; a third of it at the weekend."""
    day, hour = at // DAY % 7, at % DAY / 12
    level = 1 + 4 * max(0.0, math.sin((hour - 6) / 12 * math.pi))
    return level * (0.35 if day >= 5 else 1.0) * rng.lognormvariate(0, 0.15)


def nightly(rng: random.Random, at: int) -> float:
    """A trickle, and a job from two to three."""
    return (20.0 if 24 <= at % DAY < 36 else 0.5) * rng.lognormvariate(0, 0.1)


SHAPES: dict[str, Shape] = {
    "constant": constant,
    "noisy": noisy,
    "few, dear": few_dear,
    "office hours": office,
    "nightly job": nightly,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`factor` of a bucket that is `into` the fault, both in buckets; `is_told`: it should be."""

    length: int
    factor: Callable[[int], float]
    is_told: bool = True


FAULTS: dict[str, Fault] = {
    "spike x10": Fault(1, lambda into: 10.0),
    "spike x4": Fault(1, lambda into: 4.0),
    "shift x2": Fault(36, lambda into: 2.0),
    "shift x3": Fault(36, lambda into: 3.0),
    "drift x4 in 12 h": Fault(144, lambda into: 4.0 ** (into / 144)),
    "+1 %": Fault(144, lambda into: 1.01, is_told=False),
    "half": Fault(36, lambda into: 0.5, is_told=False),
    "none": Fault(0, lambda into: 1.0, is_told=False),
}


@dataclass(slots=True)
class Score:
    """Of a fault: how many were there and found, and false alarms over how many weeks."""

    faults: int = 0
    found: int = 0
    false: int = 0
    early: int = 0
    """False alarms of the first week, before there is a season to know."""
    weeks: float = 0.0

    def add(self, other: Score) -> None:
        self.faults += other.faults
        self.found += other.found
        self.false += other.false
        self.early += other.early
        self.weeks += other.weeks

    @property
    def recall(self) -> float:
        return self.found / self.faults if self.faults else math.nan

    @property
    def precision(self) -> float:
        """Of the alarms in three weeks with one fault, how many are of the fault."""
        told = self.found + self.false
        return self.found / told if told else math.nan


def measure(shape: Shape, fault: Fault, seed: int, warm: int = 3 * WEEK, end: int = WEEK) -> Score:
    """One series: judged from its first day on, the fault somewhere in the `end` after `warm`."""
    rng = random.Random(seed)
    begin = warm + rng.randrange(end - fault.length - DAY // 2)
    if shape is nightly:  # A job may be large; twice of nearly nothing is not worth a word.
        begin = begin // DAY * DAY + 25
    until = begin + fault.length
    series = Series(EVERY_S, LEAST_NANO)
    score = Score(faults=int(fault.is_told), weeks=(warm + end) / WEEK - 1)
    last_false = -DAY
    found = False
    for at in range(warm + end):
        usd = shape(rng, at) * (fault.factor(at - begin) if begin <= at < until else 1.0)
        if series.add(START + at * EVERY_S, round(usd * 1e9), LEAST_NANO) is None:
            continue
        if fault.is_told and begin <= at < until + 6:
            found = True
        elif not (fault.is_told and until <= at < until + 72):
            is_new = at - last_false > 12
            last_false = at
            if at < WEEK:
                score.early += is_new
            else:
                score.false += is_new
    score.found = int(found)
    return score


def table(series: int, seed: int) -> Iterator[str]:
    numbers = f"{'recall':>7} {'precision':>9} {'false a week':>12} {'in the first':>12}"
    yield f"{'series':14} {'fault':18} {numbers}"
    total = Score()
    for name, shape in SHAPES.items():
        for what, fault in FAULTS.items():
            score = Score()
            for number in range(series):
                score.add(measure(shape, fault, seed * 1_000 + number))
            total.add(score)
            recall = f"{score.recall:7.2f}" if fault.is_told else "      -"
            precision = f"{score.precision:9.2f}" if fault.is_told else "        -"
            yield (
                f"{name:14} {what:18} {recall} {precision} {score.false / score.weeks:12.3f} "
                f"{score.early * 3 / score.weeks:12.3f}"
            )
    yield (
        f"{'all':14} {'':18} {total.recall:7.2f} {total.precision:9.2f} "
        f"{total.false / total.weeks:12.3f} {total.early * 3 / total.weeks:12.3f}"
    )


def _poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, math.exp(-mean)
    product = rng.random()
    while product > left:
        count += 1
        product *= rng.random()
    return count


if __name__ == "__main__":
    words = sys.argv[1:]
    for line in table(int(words[0]) if words else 5, seed=int(words[1]) if len(words) > 1 else 1):
        print(line, flush=True)
