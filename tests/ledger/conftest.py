"""Ledger entries to order."""

from __future__ import annotations

import itertools
from typing import Protocol

import pytest

from pointsman.domain.call import Caller
from pointsman.domain.deployment import Deployment
from pointsman.domain.usage import FREE, Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.routing.decision import Candidate, Decision, Rejection


class Entries(Protocol):
    def __call__(self, *attempts: Attempt, **fields: object) -> LedgerEntry: ...


class Attempts(Protocol):
    def __call__(
        self, model: str = "small", cost: int | None = 100, **fields: object
    ) -> Attempt: ...


@pytest.fixture(scope="session")
def attempt() -> Attempts:
    """Make an attempt on a model at the provider `acme`."""

    def make(model: str = "small", cost: int | None = 100, **fields: object) -> Attempt:
        stated: dict[str, object] = {
            "deployment": f"acme/{model}",
            "provider": "acme",
            "model": model,
            "tier": "workhorse",
            "outcome": "ok",
            "usage": Usage(input=10, output=5, cached=2, reasoning=1),
            "cost_nano": cost,
            "price_version": "list 1",
            "seconds": 0.5,
            "ttft_s": 0.25,
            "http_status": 200,
        }
        return Attempt(**{**stated, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def entry(attempt: Attempts) -> Entries:
    """Make an entry with a new request id; without attempts given it has one."""
    numbers = itertools.count(1)

    def make(*attempts: Attempt, **fields: object) -> LedgerEntry:
        number = next(numbers)
        made = attempts or (attempt(),)
        costs = [each.cost_nano for each in made]
        stated: dict[str, object] = {
            "request_id": f"req-{number}",
            "decision_id": f"dec-{number}",
            "at": 1_700_000_000.0 + number,
            "operation": "chat",
            "route": "auto",
            "requested_model": "auto",
            "caller": Caller("key-1", user="ada", app="web", team="search", tenant="north"),
            "stream": False,
            "status": 200,
            "outcome": made[-1].outcome,
            "attempts": made,
            "usage": made[-1].usage,
            "cost_nano": None if None in costs else sum(cost or 0 for cost in costs),
            "baseline_nano": 1_000,
            "seconds": 0.5,
            "ttft_s": 0.25,
        }
        return LedgerEntry(**{**stated, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def decision() -> Decision:
    small = Deployment("acme/small", "acme", "small", "workhorse", "openai", FREE)
    large = Deployment("acme/large", "acme", "large", "frontier", "openai", FREE)
    return Decision(
        route="auto",
        strategy="hybrid",
        candidates=(Candidate(small, 0.75, (0.75,), 120, 0.5),),
        scorers=(("cost", 1.0),),
        rejected=(Rejection(large, "affordable", "would cost $0.02, the limit is $0.01"),),
        propensity=0.95,
        picker="best",
        why="cheapest that fits",
    )
