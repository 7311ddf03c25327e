"""What is left after a run: the store's rows, the workers' logs, and the provider's own books.

Everything is read as it stands, without the code that wrote it: a checker that asked the product
for its sums would believe the product. Only formats are shared (records of the log, rows).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from pointsman.domain.budgets import Budget
from pointsman.store.database import Database
from pointsman.testing.journal import JournalEntry
from pointsman.wal.record import Record
from pointsman.wal.segment import files_of, read_segment


class Row(msgspec.Struct, frozen=True):
    """A row of a table; its fields are the columns that are read."""


class EntryRow(Row, frozen=True):
    seq: int
    request_id: str
    key: str
    user: str | None
    app: str | None
    team: str | None
    tenant: str | None
    route: str
    attempts: int
    known_nano: int
    unpriced: int
    status: int
    error_code: str


class AttemptRow(Row, frozen=True):
    entry: int
    n: int
    id: str
    provider: str
    model: str
    outcome: str
    estimated: int
    cost_nano: int | None
    charged_nano: int | None

    @property
    def charged(self) -> int:
        """What budgets count for it."""
        return (self.cost_nano or 0) if self.charged_nano is None else self.charged_nano


class AccountRow(Row, frozen=True):
    id: int
    budget: str
    subject: str
    unit: str


class SliceRow(Row, frozen=True):
    account: int
    start: float
    lim: int
    spent: int
    leased: int
    over: int


class LeaseRow(Row, frozen=True):
    id: int
    account: int
    start: float
    worker: str
    granted: int
    spent: int
    returned: int
    state: str

    @property
    def open(self) -> int:
        return self.granted - self.spent - self.returned


class PostingRow(Row, frozen=True):
    attempt_id: str
    account: int
    start: float
    kind: str
    amount: int
    exact: int
    at: float
    lease: int
    worker: str
    seq: int
    shipment: int


class ShipmentRow(Row, frozen=True):
    worker: str
    n: int
    postings: int
    hash: bytes


class WorkerRow(Row, frozen=True):
    id: str
    epoch: int
    state: str
    shipped_seq: int


class AdjustmentRow(Row, frozen=True):
    id: int
    entry: int | None
    n: int | None
    amount_nano: int


@dataclass(frozen=True, slots=True)
class WorkerLog:
    """All records of a worker's log, from its first segment to its last.

    is_whole: nothing is damaged or missing; a torn end is what a killed writer leaves.
    """

    worker: str
    records: tuple[Record, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Account:
    """What somebody else than the ledger's rows says was spent, in nano-USD: a report, a file."""

    source: str
    nano: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """`budgets` are those of the configuration; `prices` nano-USD a token in and out, by model.

    logs: of all workers there were, kept aside while they ran. left: logs that nobody has
    recovered. in_flight: requests that may have been under way at kills, summed. is_reconciled:
    the provider's invoice was booked. sampled: what was found wrong in looks at the running store.
    orders: by idempotency key, how often a provider was asked. said: what the faces say.
    was_full: a log could not be written for a while, which leaves gaps in its numbers.
    """

    entries: Sequence[EntryRow]
    attempts: Sequence[AttemptRow]
    accounts: Sequence[AccountRow]
    slices: Sequence[SliceRow]
    leases: Sequence[LeaseRow]
    postings: Sequence[PostingRow]
    shipments: Sequence[ShipmentRow]
    workers: Sequence[WorkerRow]
    adjustments: Sequence[AdjustmentRow]
    logs: Sequence[WorkerLog]
    left: Sequence[str]
    journal: Sequence[JournalEntry]
    budgets: Sequence[Budget]
    prices: Mapping[str, tuple[int, int]]
    in_flight: int = 0
    is_reconciled: bool = False
    sampled: Sequence[str] = ()
    orders: Mapping[str, int] = field(default_factory=dict)
    said: Sequence[Account] = ()
    was_full: bool = False

    def price(self, model: str, tokens_in: int, tokens_out: int) -> int:
        rate_in, rate_out = self.prices[model]
        return tokens_in * rate_in + tokens_out * rate_out


Kind = TypeVar("Kind", bound=Row)


def table(database: Database, name: str, kind: type[Kind]) -> list[Kind]:
    """All rows of a table."""
    columns = kind.__struct_fields__
    listed = ", ".join(f'"{column}"' for column in columns)
    rows = database.rows(f"SELECT {listed} FROM {name} ORDER BY 1, 2")
    return [msgspec.convert(dict(zip(columns, row, strict=True)), kind) for row in rows]


TABLES: Mapping[str, tuple[str, type[Row]]] = {
    "entries": ("entry", EntryRow),
    "attempts": ("attempt", AttemptRow),
    "accounts": ("budget_account", AccountRow),
    "slices": ("budget_slice", SliceRow),
    "leases": ("lease", LeaseRow),
    "postings": ("posting", PostingRow),
    "shipments": ("shipment", ShipmentRow),
    "workers": ("worker", WorkerRow),
    "adjustments": ("adjustment", AdjustmentRow),
}


def read_log(folder: Path, worker: str) -> WorkerLog:
    """Read a log's segments; each says the digest of the one before."""
    records: list[Record] = []
    is_whole = True
    previous: bytes | None = None
    number = 0
    for path in files_of(folder):
        segment = read_segment(path)
        header = segment.header
        is_whole = is_whole and not segment.is_damaged and header is not None
        if header is not None:
            follows = header.number == number + 1 and previous in (None, header.previous)
            is_whole = is_whole and follows and header.worker == worker
            number, previous = header.number, segment.digest
        records.extend(segment.records)
    return WorkerLog(worker, tuple(records), is_whole)


def read_logs(kept: Path) -> list[WorkerLog]:
    """Read the logs that a `Keeper` has kept."""
    return [read_log(folder, folder.name) for folder in sorted(kept.iterdir()) if folder.is_dir()]


class Keeper:
    """Keeps every log that ever was in `root`, though its segments are deleted: by hard links."""

    def __init__(self, root: Path, kept: Path) -> None:
        self._root = root
        self._kept = kept
        kept.mkdir(parents=True, exist_ok=True)

    def look(self) -> None:
        if not self._root.exists():
            return
        for folder in self._root.iterdir():
            if folder.name.startswith("."):
                continue
            aside = self._kept / folder.name
            for path in files_of(folder):
                link = aside / path.name
                if not link.exists():
                    aside.mkdir(exist_ok=True)
                    try:
                        os.link(path, link)
                    except FileNotFoundError:  # deleted while we looked: nothing was left in it
                        continue


def gather(
    database: Database,
    *,
    root: Path,
    kept: Path,
    journal: Iterable[JournalEntry],
    budgets: Sequence[Budget],
    prices: Mapping[str, tuple[int, int]],
    in_flight: int = 0,
    is_reconciled: bool = False,
    sampled: Sequence[str] = (),
    orders: Mapping[str, int] | None = None,
    said: Sequence[Account] = (),
) -> Evidence:
    """Read everything; the store should be at rest. root: where logs are, kept: copies of all."""
    left = [path.name for path in root.iterdir()] if root.exists() else []
    return Evidence(
        **{field: table(database, *source) for field, source in TABLES.items()},  # type: ignore[arg-type]
        logs=read_logs(kept),
        left=left,
        journal=[each for each in journal if each.operation in ("chat", "embeddings")],
        budgets=budgets,
        prices=prices,
        in_flight=in_flight,
        is_reconciled=is_reconciled,
        sampled=sampled,
        orders=orders or {},
        said=said,
    )
