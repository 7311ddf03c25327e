"""A worker that was stopped and wakes up: what it had leased is no longer its to spend."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ledger.crash_child import HELD
from tests.ledger.stopped_child import settings_of

from pointsman.budgets.accounts import StoreAccounts
from pointsman.budgets.membership import Membership
from pointsman.clock import SystemClock
from pointsman.ledger.opening import open_ledger
from pointsman.ledger.recovery import Recovery
from pointsman.store.open import Store

pytestmark = [pytest.mark.slow, pytest.mark.real]

REPOSITORY = Path(__file__).resolve().parents[2]
LEASE_S = 1.0


def wait_for(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to hold")


def lines(journal: Path) -> list[tuple[float, str, int]]:
    if not journal.exists():
        return []
    rows = (line.split() for line in journal.read_text().splitlines())
    return [(float(at), attempt, int(lease)) for at, attempt, lease in rows]


def test_a_stopped_worker_spends_nothing_of_what_it_had(store_place: str, tmp_path: Path) -> None:
    root, journal = tmp_path / "logs", tmp_path / "journal"
    arguments = [store_place, str(root), str(journal), str(LEASE_S)]
    clock = SystemClock()
    database = Store.of(store_place, clock).open()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.stopped_child", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        wait_for(lambda: len(lines(journal)) > 50)
        child.send_signal(signal.SIGSTOP)
        stopped = time.time()
        before = lines(journal)
        # Somebody else lives on, and sees that it does not.
        other = Membership("other", "h", "", LEASE_S)
        other.beat(database)
        while not database.rows("SELECT 1 FROM worker WHERE state = 'fenced'"):
            assert time.time() < stopped + 10.0
            threading.Event().wait(LEASE_S / 4)
            other.beat(database)
        # Its log is its own as long as it lives, so nobody settles for it.
        recovery = Recovery(root, Store.of(store_place, clock), StoreAccounts())
        assert recovery.sweep() == 0
        child.send_signal(signal.SIGCONT)
        wait_for(lambda: len(lines(journal)) > len(before) + 50)
        child.kill()
    old = {lease for (lease,) in database.rows("SELECT id FROM lease WHERE epoch = 1")}
    after = lines(journal)[len(before) :]
    # One hold may have been just behind its check when it was stopped.
    assert len([lease for _, _, lease in after if lease in old]) <= 1
    assert {lease for _, _, lease in before} <= old
    # And afterwards all is told, and nothing is left over.
    recovery.sweep()
    recovery.close()
    assert not list(root.iterdir())
    names = {name for _, name, _ in lines(journal)}
    told = dict(database.rows("SELECT attempt_id, amount FROM posting"))
    assert names <= set(told)
    assert len(set(told) - names) <= 1
    [(spent, leased)] = database.rows("SELECT spent, leased FROM budget_slice")
    assert (spent, leased) == (sum(told.values()), 0)
    assert sum(amount != HELD // 2 for amount in told.values()) <= 1
    database.close()


def test_what_was_opened_closes_without_a_trace(store_place: str, tmp_path: Path) -> None:
    kept = open_ledger(settings_of(store_place, tmp_path / "logs", LEASE_S), SystemClock())
    kept.start()
    assert len(list((tmp_path / "logs").iterdir())) == 1
    kept.close()
    assert not list((tmp_path / "logs").iterdir())
