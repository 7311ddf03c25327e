"""What only a file can do to us."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pointsman.errors import ConfigError
from pointsman.store.errors import StorageUnavailable
from pointsman.store.open import Store
from pointsman.store.sqlite import SqliteDatabase
from pointsman.testing.clock import FakeClock

TABLE = "CREATE TABLE t (n INTEGER, body TEXT) STRICT;\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store.db"


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(path, FakeClock(), busy_s=0.01)
    database.script(TABLE)
    yield database
    database.close()


def test_time_is_that_of_the_clock_handed_in() -> None:
    clock = FakeClock()
    with closing(SqliteDatabase(Path("never made"), clock)) as database:
        assert database.now() == clock.wall()


def test_nothing_is_made_before_the_first_use(path: Path) -> None:
    with closing(Store.of(path, FakeClock()).open()) as database:
        assert not path.exists()
        database.rows("SELECT 1")
        assert path.exists()


def test_the_file_is_in_wal_mode_and_synced_as_told(path: Path) -> None:
    with closing(SqliteDatabase(path, FakeClock())) as database:
        assert database.rows("PRAGMA journal_mode") == [("wal",)]
        assert database.rows("PRAGMA synchronous") == [(1,)]
    with closing(SqliteDatabase(path, FakeClock(), synchronous="FULL")) as database:
        assert database.rows("PRAGMA synchronous") == [(2,)]


def test_a_full_disk_is_the_stores_fault_and_passes(database: SqliteDatabase, path: Path) -> None:
    ((pages,),) = database.rows("PRAGMA page_count")
    database.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageUnavailable, match="full") as full:
        database.run("INSERT INTO t VALUES (1, ?)", ("x" * 100_000,))
    assert not full.value.is_busy
    # The connection was given up: the next has room.
    assert database.run("INSERT INTO t VALUES (1, ?)", ("x" * 100_000,)) == 1


def test_a_file_that_is_no_database_is_unavailable_until_it_is_one(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with closing(SqliteDatabase(path, FakeClock())) as database:
        with pytest.raises(StorageUnavailable, match="not a database"):
            database.rows("SELECT 1")
        path.unlink()
        assert database.rows("SELECT 1") == [(1,)]


def test_a_place_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        closing(SqliteDatabase(tmp_path / "file" / "store.db", FakeClock())) as database,
        pytest.raises(StorageUnavailable),
    ):
        database.rows("SELECT 1")


def test_a_file_without_leave_to_write_is_unavailable(database: SqliteDatabase, path: Path) -> None:
    database.rows("PRAGMA query_only = ON")
    with pytest.raises(StorageUnavailable, match="readonly"):
        database.run("INSERT INTO t VALUES (1, '')")
    assert database.run("INSERT INTO t VALUES (1, '')") == 1


def test_a_lock_at_commit_keeps_nothing(database: SqliteDatabase, path: Path) -> None:
    """Whoever holds the file in the old way, for all to see."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable) as busy, database.transaction():
            raise AssertionError("it was begun")
        assert busy.value.is_busy
        other.execute("ROLLBACK")
    with database.transaction():
        database.run("INSERT INTO t VALUES (1, '')")
    assert database.rows("SELECT n FROM t") == [(1,)]


def test_an_sqlite_without_strict_tables_is_too_old(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with (
        closing(SqliteDatabase(path, FakeClock())) as database,
        pytest.raises(ConfigError, match=r"3\.37 or newer"),
    ):
        database.rows("SELECT 1")


def test_a_connection_that_is_there_can_be_wrapped(path: Path) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        database = SqliteDatabase.around(connection, FakeClock())
        with database.transaction(patience_s=1.0):
            database.script(TABLE)
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
        assert connection.execute("PRAGMA busy_timeout").fetchall() == [(5000,)]
