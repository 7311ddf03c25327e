"""Ledgers to report on: entries put straight into the tables, on either engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.ledger.rows import (
    ATTEMPT_COLUMNS,
    ENTRY_COLUMNS,
    attempt_rows,
    entry_row,
    tags_of,
)
from pointsman.store.database import Database
from pointsman.store.open import Store

MAY = 1_777_593_600.0  # 2026-05-01T00:00Z
DAY = 86_400.0

Open = Callable[..., Database]


def an_entry(draw: random.Random, name: str, at: float) -> LedgerEntry:
    """An entry of any kind that there is."""
    tried = tuple(
        Attempt(
            f"p/{model}",
            "p",
            model,
            "workhorse",
            draw.choice(["ok", "timeout"]),
            Usage(input=draw.randrange(5_000), output=draw.randrange(900), cached=3),
            draw.choice([None, 0, draw.randrange(10**10)]),
            hedge=n > 0 and draw.random() < 0.3,  # It is always beside another.
            id=f"{name}-{model}-{n}",
        )
        for n, model in enumerate(draw.choices(["small", "large"], k=draw.choice([0, *[1] * 4, 3])))
    )
    costs = [each.cost_nano for each in tried]
    return LedgerEntry(
        request_id=name,
        decision_id="d",
        at=at,
        operation="chat",
        route=draw.choice(["auto", "cheap"]),
        requested_model="auto",
        caller=Caller(
            draw.choice(["k1", "k2"]),
            app=draw.choice([None, "web", "bot"]),
            tenant=draw.choice(["north", "south", None]),
        ),
        stream=False,
        status=200,
        outcome=tried[-1].outcome if tried else "rejected",
        attempts=tried,
        usage=tried[-1].usage if tried else Usage(),
        cost_nano=None if None in costs else sum(cost or 0 for cost in costs),
        baseline_nano=draw.choice([None, draw.randrange(10**10)]),
        seconds=draw.lognormvariate(0, 1),
        ttft_s=draw.choice([None, draw.random()]),
        tags=draw.choice([(), (("env", "x"),), (("env", "y"), ("feature", "a"))]),
    )


def entries(count: int, seed: int = 1, span: float = 70 * DAY) -> list[LedgerEntry]:
    draw = random.Random(seed)
    return [an_entry(draw, f"r{seed}-{n}", MAY + draw.random() * span) for n in range(count)]


def write(database: Database, made: Sequence[LedgerEntry]) -> None:
    """Append entries, numbered after the last."""

    def insert(table: str, columns: Sequence[str]) -> str:
        names = ", ".join(f'"{name.strip(chr(34))}"' for name in columns)
        return f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"

    with database.transaction():
        ((last,),) = database.rows("SELECT coalesce(max(seq), 0) FROM entry")
        numbered = list(enumerate(made, last + 1))
        database.run_many(insert("entry", ENTRY_COLUMNS), (entry_row(*each) for each in numbered))
        database.run_many(
            insert("attempt", ATTEMPT_COLUMNS),
            (row for each in numbered for row in attempt_rows(*each)),
        )
        database.run_many(
            insert("tag", ("entry", "name", "value")),
            ((seq, *tag) for seq, entry in numbered for tag in tags_of(entry).items()),
        )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Connections to one SQLite file, or to a URL."""
    found: list[Database] = []

    def open_(where: Path | str = tmp_path / "ledger.db") -> Database:
        found.append(Store.of(where, SystemClock()).open())
        return found[-1]

    yield open_
    for each in found:
        each.close()


@pytest.fixture
def ledger(opened: Open) -> Database:
    return opened()
