"""Databases of both engines: a test that takes `opened` runs once with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pointsman.clock import SystemClock
from pointsman.store.database import Database
from pointsman.store.neutral import script_for
from pointsman.store.open import Store

TABLES = """
CREATE TABLE account (
    id     INTEGER PRIMARY KEY,
    "user" TEXT    NOT NULL UNIQUE,
    spent  INTEGER NOT NULL CHECK (spent >= 0),
    lim    INTEGER NOT NULL,
    CHECK (spent <= lim)
) STRICT;
CREATE TABLE spending (
    account INTEGER NOT NULL REFERENCES account (id),
    amount  INTEGER,
    share   REAL,
    body    BLOB
) STRICT;
"""


@pytest.fixture
def opened(store_place: str) -> Iterator[Callable[..., Database]]:
    """Open connections to the store, and close them after the test."""
    databases: list[Database] = []

    def make(**settings: Any) -> Database:
        database = Store.of(store_place, SystemClock(), **settings).open()
        databases.append(database)
        return database

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def database(opened: Callable[..., Database]) -> Database:
    """A connection to a store with the tables `account`, with one row, and `spending`."""
    database = opened()
    database.script(script_for(database.kind, TABLES))
    database.run("""INSERT INTO account ("user", spent, lim) VALUES ('ann', 0, 100)""")
    return database
