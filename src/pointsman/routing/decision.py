"""The outcome of deciding: what `explain` prints and the ledger keeps."""

from __future__ import annotations

import msgspec

from pointsman.domain.deployment import Deployment


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A deployment that passed every filter.

    `score` in [0, 1] is the weighted mean of `parts`: what each of the decision's `scorers` gave,
    in [0, 1].
    `cost_nano` is the estimated cost, None for an unknown price; `seconds` the estimated time.
    """

    deployment: Deployment
    score: float
    parts: tuple[float, ...] = ()
    cost_nano: int | None = None
    seconds: float | None = None


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A deployment that a filter kept out, and why, in words for a person."""

    deployment: Deployment
    filter: str
    reason: str


class Decision(msgspec.Struct, frozen=True, gc=False):
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
    scorers: tuple[tuple[str, float], ...] = ()
    """(name, weight), in the order of every candidate's `parts`."""
    rule: str = ""
    why: str = ""
