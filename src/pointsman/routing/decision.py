"""The outcome of deciding: what `explain` prints and the ledger keeps."""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.domain.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that passed every filter.

    `score` in [0, 1] is the weighted mean of `parts`, each (scorer, weight, score in [0, 1]).
    `cost_nano` is the estimated cost, None for an unknown price; `seconds` the estimated time.
    """

    deployment: Deployment
    score: float
    parts: tuple[tuple[str, float, float], ...] = ()
    cost_nano: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A deployment that a filter kept out, and why, in words for a person."""

    deployment: Deployment
    filter: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Ranked candidates, best first: the first is tried, the rest are the fallback order.

    `propensity` is the probability with which this first one was chosen, given the states.
    `rule` names the content rule that applied, "" for none. `why` is one line for a person.
    """

    route: str
    strategy: str
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    propensity: float
    picker: str
    rule: str = ""
    why: str = ""
