"""Requests by hour, as preloading wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.ledger.hours import requests_by_hour
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.store.errors import StorageError
from pointsman.store.open import Store
from pointsman.testing import FakeClock

NINE = 1_750_000_000.0 // 3600 * 3600


def test_requests_are_counted_by_deployment_and_hour(
    tmp_path: Path, entry: Callable[..., LedgerEntry], attempt: Callable[..., Attempt]
) -> None:
    path = tmp_path / "l.db"
    ledger = SqliteLedger(path, FakeClock())
    for at, model in (
        (NINE, "small"),
        (NINE + 3599.9, "small"),
        (NINE + 3600, "small"),
        (NINE, "large"),
        (NINE, "other"),
        (NINE - 1, "small"),
    ):
        ledger.append(entry(attempt(model), at=at))
    ledger.append(entry(attempt("small", outcome="timeout"), attempt("large"), at=NINE + 5))
    ledger.close()
    found = requests_by_hour(Store.of(path, FakeClock()), {"acme/small", "acme/large"}, NINE)
    assert sorted(found) == [
        ("acme/large", NINE, 2),
        ("acme/small", NINE, 2),
        ("acme/small", NINE + 3600, 1),
    ]


def test_a_ledger_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.db").write_bytes(b"no database " * 100)
    with pytest.raises(StorageError):
        requests_by_hour(Store.of(tmp_path / "odd.db", FakeClock()), {"a"}, 0.0)
