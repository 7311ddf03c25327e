"""Stores of both engines with the tables in them: a test that takes `store` runs once with each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.access.house import House
from pointsman.config.load import loads
from pointsman.config.settings import Settings
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing import FakeClock

CONFIG = """
deployments:
  - {name: small, model: ollama/small, context_tokens: 1000}
  - {name: large, model: ollama/large, context_tokens: 1000}
routes:
  - {name: auto, deployments: [small, large], aliases: [default]}
  - {name: cheap, deployments: [small]}
budgets:
  - {name: file-month, scope: everyone, limit_usd: 100}
  - {name: file-shared, scope: named, limit_usd: 10}
server:
  keys:
    - {key: "env:FILE_KEY", name: from-file, tenant: acme, limits: {budgets: [file-shared]}}
"""
FILE_KEY = "sk-file-canary-0123456789"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of a new and empty store."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(where: str, clock: FakeClock) -> Store:
    return Store.of(where, clock)


@pytest.fixture
def database(store: Store) -> Iterator[Database]:
    opened = store.open()
    yield opened
    opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return loads(CONFIG, "test", {"FILE_KEY": FILE_KEY}, tmp_path)


@pytest.fixture
def house(settings: Settings) -> House:
    return House.of(settings)
