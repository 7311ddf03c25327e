"""A ledger with a log: what the store does not take now, and memory cannot hold, is not lost."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.ledger.leases import leased, standing

from pointsman.budgets.accounts import StoreAccounts
from pointsman.clock import SystemClock
from pointsman.domain.usage import Usage
from pointsman.errors import ConfigError
from pointsman.ledger.keeper import KeptLedger
from pointsman.ledger.recovery import Recovery
from pointsman.ledger.shipping import Shipping
from pointsman.store.database import Database
from pointsman.store.errors import StorageUnavailable
from pointsman.store.open import Store
from pointsman.testing.servers import PostgresServer
from pointsman.wal import note as notes
from pointsman.wal.folder import Owner, boot_id, make
from pointsman.wal.log import Disk, Log
from pointsman.wal.note import Note
from pointsman.wal.replay import Item, Settled
from pointsman.wal.segment import files_of

NOTE = notes.encode(
    Note(*("r", "d", 1.5, "chat", "auto", "auto", True, "a/m", "a", "m", "workhorse", "key-1"))
)


class Gate(Shipping):
    """A shipping that a test may close: then the store is away."""

    def __init__(self, owner: Owner, accounts: StoreAccounts) -> None:
        super().__init__(owner, accounts)
        self.is_shut = False
        self.loses_answers = False
        self.refused = threading.Event()
        self.shipped: list[list[Item]] = []

    def ship(self, database: Database, items: Sequence[Item]) -> None:
        if self.is_shut:
            self.refused.set()
            raise StorageUnavailable("away")
        self.shipped.append(list(items))
        super().ship(database, items)
        if self.loses_answers:
            self.loses_answers = False
            self.told = 0
            raise StorageUnavailable("the connection was lost")


class House:
    """A ledger with its parts."""

    def __init__(self, place: str, root: Path, **settings: Any) -> None:
        self.root = root
        self.clock = SystemClock()
        self.store = Store.of(place, self.clock)
        self.database = self.store.open()
        self.accounts = StoreAccounts()
        self.owner = Owner("w", self.store.shown, boot_id(), "h", 1, 1.0)
        self.lease = leased(self.store, "w")[0]
        self.gate = Gate(self.owner, self.accounts)
        self.room: int | None = None
        self.log = Log(
            make(root, self.owner),
            sync_s=0.001,
            segment_bytes=settings.pop("segment_bytes", 64_000_000),
            disk=Disk(write=self._write),
        )
        self.ledger = KeptLedger(
            self.store,
            self.clock,
            **{
                "flush_s": 0.001,
                "retry_s": (0.002, 0.01),
                "close_s": 0.05,
                "shipping": self.gate,
                "log": self.log,
                **settings,
            },
        )

    def _write(self, file: int, data: bytes, at: int) -> int:
        if self.room is None:
            return os.pwrite(file, data, at)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.pwrite(file, data[: self.room], at)
        self.room -= written
        return written

    def ids(self) -> list[str]:
        return [name for (name,) in self.database.rows("SELECT request_id FROM entry ORDER BY seq")]

    def charged(self) -> dict[str, int]:
        return dict(self.database.rows("SELECT attempt_id, amount FROM posting"))

    def recover(self) -> Recovery:
        recovery = Recovery(self.root, self.store, self.accounts)
        recovery.sweep()
        recovery.close()
        return recovery

    def close(self) -> None:
        self.ledger.close()
        self.database.close()


Build = Callable[..., House]


@pytest.fixture
def build(store_place: str, tmp_path: Path) -> Iterator[Build]:
    houses: list[House] = []

    def make_one(**settings: Any) -> House:
        houses.append(House(store_place, tmp_path / "logs", **settings))
        return houses[-1]

    yield make_one
    for house in houses:
        house.close()


def test_entries_and_charges_are_told_in_their_order(build: Build, entry: Any) -> None:
    house = build()
    made = [entry() for _ in range(30)]
    for number, each in enumerate(made):
        house.ledger.dispatch(f"a{number}", [(house.lease, 9)], 9, NOTE)
        house.ledger.settle(f"a{number}", [(house.lease, 9, 5)], True)
        house.ledger.append(each)
    house.ledger.flush()
    assert house.ids() == [each.request_id for each in made]
    assert house.charged() == {f"a{number}": 5 for number in range(30)}
    told = [item for batch in house.gate.shipped for item in batch]
    assert [seq for seq, _ in told] == sorted(seq for seq, _ in told)
    [(seq,)] = house.database.rows("SELECT shipped_seq FROM worker")
    assert seq == 90


def test_what_does_not_fit_in_memory_is_told_from_the_log(
    build: Build, entry: Any, decision: Any
) -> None:
    house = build(pending_rows=10, batch_rows=4)
    house.gate.is_shut = True
    made = [entry(decision=decision) for _ in range(200)]
    house.ledger.append(made[0])
    assert house.gate.refused.wait(2.0)
    for number, each in enumerate(made[1:], 1):
        house.ledger.dispatch(f"a{number}", [(house.lease, 9)], 9, NOTE)
        house.ledger.settle(f"a{number}", [(house.lease, 9, 5)], True)
        house.ledger.append(each)
    assert house.ledger.pending <= 10
    house.gate.is_shut = False
    house.ledger.flush()
    assert house.ids() == [each.request_id for each in made]
    assert len(house.charged()) == 199
    assert house.ledger.lost == 0
    [(decisions,)] = house.database.rows("SELECT count(*) FROM decision")
    assert 1 <= decisions <= 20
    # And from here on by way of memory again.
    last = entry(decision=decision)
    house.ledger.append(last)
    house.ledger.flush()
    assert house.ids()[-1] == last.request_id
    assert house.database.rows("SELECT count(*) FROM decision") == [(decisions + 1,)]


def test_appending_goes_on_while_it_catches_up(build: Build, entry: Any) -> None:
    house = build(pending_rows=7, batch_rows=3, segment_bytes=5_000)
    made = [entry() for _ in range(600)]
    for number, each in enumerate(made):
        house.gate.is_shut = number % 60 < 30
        house.ledger.append(each)
    house.gate.is_shut = False
    house.ledger.flush()
    assert house.ids() == [each.request_id for each in made]
    assert len(files_of(house.root / "w")) == 1


def test_a_lost_answer_to_a_commit_doubles_nothing(build: Build, entry: Any) -> None:
    house = build()
    made = [entry() for _ in range(5)]
    house.gate.loses_answers = True
    for number, each in enumerate(made):
        house.ledger.settle(f"a{number}", [(house.lease, 9, 5)], True)
        house.ledger.append(each)
    house.ledger.flush()
    assert house.ids() == [each.request_id for each in made]
    assert len(house.charged()) == 5


def test_batches_that_come_twice_or_out_of_order_change_nothing(build: Build, entry: Any) -> None:
    house = build()
    made = [entry() for _ in range(9)]
    first: list[Item] = [(n, each) for n, each in enumerate(made[:5], 1)]
    second: list[Item] = [(n, each) for n, each in enumerate(made[5:8], 6)]
    second.append((9, Settled("a", ((house.lease, 9, 5),), True, 1.0)))
    shipping = Shipping(replace(house.owner, worker="v"), house.accounts)
    database = house.database
    for batch in (first, first, second, first, second, second[::-1]):
        shipping.ship(database, batch)
    assert house.ids() == [each.request_id for each in made[:8]]
    assert house.charged() == {"a": 5}


def test_nothing_is_dispatched_that_cannot_be_written(
    build: Build, entry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    house = build()
    house.ledger.dispatch("before", [(house.lease, 9)], 9, NOTE)
    house.room = 20
    with caplog.at_level(logging.ERROR, "pointsman.wal"):
        for number in range(5):
            with pytest.raises(StorageUnavailable):
                house.ledger.dispatch(f"a{number}", [(house.lease, 9)], 9, NOTE)
    assert caplog.text.count("wal.stalled") == 1
    assert house.ledger.fault == "cannot be written"
    # What was begun ends as ever, by way of memory.
    house.ledger.settle("before", [(house.lease, 9, 5)], True)
    house.ledger.append(entry())
    house.ledger.flush()
    assert house.charged() == {"before": 5}
    assert len(house.ids()) == 1
    house.room = None
    house.ledger.dispatch("after", [(house.lease, 9)], 9, NOTE)
    assert house.ledger.fault == ""
    assert house.ledger.unlogged == 1


def test_closing_in_order_leaves_no_log(build: Build, entry: Any, attempt: Any) -> None:
    house = build()
    house.ledger.dispatch("a", [(house.lease, 9)], 9, NOTE)
    house.ledger.settle("a", [(house.lease, 9, 5)], True)
    house.ledger.append(entry(attempt(id="a")))
    house.ledger.close()
    assert not list(house.root.iterdir())
    assert house.database.rows("SELECT state FROM worker") == [("gone",)]
    assert standing(house.database) == {"one": (5, 0), "two": (0, 0)}


def test_closing_while_the_store_is_away_leaves_it_to_another(
    build: Build, entry: Any, attempt: Any
) -> None:
    house = build()
    house.gate.is_shut = True
    made = [entry(attempt(id=f"a{number}")) for number in range(20)]
    for number, each in enumerate(made):
        house.ledger.dispatch(f"a{number}", [(house.lease, 9)], 9, NOTE)
        house.ledger.settle(f"a{number}", [(house.lease, 9, 5)], True)
        house.ledger.append(each)
    house.ledger.close()
    assert house.ledger.lost == 0
    assert house.ids() == []
    recovery = house.recover()
    assert (recovery.recovered, recovery.guessed) == (1, 0)
    assert house.ids() == [each.request_id for each in made]
    assert len(house.charged()) == 20


def test_an_entry_that_nobody_can_keep_holds_up_no_other(build: Build, entry: Any) -> None:
    house = build(pending_rows=3)
    house.gate.is_shut = True
    bad = [
        replace(entry(), route=None),
        replace(entry(), baseline_nano=-1),
        replace(entry(), error_code="\ud800"),
        replace(entry(), usage=Usage(input=2**70)),
    ]
    good = [entry() for _ in range(20)]
    for number, each in enumerate(good):
        house.ledger.append(each)
        if number % 6 == 1:
            house.ledger.append(bad[number // 6])
    house.gate.is_shut = False
    house.ledger.flush()
    assert house.ids() == [each.request_id for each in good]
    assert house.ledger.lost == 4
    house.ledger.close()
    assert not list(house.root.iterdir())


def test_an_entry_that_nobody_can_keep_holds_up_no_recovery(build: Build, entry: Any) -> None:
    house = build()
    house.gate.is_shut = True
    good = [entry(), entry()]
    for each in (good[0], replace(entry(), route=None), replace(entry(), seconds=-1.0), good[1]):
        house.ledger.append(each)
    house.ledger.close()
    recovery = house.recover()
    assert (recovery.recovered, recovery.lost) == (1, 2)
    assert house.ids() == [each.request_id for each in good]
    assert not list(house.root.iterdir())


def test_somebody_who_must_not_go_on_before_waits_for_the_disk(build: Build) -> None:
    house = build(sync_before_asking=True)

    async def ask() -> None:
        house.ledger.dispatch("a", [(house.lease, 9)], 9, NOTE)
        synced = house.ledger.synced()
        assert synced is not None
        await synced
        house.ledger.void("a")

    asyncio.run(ask())


def test_nobody_waits_for_the_disk_otherwise(build: Build) -> None:
    assert build().ledger.synced() is None


def test_without_a_log_charges_are_told_from_memory(build: Build, entry: Any) -> None:
    house = build()
    ledger = KeptLedger(
        house.store,
        house.clock,
        flush_s=0.001,
        shipping=Shipping(replace(house.owner, worker="v"), house.accounts),
    )
    ledger.dispatch("a", [(house.lease, 9)], 9, NOTE)
    ledger.settle("a", [(house.lease, 9, 5)], True)
    ledger.dispatch("b", [(house.lease, 9)], 9, NOTE)
    ledger.void("b")
    ledger.append(entry())
    ledger.close()
    assert house.charged() == {"a": 5}
    assert len(house.ids()) == 1


def test_a_segment_is_kept_until_its_attempts_are_told(
    build: Build, entry: Any, attempt: Any
) -> None:
    house = build(segment_bytes=3_000)
    house.ledger.dispatch("long", [(house.lease, 9)], 9, NOTE)
    for _ in range(50):
        house.ledger.append(entry())
    house.ledger.flush()
    assert len(files_of(house.root / "w")) > 3
    house.ledger.settle("long", [(house.lease, 9, 5)], True)
    house.ledger.append(entry(attempt(id="long")))
    house.ledger.flush()
    house.ledger.append(entry())
    house.ledger.flush()
    assert len(files_of(house.root / "w")) <= 2


# A server that is away.


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("fault", ["frozen", "stopped"])
def test_a_server_that_is_away_changes_nothing_for_the_loop(
    postgres: PostgresServer, postgres_database: str, tmp_path: Path, entry: Any, fault: str
) -> None:
    house = House(postgres_database, tmp_path / "logs", pending_rows=50)
    made = [entry() for _ in range(300)]
    house.ledger.append(made[0])
    house.ledger.flush()
    if fault == "frozen":
        postgres.freeze()
    else:
        postgres.stop()
    clock = SystemClock()
    longest = 0.0
    for each in made[1:]:
        began = clock.now()
        house.ledger.append(each)
        longest = max(longest, clock.now() - began)
    assert longest < 1.0
    if fault == "frozen":
        postgres.thaw()
    else:
        postgres.start()
    house.ledger.flush()
    assert house.ids() == [each.request_id for each in made]
    assert house.ledger.lost == 0
    house.close()


def test_a_server_that_does_not_answer_at_the_start_is_waited_for(tmp_path: Path) -> None:
    store = Store.of("postgresql://nobody@127.0.0.1:9/none", SystemClock(), connect_s=0.2)
    ledger = KeptLedger(store, SystemClock(), flush_s=0.001, close_s=0.01)
    ledger.close()


def test_a_file_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store.of(tmp_path / "file" / "ledger.db", SystemClock())
    with pytest.raises(ConfigError, match=r"`ledger\.path`"):
        KeptLedger(store, SystemClock())
