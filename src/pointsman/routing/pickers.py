"""Pick the first candidate: a picker *is* its odds, and the draw is made from them.

Theory
------
A picker returns the probability of every candidate; one number in [0, 1) then decides. So the
propensity that the ledger keeps is exact by construction, exploration is a mixture of two odds,
and a decision is determined by its random number. Round robin is uniform odds with the turn's
place on the circle instead of a random number. A breaker's `share` below 1 (a deployment on its
way back) lowers the odds in every picker, so that it gets about that share of its traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import log
from typing import Final, NamedTuple, Protocol

from pointsman.routing.scorers import Option

TIE: Final = 1e-9
"""Scores closer than this are equal."""
GOLDEN: Final = 0.6180339887498949
"""Steps of the golden ratio visit the unit circle evenly at every length (a low-discrepancy
sequence), so round robin keeps uneven shares too."""


class Random(Protocol):
    """Where chance comes from; `random.Random` fits."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...


class Pool(NamedTuple):
    """The candidates as a picker sees them, in the route's order: options and their scores."""

    options: Sequence[Option]
    scores: Sequence[float]
    session: str | None = None

    @property
    def shares(self) -> list[float]:
        """What the breakers let through, in (0, 1]."""
        return [option.state.share for option in self.options]

    @property
    def weights(self) -> list[float]:
        """Declared weights, each lowered to what its breaker lets through."""
        return [option.deployment.weight * option.state.share for option in self.options]


Odds = Callable[[Pool], list[float]]


def best(pool: Pool) -> list[float]:
    """Take the highest score; ties are drawn evenly. One on its way back is taken with the
    probability of its share, else the next score's turn comes."""
    options, scores = pool.options, pool.scores
    odds = [0.0] * len(scores)
    limit = max(scores) - TIE
    first = [i for i, score in enumerate(scores) if score >= limit]
    if all(options[i].state.share >= 1 for i in first):
        for i in first:
            odds[i] = 1 / len(first)
        return odds
    shares = pool.shares
    reach = 1.0
    ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    start = 0
    while start < len(ranked) and reach > TIE:
        end = start
        while end < len(ranked) and scores[ranked[end]] >= scores[ranked[start]] - TIE:
            end += 1
        group = ranked[start:end]
        for i in group:
            odds[i] = reach * min(1.0, shares[i]) / len(group)
        reach -= sum(odds[i] for i in group)
        start = end
    return _normalised(odds)


def weighted(pool: Pool) -> list[float]:
    """Draw by declared weight; evenly where all weights are 0."""
    return _normalised(pool.weights)


def evenly(pool: Pool) -> list[float]:
    """Draw evenly."""
    return _normalised(pool.shares)


def power_of_two(pool: Pool) -> list[float]:
    """Draw two, take the higher score: spreads load, and a stale score harms only half.

    Odds of the one with `below` candidates under it and `ties` beside it among n:
    (2 * below + ties) / (n * (n - 1)). After Mitzenmacher, The Power of Two Choices (2001).
    """
    n = len(pool.scores)
    if n == 1:
        return [1.0]
    ranked = sorted(range(n), key=pool.scores.__getitem__)
    shares = pool.shares
    odds = [0.0] * n
    start = 0
    while start < n:
        end = start
        while end < n and pool.scores[ranked[end]] <= pool.scores[ranked[start]] + TIE:
            end += 1
        for i in ranked[start:end]:
            chance = (2 * start + (end - start - 1)) / (n * (n - 1))
            odds[i] = chance * min(1.0, shares[i])
        start = end
    return _normalised(odds)


def sticky(pool: Pool) -> list[float]:
    """Keep a session where it is: the highest of -weight / ln(hash of session and name).

    Weighted rendezvous hashing (Thaler & Ravishankar 1998; Schindelhauer & Schomaker 2005): when
    a deployment goes, only its own sessions move. Without a session: drawn by weight.
    """
    if pool.session is None:
        return weighted(pool)
    pulls = [
        weight / -log(_unit(pool.session, option.deployment.name))
        for weight, option in zip(pool.weights, pool.options, strict=True)
    ]
    chosen = max(range(len(pulls)), key=pulls.__getitem__)
    odds = [0.0] * len(pulls)
    odds[chosen] = 1.0
    return odds


def _unit(session: str, name: str) -> float:
    """Hash into the open interval (0, 1); the same in every process."""
    text = f"{name}\0{session}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(text, digest_size=8).digest())
    return ((number >> 11) + 0.5) / (1 << 53)


def _normalised(odds: Sequence[float]) -> list[float]:
    total = sum(odds)
    if total <= 0:
        return [1 / len(odds)] * len(odds)
    return [each / total for each in odds]


def explored(odds: Sequence[float], cold: Sequence[int], rate: float) -> list[float]:
    """Mix in exploration: with probability `rate` draw evenly among the `cold` candidates."""
    if not cold or rate <= 0:
        return list(odds)
    mixed = [(1 - rate) * each for each in odds]
    for i in cold:
        mixed[i] += rate / len(cold)
    return mixed


def draw(odds: Sequence[float], point: float) -> int:
    """Return the index whose stretch of the unit interval holds `point` in [0, 1)."""
    last = 0
    for i, edge in enumerate(accumulate(odds)):
        if odds[i] > 0:
            if point < edge:
                return i
            last = i
    return last  # rounding left a sliver above the last edge


def place_of(turn: int, odds: Sequence[float]) -> float:
    """Turn a running number into a point: a strict round where odds are even, else GOLDEN steps."""
    n = len(odds)
    if max(odds) - min(odds) < TIE:
        return (turn % n + 0.5) / n
    return turn * GOLDEN % 1.0


PICKERS: Final[Mapping[str, Odds]] = {
    "best": best,
    "weighted": weighted,
    "random": evenly,
    "round_robin": evenly,
    "power_of_two": power_of_two,
    "sticky": sticky,
}
