"""`kill -9` at every point: afterwards each attempt stands in the ledger once, and sums agree."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.crash_child import HELD, RECOVERY_POINTS, Killer, Worker, note
from tests.ledger.leases import BUDGETS, charged, leased, standing

from pointsman.budgets.accounts import StoreAccounts
from pointsman.clock import SystemClock
from pointsman.ledger.keeper import KeptLedger
from pointsman.ledger.recovery import Recovery
from pointsman.ledger.shipping import Shipping
from pointsman.store.open import Store
from pointsman.wal import note as notes
from pointsman.wal.folder import Owner, boot_id, make
from pointsman.wal.log import Log
from pointsman.wal.segment import files_of

REPOSITORY = Path(__file__).resolve().parents[2]


class Bench:
    """A store, a directory of logs and a provider's journal."""

    def __init__(self, place: str, tmp_path: Path) -> None:
        self.place = place
        self.root = tmp_path / "logs"
        self.journal = tmp_path / "journal"
        self.clock = SystemClock()
        self.store = Store.of(place, self.clock)
        self.database = self.store.open()
        self.accounts = StoreAccounts()

    def close(self) -> None:
        self.database.close()

    def child(self, point: str, nth: int = 1, seed: int = 1) -> subprocess.Popen[str]:
        arguments = [self.place, str(self.root), str(self.journal), point, str(nth), str(seed)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.crash_child", *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )

    def die_at(self, point: str, nth: int = 1, seed: int = 1) -> None:
        with self.child(point, nth, seed) as child:
            child.communicate(timeout=60)
            assert child.returncode == -9

    def recovery(self, **settings: Any) -> Recovery:
        return Recovery(self.root, self.store, self.accounts, **settings)

    def recover(self, **settings: Any) -> Recovery:
        recovery = self.recovery(**settings)
        recovery.sweep()
        recovery.close()
        return recovery

    def here(self, name: str, boot: str | None = None, **log: Any) -> tuple[KeptLedger, Log]:
        """A worker in this process."""
        own = boot_id() if boot is None else boot
        owner = Owner(name, self.store.shown, own, "h", 1, self.clock.wall())
        wal = Log(make(self.root, owner), **{"sync_s": 0.001, **log})
        ledger = KeptLedger(
            self.store,
            self.clock,
            flush_s=0.001,
            retry_s=(0.002, 0.01),
            close_s=0.1,
            shipping=Shipping(owner, self.accounts),
            log=wal,
        )
        return ledger, wal

    @property
    def bills(self) -> dict[str, int]:
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return {name: int(bill) for name, bill in (line.split() for line in lines)}

    @property
    def is_all_given_back(self) -> bool:
        """Whether nothing is leased any more, and every worker is gone."""
        states = self.database.rows("SELECT DISTINCT state FROM worker")
        return states == [("gone",)] and all(
            leased == 0 for _, leased in standing(self.database).values()
        )

    @property
    def is_in_suspense(self) -> bool:
        """Whether what is left of the leases stays counted, for a person to look at."""
        states = self.database.rows(
            "SELECT DISTINCT state FROM lease WHERE granted > spent + returned"
        )
        return states == [("suspense",)] and all(
            leased > 0 for _, leased in standing(self.database).values()
        )

    def open_attempt(self, ledger: KeptLedger, worker: str, name: str = "a") -> None:
        """Dispatch an attempt and leave it at that."""
        parts = [(lease, HELD) for lease in leased(self.store, worker)]
        body = notes.encode(note(f"r-{name}", "key-1", 1.5))
        ledger.dispatch(name, parts, HELD, body)

    def check(self, most_guesses: int) -> None:
        """What the provider has billed is what the ledger and the accounts have, but for attempts
        that nobody could know of: these are charged what was held, and are marked."""
        attempts = self.database.rows("SELECT id, cost_nano, charged_nano, estimated FROM attempt")
        bills = self.bills
        names = [name for name, *_ in attempts]
        assert len(names) == len(set(names))
        assert set(bills) <= set(names)
        amounts = {n: cost if charge is None else charge for n, cost, charge, _ in attempts}
        # Dispatched and killed before the provider was asked: charged, as nobody can know.
        guessed = {name for name in names if name not in bills}
        for name, bill in bills.items():
            if amounts[name] != bill:
                assert amounts[name] == HELD
                guessed.add(name)
        assert len(guessed) <= most_guesses
        estimated = {name for name, _, _, is_estimated in attempts if is_estimated}
        assert guessed <= estimated
        assert charged(self.database) == {
            (name, budget.name): amounts[name] for name in names for budget in BUDGETS
        }
        total = sum(amounts.values())
        for spent, _ in standing(self.database).values():
            assert spent == total
        [(known,)] = self.database.rows("SELECT sum(known_nano) FROM entry")
        [(parts,)] = self.database.rows("SELECT sum(cost_nano) FROM attempt")
        assert known == parts
        [(lonely,)] = self.database.rows(
            "SELECT count(*) FROM entry WHERE attempts <> "
            "(SELECT count(*) FROM attempt WHERE attempt.entry = entry.seq)"
        )
        assert lonely == 0
        assert not list(self.root.iterdir())


@pytest.fixture
def bench(store_place: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(store_place, tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize(
    "point",
    [
        "before-dispatch",
        "after-dispatch",
        "mid-stream",
        "after-settle",
        "after-entry",
        "before-commit",
        "after-commit",
    ],
)
def test_a_worker_may_die_at_any_point(bench: Bench, point: str) -> None:
    for seed, nth in enumerate((1, 2, 37)):
        bench.die_at(point, nth, seed)
    recovery = bench.recover()
    assert recovery.recovered == 3
    assert recovery.lost == 0
    bench.check(most_guesses=3)
    assert bench.is_all_given_back


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("point", RECOVERY_POINTS)
def test_who_recovers_may_die_too(bench: Bench, point: str) -> None:
    bench.die_at("mid-stream", 90)
    for nth in (1, 2):
        with bench.child(point, nth) as child:
            child.communicate(timeout=60)
    recovery = bench.recover()
    assert recovery.lost == 0
    bench.check(most_guesses=1)


@pytest.mark.slow
@pytest.mark.real
def test_workers_may_be_killed_at_random(bench: Bench) -> None:
    rng = random.Random(4)
    for seed in range(4):
        with bench.child("never", seed=seed) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            threading.Event().wait(rng.uniform(0.0, 0.3))
            child.kill()
    started = time.monotonic()
    recovery = bench.recover()
    assert time.monotonic() - started < 5.0
    assert recovery.recovered == 4
    assert len(bench.bills) > 20
    bench.check(most_guesses=4)


@pytest.mark.slow
@pytest.mark.real
def test_a_worker_that_ends_in_order_leaves_nothing_to_recover(bench: Bench) -> None:
    with bench.child("before-dispatch", nth=10_000) as child:
        child.communicate(timeout=60)
        assert child.returncode == 0
    assert bench.recover().recovered == 0
    bench.check(most_guesses=0)


# In one process.


def serve(bench: Bench, ledger: KeptLedger, name: str, requests: int) -> None:
    out = os.open(bench.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    worker = Worker(ledger, out, name, leased(bench.store, name), 5)
    for number in range(1, requests + 1):
        worker.request(number, Killer("never", 1))
    os.close(out)


def test_two_who_recover_at_once_do_it_once(bench: Bench) -> None:
    for number in range(6):
        ledger, _ = bench.here(f"w{number}")
        serve(bench, ledger, f"w{number}", 8)
        bench.open_attempt(ledger, f"w{number}", f"open{number}")
        ledger.close()
    recoveries = [bench.recovery() for _ in range(3)]
    threads = [threading.Thread(target=each.sweep) for each in recoveries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in recoveries:
        each.close()
    assert sum(each.recovered for each in recoveries) == 6
    bench.check(most_guesses=6)
    assert bench.is_all_given_back


def test_an_open_attempt_is_charged_as_held_and_told_as_crashed(bench: Bench) -> None:
    ledger, _ = bench.here("w")
    bench.open_attempt(ledger, "w")
    ledger.close()
    bench.recover()
    [row] = bench.database.named("SELECT * FROM entry")
    assert (row["request_id"], row["status"], row["error_code"]) == ("r-a", 0, "crashed")
    assert (row["at"], row["key"], row["known_nano"], row["estimated"]) == (1.5, "key-1", 300, 1)
    [row] = bench.database.named("SELECT * FROM attempt")
    assert (row["id"], row["cost_nano"], row["charged_nano"]) == ("a", 300, HELD)
    assert bench.database.rows("SELECT name, value FROM tag") == [("app", "x")]
    bench.check(most_guesses=1)


def test_a_voided_attempt_is_nothing_to_recover(bench: Bench) -> None:
    ledger, _ = bench.here("w")
    bench.open_attempt(ledger, "w")
    ledger.void("a")
    ledger.close()
    assert bench.recover().recovered == 0
    assert bench.database.rows("SELECT * FROM entry") == []


@pytest.mark.parametrize("boot", ["another start", ""])
def test_after_a_loss_of_power_leases_stay_in_suspense(bench: Bench, boot: str) -> None:
    ledger, _ = bench.here("w", boot=boot)
    bench.open_attempt(ledger, "w")
    ledger.close()
    bench.recover()
    assert bench.is_in_suspense
    bench.check(most_guesses=1)


def orphaned(bench: Bench, **log: Any) -> list[Path]:
    """The segments of a dead worker that has told the store nothing."""
    ledger, _ = bench.here("w", **log)
    ledger._shipping.ship = lambda *_: None  # type: ignore[method-assign]
    serve(bench, ledger, "w", 20)
    bench.open_attempt(ledger, "w")
    ledger.close()
    return files_of(bench.root / "w")


def test_a_torn_end_is_nobodys_damage(bench: Bench) -> None:
    *_, last = orphaned(bench)
    with last.open("ab") as file:
        file.write(b"\x99\x01\x00\x00torn")
    bench.recover()
    assert bench.is_all_given_back
    bench.check(most_guesses=1)


def test_damage_is_told_and_what_is_left_of_leases_stays(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    files = orphaned(bench, segment_bytes=4_000)
    assert len(files) > 3
    data = bytearray(files[1].read_bytes())
    data[-30] ^= 1
    files[1].write_bytes(bytes(data))
    recovery = bench.recover()
    assert bench.is_in_suspense
    assert "recovery.damaged" in caplog.text
    assert recovery.recovered == 1


def test_a_missing_segment_is_damage(bench: Bench) -> None:
    files = orphaned(bench, segment_bytes=4_000)
    files[1].unlink()
    bench.recover()
    assert bench.is_in_suspense


def test_a_store_that_is_away_is_tried_again(bench: Bench) -> None:
    orphaned(bench)
    away = Store.of(bench.root / "owner-is-no-directory", bench.clock)
    recovery = bench.recovery(every_s=0.01)
    real, recovery._store = recovery._store, away
    (bench.root / "owner-is-no-directory").mkdir()
    recovery._root = bench.root
    object.__setattr__(away, "shown", real.shown)
    recovery.start()
    wait_for(lambda: recovery._trouble != "")
    recovery._store, recovery._database = real, None
    wait_for(lambda: recovery.recovered == 1)
    recovery.close()
    (bench.root / "owner-is-no-directory").rmdir()
    bench.check(most_guesses=1)


def wait_for(holds: Any) -> None:
    """Wait until something holds, for at most five seconds."""
    pause = threading.Event()
    for _ in range(1_000):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to hold")
