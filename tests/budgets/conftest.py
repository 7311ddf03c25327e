"""Stores of both engines: a test that takes `store` runs once with each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.store.database import Database
from pointsman.store.open import Store


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def store(where: str) -> Store:
    return Store.of(where, SystemClock())


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    database = store.open()
    yield database
    database.close()
