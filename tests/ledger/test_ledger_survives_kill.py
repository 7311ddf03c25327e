"""The ledger's file and `kill -9`, with real processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.ledger.lookup import entry_by_id
from pointsman.ledger.reading import reading
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.reports import EVERYONE, Line, Question, report

pytestmark = pytest.mark.slow

WRITER = """
import itertools, sys
from pathlib import Path
from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.ledger.sqlite import SqliteLedger

path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ledger = SqliteLedger(path, SystemClock(), flush_s=0.005, batch_rows=64, busy_s=30.0)
attempts = tuple(
    Attempt("d" + str(n), "p", "m" + str(n), "workhorse", outcome, Usage(10, 5), cost)
    for n, outcome, cost in ((1, "throttled", 0), (2, "ok", 70))
)
for number in itertools.count(1):
    ledger.append(LedgerEntry(
        f"{name}-{number}", "d", 1.7e9, "chat", "auto", "auto", Caller(name), False, 200, "ok",
        attempts, Usage(10, 5), 70, 100,
    ))
    if number % 200 == 0:
        ledger.flush()
        print(number, flush=True)
    if number == count:
        break
ledger.close()
"""


def start(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def asked(path: Path, *by: str) -> list[Line]:
    with reading(path, SystemClock()) as ledger:
        return report(ledger.database, Question.of(EVERYONE, by))


def test_kill_9_takes_at_most_what_was_not_yet_flushed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with start(path, "w", 10_000_000) as writer:
        assert writer.stdout is not None
        flushed = 0
        while flushed < 2_000:
            flushed = int(writer.stdout.readline())
        writer.kill()
        flushed = max([flushed, *map(int, writer.stdout.read().split())])
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
    [total] = asked(path)
    assert total.requests >= flushed
    # A batch is whole or not there: every entry has both its attempts, and nothing is skipped.
    assert total.attempts == 2 * total.requests
    assert total.cost_nano == 70 * total.requests
    with reading(path, SystemClock()) as ledger:
        last = entry_by_id(ledger.database, f"w-{total.requests}")
    assert last is not None
    after = SqliteLedger(path, SystemClock())
    after.append(last.entry)
    after.close()
    assert asked(path) == [total]


def test_several_processes_may_make_and_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writers = [start(path, f"w{number}", 1_000) for number in range(4)]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    by_key = asked(path, "key")
    assert {(row.group, row.requests, row.attempts, row.cost_nano) for row in by_key} == {
        ((f"w{number}",), 1_000, 2_000, 70_000) for number in range(4)
    }
