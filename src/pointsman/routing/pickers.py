"""Pick the first candidate: a picker *is* its odds, and the draw is made from them.

Theory
------
A picker returns the probability of every candidate; one number in [0, 1) then decides. So the
propensity that the ledger keeps is exact by construction, exploration is a mixture of two odds,
and a decision is determined by its random number. Round robin is uniform odds with the turn's
place on the circle instead of a random number.

A breaker's `share` below 1 (a deployment on its way back) lowers the odds in every picker, so that
it gets that share of its traffic, and the others get the rest in proportion to their own odds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import log
from typing import Final, NamedTuple, Protocol

from pointsman.routing.scorers import Lineup

TIE: Final = 1e-9
"""Scores closer than this are equal."""
RETURNING: Final = 0.2
"""Of its part of the traffic, what one on its way back gets at least, however slow it seems: it
is measured anew by that."""
GOLDEN: Final = 0.6180339887498949
"""Steps of the golden ratio visit the unit circle evenly at every length (a low-discrepancy
sequence), so round robin keeps uneven shares too."""


class Random(Protocol):
    """Where chance comes from; `random.Random` fits."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...


class Pool(NamedTuple):
    """The candidates as a picker sees them, in the route's order."""

    lineup: Lineup
    scores: Sequence[float]
    session: str | None = None

    @property
    def shares(self) -> list[float]:
        """What the breakers let through, in (0, 1]."""
        return [state.share for state in self.lineup.states]

    @property
    def weights(self) -> list[float]:
        """Declared weights."""
        return [deployment.weight for deployment in self.lineup.deployments]


Odds = Callable[[Pool], list[float]]


def best(pool: Pool) -> list[float]:
    """Take the highest score; ties are drawn evenly. One on its way back is taken with the
    probability of its share, else the next score's turn comes."""
    scores, states = pool.scores, pool.lineup.states
    odds = [0.0] * len(scores)
    limit = max(scores) - TIE
    first = [i for i, score in enumerate(scores) if score >= limit]
    if min([states[i].share for i in first]) >= 1:
        for i in first:
            odds[i] = 1 / len(first)
        return odds
    reach = 1.0
    ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    start = 0
    while start < len(ranked) and reach > TIE:
        end = start
        while end < len(ranked) and scores[ranked[end]] >= scores[ranked[start]] - TIE:
            end += 1
        group = ranked[start:end]
        shares = [min(1.0, states[i].share) for i in group]
        for i, odd in zip(group, _lowered([1 / len(group)] * len(group), shares), strict=True):
            odds[i] = reach * odd * max(shares)
        reach -= sum(odds[i] for i in group)
        start = end
    return _normalised(odds)


def weighted(pool: Pool) -> list[float]:
    """Draw by declared weight; evenly where all weights are 0."""
    return _lowered(_normalised(pool.weights), pool.shares)


def evenly(pool: Pool) -> list[float]:
    """Draw evenly."""
    n = len(pool.scores)
    return _lowered([1 / n] * n, pool.shares)


def power_of_two(pool: Pool) -> list[float]:
    """Draw two, take the higher score: spreads load, and a stale score harms only half.

    Odds of the one with `below` candidates under it and `ties` beside it among n:
    (2 * below + ties) / (n * (n - 1)). After Mitzenmacher, The Power of Two Choices (2001).
    One on its way back is idle and would win every draw: it gets its share of an even part at
    most (slow start; after Envoy's, which scales the weight).
    """
    n = len(pool.scores)
    if n == 1:
        return [1.0]
    scores = pool.scores
    ranked = sorted(range(n), key=scores.__getitem__)
    odds = [0.0] * n
    start = 0
    while start < n:
        end = start
        while end < n and scores[ranked[end]] <= scores[ranked[start]] + TIE:
            end += 1
        for i in ranked[start:end]:
            odds[i] = (2 * start + (end - start - 1)) / (n * (n - 1))
        start = end
    states = pool.lineup.states
    shares = pool.shares
    part = 1 / n
    # The last of the ranking is never drawn. What waits for its probe would be the last until its
    # failures are forgotten, so a probe (there is one at a time) has an even part.
    for i, state in enumerate(states):
        if state.breaker == "half_open" and odds[i] < part:
            odds = [odd * (1 - part) / (1 - odds[i]) for odd in odds]
            odds[i] = part
    if min(shares) >= 1:
        return odds
    most = [
        1.0 if own >= 1 or odd <= part else part / odd
        for own, odd in zip(shares, odds, strict=True)
    ]
    odds = _lowered(odds, [own * top for own, top in zip(shares, most, strict=True)])
    for i, state in enumerate(states):
        least = state.share * part * RETURNING
        if state.share < 1 and odds[i] < least:
            odds = [odd * (1 - least) / (1 - odds[i]) for odd in odds]
            odds[i] = least
    return odds


def sticky(pool: Pool) -> list[float]:
    """Keep a session where it is: the highest of -weight / ln(hash of session and name).

    Weighted rendezvous hashing (Thaler & Ravishankar 1998; Schindelhauer & Schomaker 2005): when
    a deployment goes, only its own sessions move. Without a session: drawn by weight.
    """
    if pool.session is None:
        return weighted(pool)
    pulls = [
        weight / -log(_unit(pool.session, deployment.name))
        for weight, deployment in zip(_lowered_weights(pool), pool.lineup.deployments, strict=True)
    ]
    chosen = max(range(len(pulls)), key=pulls.__getitem__)
    odds = [0.0] * len(pulls)
    odds[chosen] = 1.0
    return odds


def _lowered_weights(pool: Pool) -> list[float]:
    """Weights that give one on its way back its share of its sessions: w' / (w' + others) is
    share * w / (w + others)."""
    weights, shares = pool.weights, pool.shares
    if min(shares) >= 1:
        return weights
    total = sum(weights)
    return [
        weight
        if share >= 1 or weight >= total
        else share * weight * (total - weight) / (total - share * weight)
        for weight, share in zip(weights, shares, strict=True)
    ]


def _unit(session: str, name: str) -> float:
    """Hash into the open interval (0, 1); the same in every process."""
    text = f"{name}\0{session}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(text, digest_size=8).digest())
    return ((number >> 11) + 0.5) / (1 << 53)


def _lowered(odds: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Lower the odds of those on their way back to their share of them; what that leaves goes to
    the others, in proportion, or evenly where they had none."""
    if min(shares) >= 1:
        return list(odds)
    lowered = [odd * share for odd, share in zip(odds, shares, strict=True)]
    whole = [i for i, share in enumerate(shares) if share >= 1]
    if not whole:
        return _normalised(lowered if sum(lowered) > 0 else shares)
    left = 1 - sum(lowered)
    base = sum(odds[i] for i in whole)
    for i in whole:
        lowered[i] += left * (odds[i] / base if base > 0 else 1 / len(whole))
    return lowered


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
