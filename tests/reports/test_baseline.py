"""Savings against a stated baseline, and what the cache saved."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace
from tests.reports.conftest import MAY, an_entry, entries, write

from pointsman.domain.deployment import Deployment
from pointsman.domain.usage import Price, Rates, Usage
from pointsman.errors import InvalidRequest
from pointsman.reports import EVERYONE, Question, report, total
from pointsman.reports.baseline import ALWAYS_FRONTIER, Baseline, named, savings
from pointsman.store.database import Database


def deployment(name: str, tier: str, dollars: int) -> Deployment:
    price = Price(Rates.of(dollars * 10**9, 4 * dollars * 10**9), "list of may")
    return Deployment(name, "p", name, tier, "openai", price)  # type: ignore[arg-type]


HOUSE = [
    deployment("a", "frontier", 3),
    deployment("b", "frontier", 5),
    deployment("c", "local", 9),
]


def test_always_frontier_is_the_dearest_of_the_tier() -> None:
    found = named(ALWAYS_FRONTIER, HOUSE)
    assert (found.name, found.version) == ("always-frontier (b)", "list of may")
    assert found.rates == HOUSE[1].price.rates  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match="no deployment 'd'"):
        named("d", HOUSE)
    with pytest.raises(InvalidRequest, match="no frontier"):
        named(ALWAYS_FRONTIER, HOUSE[2:])


def test_a_baseline_prices_each_request_once_however_often_it_was_tried(ledger: Database) -> None:
    made = entries(60)
    write(ledger, made)
    found = savings(ledger, Question.of(EVERYONE, ["app"]), named("a", HOUSE))
    asked = Usage(
        input=sum(each.usage.input for each in made), output=sum(each.usage.output for each in made)
    )
    rates = Rates.of(3 * 10**9, 12 * 10**9)
    # Each line rounds up once a model and kind of token; these rates have nothing to round.
    assert sum(each.baseline_nano for each in found) == rates.cost(asked)
    spent = total(report(ledger, Question.of(EVERYONE))).cost_nano
    assert sum(each.cost_nano for each in found) == spent
    assert sum(each.saved_nano for each in found) == rates.cost(asked) - spent


def test_models_without_a_price_are_left_out_and_counted(ledger: Database) -> None:
    made = entries(60)
    write(ledger, made)
    own = Baseline("ours", by_model={"small": Rates.of(10**9, 10**9)})
    [found] = savings(ledger, Question.of(EVERYONE), own)
    small = [each for each in made if each.attempts and each.attempts[-1].model == "small"]
    assert found.uncovered == len(made) - len(small)
    tokens = sum(each.usage.input + each.usage.output for each in small)
    assert found.baseline_nano == tokens * 1_000


def test_what_the_cache_saved_is_told_and_costs_nothing(ledger: Database) -> None:
    plain = replace(an_entry(random.Random(2), "x", MAY), attempts=(), cost_nano=0)
    hits = [
        replace(plain, request_id=f"hit{n}", outcome="ok", cache=word, saved_nano=saved)
        for n, (word, saved) in enumerate([("hit", 500), ("similar", 70), ("miss", 0), ("", 0)])
    ]
    write(ledger, hits)
    line = total(report(ledger, Question.of(EVERYONE)))
    assert (line.requests, line.cache_hits, line.hits_saved_nano, line.cost_nano) == (4, 2, 570, 0)
