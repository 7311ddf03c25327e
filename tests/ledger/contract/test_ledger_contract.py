"""What every ledger store must do; each test runs on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.budgets.accounts import StoreAccounts
from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import LedgerEntry, LedgerStore
from pointsman.ledger.keeper import KeptLedger
from pointsman.ledger.memory import MemoryLedger
from pointsman.ledger.rows import attempt_of, entry_of
from pointsman.ledger.shipping import Shipping
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.wal.folder import Owner, boot_id, make
from pointsman.wal.log import Log

Read = Callable[[], list[LedgerEntry]]
"""Every entry a store has, oldest first."""


@pytest.fixture(
    params=["memory", "sqlite", "logged", pytest.param("postgresql", marks=pytest.mark.real)]
)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[LedgerStore, Read]]:
    if request.param == "memory":
        memory = MemoryLedger()
        yield memory, lambda: list(memory.entries)
        return
    place = str(tmp_path / "ledger.db")
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres_database")
    clock = SystemClock()
    store = Store.of(place, clock)
    settings: dict[str, Any] = {}
    if request.param == "logged":
        owner = Owner("w", store.shown, boot_id(), "h", 1, 1.0)
        settings = {
            "shipping": Shipping(owner, StoreAccounts()),
            "log": Log(make(tmp_path / "logs", owner)),
        }
    ledger = KeptLedger(store, clock, flush_s=0.001, **settings)
    database = store.open()
    yield ledger, lambda: read(database)
    ledger.close()
    database.close()


def read(database: Database) -> list[LedgerEntry]:
    """Every entry of a store, oldest first."""
    attempts = database.named("SELECT * FROM attempt ORDER BY entry, n")
    tags = database.rows("SELECT entry, name, value FROM tag ORDER BY entry, name")
    return [
        entry_of(
            row,
            [attempt_of(each) for each in attempts if each["entry"] == row["seq"]],
            [(name, value) for entry, name, value in tags if entry == row["seq"]],
        )
        for row in database.named("SELECT * FROM entry ORDER BY seq")
    ]


def plain(entry: LedgerEntry) -> LedgerEntry:
    """What a store keeps of an entry: tags in one place, the decision apart."""
    tags = {**entry.caller.tags, **dict(entry.tags)}
    caller = replace(entry.caller, tags={}, routes=None)
    return replace(entry, caller=caller, tags=tuple(sorted(tags.items())), decision=None)


def test_what_was_appended_is_there_after_a_flush(
    opened: tuple[LedgerStore, Read], entry: Any, attempt: Any
) -> None:
    store, read = opened
    whole = entry(
        attempt(
            "large", 900, outcome="throttled", http_status=429, detail="slow down", ttft_s=None
        ),
        attempt(
            "small", 80, usage=Usage(1_000, 200, 300, 40, 50, 60, estimated=True), started_s=0.3
        ),
        tags=(("feature", "search"),),
        stream=True,
        error_code="",
        baseline_nano=2_000,
    )
    store.append(whole)
    store.flush()
    assert [plain(each) for each in read()] == [plain(whole)]
    assert store.lost == 0


DETAILS = [
    Usage(10, 5, audio_input=7, audio_cached=1, audio_output=8),
    Usage(10, 5, image_input=9, image_output=4, searches=2),
    Usage(10, 5, tier="priority", told_nano=0),
    Usage(10, 5, tier='"\x00\u2028', told_nano=10**18, flags=("parts_clamped", "total_mismatch")),
]


@pytest.mark.parametrize("usage", DETAILS, ids=["sound", "pictures", "tier", "flags"])
def test_what_is_seldom_used_is_kept_so_that_a_cost_can_be_checked(
    opened: tuple[LedgerStore, Read], entry: Any, attempt: Any, usage: Usage
) -> None:
    store, read = opened
    whole = entry(attempt("small", 80, usage=usage), usage=usage)
    store.append(whole)
    store.flush()
    (kept,) = read()
    assert (kept.usage, kept.attempts[0].usage) == (usage, usage)


def test_entries_keep_the_order_they_came_in(opened: tuple[LedgerStore, Read], entry: Any) -> None:
    store, read = opened
    made = [entry() for _ in range(50)]
    for each in made:
        store.append(each)
    store.flush()
    assert [each.request_id for each in read()] == [each.request_id for each in made]


def test_a_request_appended_twice_counts_once(opened: tuple[LedgerStore, Read], entry: Any) -> None:
    """Also where both are in one batch, and where the second comes in a later one."""
    store, read = opened
    first, other = entry(), entry()
    for each in (first, first, other):
        store.append(each)
    store.flush()
    store.append(replace(first, cost_nano=999_999, attempts=first.attempts * 2))
    store.flush()
    assert [plain(each) for each in read()] == [plain(first), plain(other)]
    assert store.lost == 0


def test_a_request_nobody_was_called_for_is_kept(
    opened: tuple[LedgerStore, Read], entry: Any
) -> None:
    store, read = opened
    refused = replace(
        entry(status=402, outcome="rejected", error_code="budget_exceeded"), attempts=()
    )
    store.append(refused)
    store.flush()
    assert read()[0].attempts == ()
    assert read()[0].error_code == "budget_exceeded"


def test_an_unknown_cost_stays_unknown(
    opened: tuple[LedgerStore, Read], entry: Any, attempt: Any
) -> None:
    store, read = opened
    store.append(entry(attempt(cost=None), baseline_nano=None))
    store.flush()
    kept = read()[0]
    assert kept.cost_nano is None
    assert kept.baseline_nano is None
    assert kept.attempts[0].cost_nano is None


def test_tags_of_the_key_and_of_the_request_are_one_and_the_requests_wins(
    opened: tuple[LedgerStore, Read], entry: Any
) -> None:
    store, read = opened
    caller = Caller("key-1", tags={"feature": "old", "env": "prod"})
    store.append(entry(caller=caller, tags=(("feature", "new"),)))
    store.flush()
    assert plain(read()[0]).tags == (("env", "prod"), ("feature", "new"))


def test_closing_keeps_what_was_appended(opened: tuple[LedgerStore, Read], entry: Any) -> None:
    store, read = opened
    store.append(entry())
    store.close()
    assert len(read()) == 1
    assert store.lost == 0


def test_an_entry_that_comes_after_closing_is_counted_as_lost(
    opened: tuple[LedgerStore, Read], entry: Any
) -> None:
    store, read = opened
    store.close()
    store.append(entry())
    store.close()
    store.flush()
    assert read() == []
    assert store.lost == 1
