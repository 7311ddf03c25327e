"""The outcome of deciding: what `explain` prints and the ledger keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

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


class Ranking(Sequence[Candidate]):
    """Candidates as `decide` has them, by columns: a row is made when somebody looks at it, and of
    almost every decision nobody looks at more than the names. `order`: places, best first."""

    __slots__ = ("costs", "deployments", "order", "parts", "scores", "seconds")

    def __init__(
        self,
        order: Sequence[int],
        deployments: Sequence[Deployment],
        scores: Sequence[float],
        parts: Sequence[tuple[float, ...]],
        costs: Sequence[int | None],
        seconds: Sequence[float | None],
    ) -> None:
        self.order = order
        self.deployments = deployments
        self.scores = scores
        self.parts = parts
        self.costs = costs
        self.seconds = seconds

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> Ranking:
        """Turn rows into columns."""
        if isinstance(candidates, Ranking):
            return candidates
        return cls(
            range(len(candidates)),
            [each.deployment for each in candidates],
            [each.score for each in candidates],
            [each.parts for each in candidates],
            [each.cost_nano for each in candidates],
            [each.seconds for each in candidates],
        )

    @property
    def ranked(self) -> tuple[Deployment, ...]:
        """The deployments, best first."""
        deployments = self.deployments
        return tuple([deployments[i] for i in self.order])

    def _at(self, i: int) -> Candidate:
        return Candidate(
            self.deployments[i], self.scores[i], self.parts[i], self.costs[i], self.seconds[i]
        )

    @overload
    def __getitem__(self, index: int) -> Candidate: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Candidate, ...]: ...

    def __getitem__(self, index: int | slice) -> Candidate | tuple[Candidate, ...]:
        if isinstance(index, slice):
            return tuple(map(self._at, self.order[index]))
        return self._at(self.order[index])

    def __iter__(self) -> Iterator[Candidate]:
        return map(self._at, self.order)

    def __len__(self) -> int:
        return len(self.order)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Ranking{tuple(self)!r}"


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
    candidates: Sequence[Candidate]
    rejected: tuple[Rejection, ...]
    propensity: float
    picker: str
    scorers: tuple[tuple[str, float], ...] = ()
    """(name, weight), in the order of every candidate's `parts`."""
    rule: str = ""
    why: str = ""
