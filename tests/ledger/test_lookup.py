"""Requests as they were recorded, found again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pointsman.clock import SystemClock
from pointsman.ledger import lookup
from pointsman.ledger.lookup import entry_by_id, every_entry
from pointsman.ledger.write import insert
from pointsman.store.database import Database
from pointsman.store.open import Store


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    place = tmp_path / "ledger.db"
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres_database")
    with closing(Store.of(place, SystemClock()).open()) as opened:
        yield opened


def write(database: Database, *made: Any) -> None:
    with database.transaction():
        insert(database, made)


def test_one_request_is_found_with_all_its_attempts(
    database: Database, entry: Any, attempt: Any, decision: Any
) -> None:
    tried = (attempt("large", outcome="timeout", charged_nano=7), attempt("small", hedge=True))
    wanted = entry(*tried, decision=decision, tags=(("env", "prod"),))
    write(database, entry(), wanted, entry())
    found = entry_by_id(database, wanted.request_id)
    assert found is not None
    assert found.entry.attempts == wanted.attempts
    assert found.entry.tags == wanted.tags
    assert found.decision is not None
    assert found.decision["why"] == "cheapest that fits"
    assert entry_by_id(database, "never") is None


def test_all_are_read_in_pages_and_in_their_order(
    database: Database, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PAGE", 2)
    assert list(every_entry(database)) == []
    made = [entry() for _ in range(4)]
    write(database, *made)
    found = [each.entry.request_id for each in every_entry(database)]
    assert found == [each.request_id for each in made]
