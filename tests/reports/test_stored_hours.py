"""Requests by hour, of a ledger in either store."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.reports.conftest import MAY, Open, an_entry, entries, write

from pointsman.clock import SystemClock
from pointsman.ledger.hours import requests_by_hour
from pointsman.store.database import Database
from pointsman.store.open import Store

NAMES = ("p/small", "p/large")


def test_no_deployments_have_no_hours(ledger: Database, tmp_path: Path) -> None:
    write(ledger, entries(5))
    assert requests_by_hour(Store.of(tmp_path / "ledger.db", SystemClock()), (), 0.0) == []


@pytest.mark.real
def test_postgresql_tells_what_sqlite_tells(
    ledger: Database, opened: Open, tmp_path: Path, postgres_database: str
) -> None:
    made = [*entries(80), an_entry(random.Random(1), "late", MAY + 3_599.9)]
    write(ledger, made)
    write(opened(postgres_database), made)
    for since in (MAY, MAY + 3_600.0):
        found, other = (
            sorted(requests_by_hour(Store.of(place, SystemClock()), NAMES, since))
            for place in (tmp_path / "ledger.db", postgres_database)
        )
        assert found == other
        assert len(found) > 10
