"""The ledger in memory, beyond the contract."""

from __future__ import annotations

from typing import Any

from pointsman.ledger.memory import MemoryLedger


def test_the_oldest_entries_make_room_and_are_counted(entry: Any) -> None:
    ledger = MemoryLedger(limit=2)
    made = [entry() for _ in range(5)]
    for each in made:
        ledger.append(each)
    assert ledger.entries == tuple(made[-2:])
    assert ledger.lost == 3
