"""Ledgers are read without being made into what they were not."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pointsman.clock import SystemClock
from pointsman.errors import ConfigError
from pointsman.ledger.lookup import every_entry
from pointsman.ledger.reading import reading
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.reports import EVERYONE, Question, report
from pointsman.store.migrate import migrate, newest, scripts
from pointsman.store.sqlite import SqliteDatabase


@pytest.fixture
def path(tmp_path: Path, entry: Any, attempt: Any) -> Path:
    """A ledger of two requests."""
    found = tmp_path / "a ledger #1 100%.db"
    ledger = SqliteLedger(found, SystemClock(), flush_s=0.0)
    ledger.append(entry(attempt("small", 70)))
    ledger.append(entry(attempt("large", 30)))
    ledger.close()
    return found


@pytest.fixture
def first_form(path: Path, tmp_path: Path) -> Path:
    """The same ledger as the first Pointsman kept it."""
    found = tmp_path / "first.db"
    with closing(SqliteDatabase(found, SystemClock())) as database:
        migrate(database, steps=scripts()[:1])
        database.run("DROP TABLE migration")  # It came later: this is known by its number.
    with closing(sqlite3.connect(found, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS newer", (str(path),))
        for table in ("entry", "attempt"):
            columns = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
            names = ", ".join(f'"{name}"' for (name,) in columns)
            connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM newer.{table}")
    return found


def costs(path: Path) -> tuple[bool, dict[str | None, int]]:
    """Whether a copy was read, and what it says by model."""
    with reading(path, SystemClock()) as ledger:
        lines = report(ledger.database, Question.of(EVERYONE, ["model"]))
        assert len(list(every_entry(ledger.database))) == 2
        return ledger.is_copy, {line.group[0]: line.cost_nano for line in lines}


EXPECTED = {"small": 70, "large": 30}


def test_a_ledger_is_read_where_it_is(path: Path) -> None:
    assert costs(path) == (False, EXPECTED)


def test_a_ledger_of_an_older_form_is_read_and_stays_one(first_form: Path) -> None:
    before = first_form.read_bytes()
    assert costs(first_form) == (True, EXPECTED)
    assert first_form.read_bytes() == before


def test_a_ledger_that_may_only_be_read_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    assert costs(path) == (True, EXPECTED)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_written_beside_the_reader_is_in_the_copy(path: Path, entry: Any) -> None:
    """What has not yet been taken from the log into the file is read too."""
    ledger = SqliteLedger(path, SystemClock(), flush_s=0.0)
    ledger.append(entry())
    ledger.flush()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "access", lambda _, mode: mode != os.W_OK)
        with reading(path, SystemClock()) as read:
            assert read.is_copy
            assert len(list(every_entry(read.database))) == 3
    ledger.close()
    assert ledger.lost == 0


def test_a_missing_ledger_says_what_to_do_and_is_not_made(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="no such file; start"),
        reading(tmp_path / "none.db", SystemClock()),
    ):
        pass
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"nothing of the kind\n" * 100, "cannot be read"), (b"", "is it a ledger")],
)
def test_what_is_no_ledger_is_refused_and_left_alone(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "odd.db"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words), reading(path, SystemClock()):
        pass
    assert path.read_bytes() == content


def test_a_ledger_of_a_newer_form_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO migration VALUES (?, 'new', 0.0)", (newest() + 1,))
    with pytest.raises(ConfigError, match="upgrade Pointsman"), reading(path, SystemClock()):
        pass
