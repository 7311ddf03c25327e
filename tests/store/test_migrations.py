"""Every store comes to the newest form, from whichever it has, whoever else is at it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.errors import ConfigError
from pointsman.ledger.rows import ATTEMPT_COLUMNS, ENTRY_COLUMNS
from pointsman.store.database import Database
from pointsman.store.errors import BadStatement, RowRefused
from pointsman.store.migrate import Script, applied, migrate, newest, scripts
from pointsman.store.neutral import script_for
from pointsman.store.open import Store
from pointsman.store.postgres import PostgresDatabase
from pointsman.store.sqlite import SqliteDatabase

Open = Callable[..., Database]

TAG = ("INSERT INTO tag (entry, name, value) VALUES (?, ?, ?)", (1, "team", "blue"))
FIRST_FORM = """
CREATE TABLE entry (seq INTEGER PRIMARY KEY, user TEXT) STRICT;
CREATE TABLE attempt (entry INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (entry, n)) STRICT;
INSERT INTO entry VALUES (1, 'ann');
INSERT INTO attempt VALUES (1, 1);
"""
"""Of a file from before the table of migrations, as much as the tests here look at."""


def step(number: int, text: str) -> Script:
    return Script(number, f"step{number}", text)


ONE = step(1, "CREATE TABLE one (id INTEGER PRIMARY KEY) STRICT;\n")
TWO = step(2, "CREATE TABLE two (id INTEGER PRIMARY KEY REFERENCES one (id)) STRICT;\n")
THREE = step(3, "ALTER TABLE one ADD COLUMN body BLOB;\n")


@pytest.fixture
def bare(store_place: str) -> Iterator[Database]:
    """A connection to a store that nobody brought up to date."""
    database: Database
    if "://" in store_place:
        database = PostgresDatabase(store_place)
    else:
        database = SqliteDatabase(Path(store_place), SystemClock())
    yield database
    database.close()


# The steps of this package.


def test_every_step_has_a_number_of_its_own() -> None:
    numbers = [script.number for script in scripts()]
    assert numbers == sorted(set(numbers))
    assert numbers[:2] == [1, 2]
    assert newest() == numbers[-1]


def test_a_new_store_takes_every_step_and_says_so(opened: Open) -> None:
    database = opened()
    assert applied(database) == {script.number for script in scripts()}
    names = database.rows("SELECT name FROM migration ORDER BY number")
    assert names[:2] == [("entries",), ("hedges",)]


def test_entries_have_the_columns_that_the_ledger_writes(opened: Open) -> None:
    database = opened()
    for table, columns in (("entry", ENTRY_COLUMNS), ("attempt", ATTEMPT_COLUMNS)):
        named = ", ".join(column if column.startswith('"') else f'"{column}"' for column in columns)
        assert database.rows(f"SELECT {named} FROM {table}") == []


def test_what_is_append_only_is_neither_changed_nor_deleted(opened: Open) -> None:
    database = opened()
    database.script(script_for(database.kind, "CREATE TABLE kept (n INTEGER) STRICT;\n"))
    database.script(script_for(database.kind, "-- append-only: kept\n"))
    database.run("INSERT INTO kept VALUES (1)")
    for sql in ("UPDATE kept SET n = 2", "DELETE FROM kept"):
        with pytest.raises(RowRefused, match="kept is append-only"):
            database.run(sql)
    if database.kind == "postgresql":
        with pytest.raises(RowRefused, match="kept is append-only"):
            database.run("TRUNCATE kept")
    assert database.rows("SELECT n FROM kept") == [(1,)]


# How steps are taken.


def test_steps_are_taken_once(bare: Database) -> None:
    migrate(bare, (ONE, TWO))
    migrate(bare, (ONE, TWO))
    assert applied(bare) == {1, 2}


def test_a_step_that_comes_late_is_still_taken(bare: Database) -> None:
    migrate(bare, (ONE, THREE))
    assert applied(bare) == {1, 3}
    migrate(bare, (ONE, TWO, THREE))
    assert applied(bare) == {1, 2, 3}
    bare.run("INSERT INTO one (id) VALUES (5)")
    bare.run("INSERT INTO two (id) VALUES (5)")


def test_a_step_that_fails_leaves_nothing_of_itself_or_of_those_before(bare: Database) -> None:
    bad = step(2, "CREATE TABLE half (n INTEGER) STRICT;\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(BadStatement):
        migrate(bare, (ONE, bad))
    assert applied(bare) == frozenset()
    migrate(bare, (ONE, TWO))
    assert applied(bare) == {1, 2}


def test_a_store_of_a_newer_form_is_refused_with_a_remedy(bare: Database) -> None:
    migrate(bare, (ONE, TWO))
    with pytest.raises(ConfigError, match="upgrade Pointsman"):
        migrate(bare, (ONE,))


def test_of_many_workers_that_start_at_once_one_takes_the_steps(opened: Open) -> None:
    def start(_: int) -> frozenset[int]:
        return applied(opened())

    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(start, range(6)))
    assert seen == [frozenset(script.number for script in scripts())] * 6
    ((rows,),) = opened().rows("SELECT count(*) FROM migration")
    assert rows == len(scripts())


# Files from before.


@pytest.mark.parametrize("form", [1, 2])
def test_a_file_that_knows_only_its_highest_number_takes_what_is_missing(
    tmp_path: Path, form: int
) -> None:
    path = tmp_path / "ledger.db"
    older = {script.number: script for script in scripts() if script.number <= form}
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for script in older.values():
            connection.executescript(script_for("sqlite", script.text))
        connection.execute(f"PRAGMA user_version = {form}")
    with closing(Store.of(path, SystemClock()).open()) as database:
        assert applied(database) == {script.number for script in scripts()}
        assert database.rows("SELECT hedge FROM attempt") == []
        assert database.rows("PRAGMA user_version") == [(newest(),)]


def test_a_file_with_a_bare_user_column_is_read_by_its_quoted_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(FIRST_FORM)
        connection.execute("PRAGMA user_version = 1")
    (first, second) = scripts()[:2]
    with closing(SqliteDatabase(path, SystemClock())) as database:
        migrate(database, (first, second))
        assert database.rows("""SELECT "user" FROM entry""") == [("ann",)]
        assert database.rows("SELECT hedge FROM attempt") == [(0,)]


def test_a_file_of_a_newer_form_from_before_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {newest() + 1}")
    with (
        closing(Store.of(path, SystemClock()).open()) as database,
        pytest.raises(ConfigError, match="upgrade Pointsman"),
    ):
        database.rows("SELECT 1")


# The words.


def test_words_are_replaced_for_postgresql_and_nothing_else_is() -> None:
    script = (
        "-- an INTEGER in a comment; a REAL one\n"
        "CREATE TABLE t (\n"
        "  id INTEGER PRIMARY KEY, a INTEGER DEFAULT 1, b REAL, c BLOB, d TEXT DEFAULT 'a BLOB',\n"
        '  "INTEGER" TEXT, real_b TEXT\n'
        ") STRICT, WITHOUT ROWID;\n"
    )
    assert script_for("sqlite", script) == script
    assert script_for("postgresql", script) == (
        "-- an INTEGER in a comment; a REAL one\n"
        "CREATE TABLE t (\n"
        "  id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a BIGINT DEFAULT 1, "
        "b DOUBLE PRECISION, c BYTEA, d TEXT DEFAULT 'a BLOB',\n"
        '  "INTEGER" TEXT, real_b TEXT\n'
        ");\n"
    )


def test_marked_lines_are_for_one_engine() -> None:
    script = "a;\n-- sqlite:\nb;\n-- postgresql:\nc;\n-- both:\nd;\n"
    assert script_for("sqlite", script) == "a;\nb;\nd;\n"
    assert script_for("postgresql", script) == "a;\nc;\nd;\n"
