"""The ledger that lives as long as the process: for tests, and where no file is configured."""

from __future__ import annotations

from collections import OrderedDict

from pointsman.ledger.entries import LedgerEntry


class MemoryLedger:
    """Keep the last `limit` entries; what falls out at the other end is counted in `lost`."""

    def __init__(self, limit: int = 10_000) -> None:
        self.lost = 0
        self._limit = limit
        self._entries: OrderedDict[str, LedgerEntry] = OrderedDict()
        self._is_closed = False

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """What is kept, oldest first."""
        return tuple(self._entries.values())

    def append(self, entry: LedgerEntry) -> None:
        if self._is_closed:
            self.lost += 1
            return
        if entry.request_id in self._entries:
            return
        if len(self._entries) >= self._limit:
            self._entries.popitem(last=False)
            self.lost += 1
        self._entries[entry.request_id] = entry

    def flush(self) -> None:
        """Return at once: memory has no slower place."""

    def close(self) -> None:
        self._is_closed = True

    def __repr__(self) -> str:
        return f"MemoryLedger(entries={len(self._entries)}, lost={self.lost})"
