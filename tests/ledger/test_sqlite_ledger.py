"""The ledger in a SQLite file: what must hold when the file will not have it."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.clock import SystemClock
from pointsman.domain.usage import Usage
from pointsman.errors import ConfigError
from pointsman.ledger.lookup import entry_by_id
from pointsman.ledger.reading import reading
from pointsman.ledger.rows import decision_json, decision_of
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.reports import EVERYONE, Question, report
from pointsman.routing.decision import Decision, Ranking
from pointsman.store.database import Database
from pointsman.store.migrate import migrate, newest
from pointsman.store.sqlite import SqliteDatabase

Open = Callable[..., SqliteLedger]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Open ledgers that are quick to write and to give up, and close them after the test."""
    ledgers: list[SqliteLedger] = []

    def make(**settings: Any) -> SqliteLedger:
        quick = {"flush_s": 0.001, "retry_s": (0.002, 0.005), "close_s": 0.05, "busy_s": 0.01}
        ledger = SqliteLedger(path, SystemClock(), **{**quick, **settings})
        ledgers.append(ledger)
        return ledger

    yield make
    for ledger in ledgers:
        ledger.close()


class Disk:
    """Files that are full until there is `room`."""

    def __init__(self) -> None:
        self.has_room = True
        self.refused = threading.Event()

    def opener(self, path: Path) -> Callable[[], Database]:
        def prepared(database: Database) -> None:
            migrate(database)
            if not self.has_room:
                [(pages,)] = database.rows("PRAGMA page_count")
                database.rows(f"PRAGMA max_page_count = {pages}")
                self.refused.set()

        return lambda: SqliteDatabase(path, SystemClock(), busy_s=0.01, prepare=prepared)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0] for record in caplog.records]


# The file and its form.


def test_the_decision_is_kept_as_compact_json(
    opened: Open, path: Path, entry: Any, decision: Any
) -> None:
    ledger = opened()
    made = entry(decision=decision)
    ledger.append(made)
    ledger.flush()
    body = rows(path, "SELECT body FROM decision")[0][0]
    assert ": " not in body.replace("would cost", "")
    with reading(path, SystemClock()) as read:
        recorded = entry_by_id(read.database, made.request_id)
    assert recorded is not None
    kept: Any = recorded.decision
    assert kept is not None
    assert kept["candidates"] == [
        {
            "deployment": "acme/small",
            "score": 0.75,
            "parts": [0.75],
            "cost_nano": 120,
            "seconds": 0.5,
        }
    ]
    assert kept["scorers"] == [["cost", 1.0]]
    assert kept["rejected"][0]["filter"] == "affordable"
    assert kept["propensity"] == 0.95


def test_candidates_are_read_back_best_first(decision: Decision) -> None:
    one, *_ = decision.candidates
    better = replace(one, score=0.9, parts=(0.9,), cost_nano=None)
    ranked = Ranking(
        [1, 0], [one.deployment] * 2, [0.75, 0.9], [(0.75,), (0.9,)], [120, None], [0.5, 0.5]
    )
    assert list(ranked) == [better, one]
    read = decision_of(decision_json(replace(decision, candidates=ranked)))
    assert read == decision_of(decision_json(replace(decision, candidates=(better, one))))
    assert [(each["score"], each["cost_nano"]) for each in read["candidates"]] == [
        (0.9, None),
        (0.75, 120),
    ]


def test_a_decision_that_was_written_by_rows_is_still_read() -> None:
    rows = [{"deployment": "a", "score": 0.5, "parts": [0.5], "cost_nano": 1, "seconds": None}]
    assert decision_of(json.dumps({"candidates": rows})) == {"candidates": rows}


@pytest.mark.parametrize("table", ["entry", "attempt", "tag"])
@pytest.mark.parametrize("change", ["UPDATE {} SET rowid_ = 1", "DELETE FROM {}"])
def test_nothing_written_is_ever_changed(
    opened: Open, path: Path, entry: Any, table: str, change: str
) -> None:
    ledger = opened()
    ledger.append(entry(tags=(("a", "b"),)))
    ledger.flush()
    column = {"entry": "status", "attempt": "n", "tag": "entry"}[table]
    sql = change.format(table).replace("rowid_", column)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        rows(path, sql)


def test_the_file_says_its_form_and_is_in_wal_mode(opened: Open, path: Path) -> None:
    opened()
    assert rows(path, "PRAGMA user_version") == [(newest(),)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_every_table_is_strict(opened: Open, path: Path) -> None:
    opened()
    ours = "type = 'table' AND name NOT LIKE 'sqlite_%'"
    tables = rows(path, f"SELECT sql FROM sqlite_master WHERE {ours}")
    assert tables
    assert all("STRICT" in sql for (sql,) in tables)


def test_a_file_of_a_newer_form_is_refused_with_a_remedy(opened: Open, path: Path) -> None:
    opened().close()
    rows(path, f"PRAGMA user_version = {newest() + 1}")
    with pytest.raises(ConfigError, match="upgrade Pointsman"):
        opened()


def test_a_file_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a directory")
    with pytest.raises(ConfigError, match=r"`ledger\.path`"):
        SqliteLedger(blocker / "ledger.db", SystemClock())


def test_a_file_that_is_no_database_is_a_configuration_error(path: Path) -> None:
    path.write_bytes(b"something else entirely, and quite long enough " * 40)
    with pytest.raises(ConfigError, match="cannot be written"):
        SqliteLedger(path, SystemClock())


def test_an_existing_ledger_goes_on(opened: Open, path: Path, entry: Any) -> None:
    opened().append(entry())
    first = opened()
    first.append(entry())
    first.close()
    second = opened()
    second.append(entry())
    second.flush()
    assert rows(path, "SELECT count(*), max(seq) FROM entry") == [(3, 3)]


# Entries that cannot be written.


@pytest.mark.parametrize(
    "impossible",
    [
        {"baseline_nano": -1},
        {"cost_nano": 2**63},
        {"usage": Usage(input=-5)},
        {"route": None},
        {"seconds": -1.0},
        {"error_code": "\ud800"},
        {"status": "fine"},
    ],
    ids=["negative", "too-large", "negative-tokens", "missing", "time", "surrogate", "type"],
)
def test_an_impossible_entry_costs_only_itself(
    opened: Open,
    path: Path,
    entry: Any,
    impossible: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = opened(flush_s=0.02)
    good = [entry(), entry()]
    bad = replace(entry(), **impossible)
    with caplog.at_level(logging.INFO, "pointsman.ledger"):
        for each in (good[0], bad, good[1]):
            ledger.append(each)
        ledger.flush()
    assert rows(path, "SELECT request_id FROM entry ORDER BY seq") == [
        (good[0].request_id,),
        (good[1].request_id,),
    ]
    assert rows(path, "SELECT count(*) FROM attempt") == [(2,)]
    assert ledger.lost == 1
    assert events(caplog) == ["ledger.refused"]


def test_an_impossible_attempt_takes_its_entry_with_it(
    opened: Open, path: Path, entry: Any, attempt: Any
) -> None:
    """An entry without its attempts would not add up."""
    ledger = opened()
    ledger.append(entry(attempt(started_s=-1.0)))
    ledger.append(entry())
    ledger.flush()
    assert rows(path, "SELECT count(*) FROM entry") == [(1,)]
    assert ledger.lost == 1


# Files that cannot be written.


def test_a_full_disk_keeps_entries_until_there_is_room(
    opened: Open, path: Path, entry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    disk.has_room = False
    ledger = opened(open=disk.opener(path))
    made = [entry(tags=(("text", "x" * 4_000),)) for _ in range(20)]
    with caplog.at_level(logging.INFO, "pointsman.ledger"):
        for each in made:
            ledger.append(each)
        wait_for(lambda: "ledger.stalled" in events(caplog))
        assert "stalled" in repr(ledger)
        disk.has_room = True
        ledger.flush()
    assert rows(path, "SELECT count(*) FROM entry") == [(20,)]
    assert ledger.lost == 0
    assert events(caplog) == ["ledger.stalled", "ledger.recovered"]


def test_what_does_not_fit_in_memory_is_counted_and_told_once(
    opened: Open, path: Path, entry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    disk.has_room = False
    ledger = opened(open=disk.opener(path), pending_rows=5, batch_rows=2)
    big = (("text", "x" * 20_000),)
    with caplog.at_level(logging.INFO, "pointsman.ledger"):
        ledger.append(entry(tags=big))
        ledger.append(entry(tags=big))
        wait_for(lambda: "ledger.stalled" in events(caplog))
        for _ in range(30):
            ledger.append(entry(tags=big))
        wait_for(lambda: "ledger.losing" in events(caplog))
        lost = ledger.lost
        assert 25 <= lost <= 27
        disk.has_room = True
        ledger.flush()
    assert rows(path, "SELECT count(*) FROM entry") == [(32 - lost,)]
    assert ledger.lost == lost
    assert events(caplog) == ["ledger.stalled", "ledger.losing", "ledger.recovered"]


def test_anothers_lock_is_waited_for_and_then_written(
    opened: Open, path: Path, entry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = opened()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.INFO, "pointsman.ledger"):
        ledger.append(entry())
        wait_for(lambda: "ledger.stalled" in events(caplog))
        other.execute("ROLLBACK")
        ledger.flush()
    other.close()
    assert rows(path, "SELECT count(*) FROM entry") == [(1,)]
    assert ledger.lost == 0


def test_closing_gives_up_in_the_end_and_counts_what_is_lost(
    opened: Open, path: Path, entry: Any
) -> None:
    ledger = opened(batch_rows=4)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(10):
        ledger.append(entry())
    ledger.close()
    other.execute("ROLLBACK")
    other.close()
    assert ledger.lost == 10
    assert "closed" in repr(ledger)


def test_a_file_taken_away_is_made_anew(opened: Open, path: Path, entry: Any) -> None:
    disk = Disk()
    ledger = opened(open=disk.opener(path))
    ledger.append(entry())
    ledger.flush()
    moved = path.with_name("moved.db")
    # As logrotate would; the next write fails or goes to the moved file, never into the void.
    for end in ("", "-wal", "-shm"):
        if path.with_name(path.name + end).exists():
            path.with_name(path.name + end).rename(moved.with_name(moved.name + end))
    for _ in range(3):
        ledger.append(entry())
    ledger.close()
    kept = sum(
        rows(file, "SELECT count(*) FROM entry")[0][0] for file in (path, moved) if file.exists()
    )
    assert kept + ledger.lost == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it likes")
def test_a_directory_that_may_not_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ConfigError, match="cannot be written"):
        SqliteLedger(tmp_path / "ledger.db", SystemClock())
    tmp_path.chmod(stat.S_IRWXU)


# Several writers.


def test_two_writers_of_one_file_neither_lose_nor_double(
    opened: Open, path: Path, entry: Any
) -> None:
    """Both get every entry: each must be in the file once, with its attempts once."""
    made = [entry() for _ in range(400)]
    ledgers = [opened(batch_rows=7, busy_s=5.0), opened(batch_rows=11, busy_s=5.0)]

    def write(ledger: SqliteLedger) -> None:
        for each in made:
            ledger.append(each)
        ledger.flush()

    threads = [threading.Thread(target=write, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(path, SystemClock()) as read:
        [total] = report(read.database, Question.of(EVERYONE))
    assert (total.requests, total.attempts, total.cost_nano) == (400, 400, 40_000)
    assert rows(path, "SELECT count(*) FROM attempt") == [(400,)]
    assert [ledger.lost for ledger in ledgers] == [0, 0]


def test_appending_never_waits_for_the_file(opened: Open, path: Path, entry: Any) -> None:
    ledger = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    done = threading.Event()

    def append() -> None:
        for each in made:
            ledger.append(each)
        done.set()

    made = [entry() for _ in range(2_000)]
    threading.Thread(target=append).start()
    assert done.wait(2.0)
    other.execute("ROLLBACK")
    other.close()
    ledger.flush()
    assert rows(path, "SELECT count(*) FROM entry") == [(2_000,)]


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for at most two seconds."""
    pause = threading.Event()
    for _ in range(400):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to hold")
