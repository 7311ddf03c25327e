"""Where a store can be, and what is told of it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from pointsman.errors import ConfigError
from pointsman.store import postgres
from pointsman.store.open import Store
from pointsman.store.postgres import PostgresDatabase, numbered
from pointsman.testing.clock import FakeClock

URL = "postgresql://ann:s3cret@db.example:5433/money?sslmode=require"


def test_a_path_is_a_sqlite_file(tmp_path: Path) -> None:
    store = Store.of(tmp_path / "a b.db", FakeClock())
    assert (store.kind, store.shown) == ("sqlite", str(tmp_path / "a b.db"))


def test_a_url_is_a_postgresql_server() -> None:
    store = Store.of(URL, FakeClock())
    assert store.kind == "postgresql"
    assert store.shown == "postgresql://ann@db.example:5433/money"


def test_no_password_is_shown() -> None:
    store = Store.of(URL, FakeClock())
    assert "s3cret" not in f"{store!r} {store} {store.open()!r} {PostgresDatabase(URL)!r}"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ann@db/money",
        "sqlite:///money.db",
        "postgresql://ann:s3cret@db",
        "postgresql://ann:s3cret@db:port/money",
    ],
)
def test_another_kind_of_place_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        Store.of(url, FakeClock())
    assert "s3cret" not in str(error.value)


def test_a_missing_driver_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, postgres.__name__)
    with pytest.raises(ConfigError, match=r"pip install pointsman\[postgres\]"):
        Store.of(URL, FakeClock())
    monkeypatch.undo()
    assert importlib.import_module(postgres.__name__) is postgres


def test_placeholders_are_numbered() -> None:
    assert numbered("SELECT ?, '?', \"?\" -- ?\n, ? /* ? */ WHERE a = ?") == (
        "SELECT $1, '?', \"?\" -- ?\n, $2 /* ? */ WHERE a = $3"
    )
