"""Requests by hour, of a ledger in either store."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.reports.conftest import MAY, Open, an_entry, entries, write

from pointsman.clock import SystemClock
from pointsman.ledger.hours import requests_by_hour, stored_requests_by_hour
from pointsman.store.database import Database
from pointsman.store.open import Store

NAMES = ("p/small", "p/large")


def test_a_store_tells_what_a_file_does(ledger: Database, tmp_path: Path) -> None:
    write(ledger, [*entries(80), an_entry(random.Random(1), "late", MAY + 3_599.9)])
    path = tmp_path / "ledger.db"
    store = Store.of(path, SystemClock())
    for since in (0.0, MAY + 3_600.0):
        found = stored_requests_by_hour(store, NAMES, since)
        assert sorted(found) == sorted(requests_by_hour(path, NAMES, since))
    assert stored_requests_by_hour(store, (), 0.0) == []


@pytest.mark.real
def test_postgresql_tells_it_too(ledger: Database, opened: Open, postgres_database: str) -> None:
    made = entries(80)
    write(ledger, made)
    write(opened(postgres_database), made)
    found = stored_requests_by_hour(Store.of(postgres_database, SystemClock()), NAMES, MAY)
    assert len(found) > 10
    assert sum(count for _, _, count in found) == sum(bool(each.attempts) for each in made)
