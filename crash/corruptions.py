"""What a checker must notice: books that were sound, each spoilt in one way.

A checker that never fails proves nothing. Each corruption says which law it breaks; it is done to
a copy of a store's file, or to what was read of logs and journal, and the law has to find it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from crash.evidence import TABLES, Account, Evidence, WorkerLog, read_log, table
from crash.invariants import check
from pointsman.clock import SystemClock
from pointsman.store.open import Store
from pointsman.testing.journal import JournalEntry
from pointsman.wal.record import DISPATCH, SETTLE, Record, settle_tail
from pointsman.wal.segment import files_of


@dataclass(frozen=True, slots=True)
class Corruption:
    """`law` has to notice what `sql` did to the store, or `change` to what was read."""

    name: str
    law: str
    sql: str = ""
    change: Callable[[Evidence], Evidence] | None = None


_FIRST = "ORDER BY 1, 2 LIMIT 1"
_SLICE = (
    "(account, start) = (SELECT account, start FROM budget_slice WHERE spent > 0 AND account IN"
    f" (SELECT id FROM budget_account WHERE unit = 'nano_usd') {_FIRST})"
)
_POSTING = (
    "(attempt_id, account, kind) = (SELECT attempt_id, account, kind FROM posting"
    f" WHERE kind = 'charge' AND amount > 0 {_FIRST})"
)
_SURE = "id = (SELECT id FROM attempt WHERE estimated = 0 AND cost_nano > 0 ORDER BY 1 LIMIT 1)"
_GUESSED = (
    "id = (SELECT a.id FROM attempt a JOIN entry e ON e.seq = a.entry"
    " WHERE e.error_code = 'crashed' ORDER BY 1 LIMIT 1)"
)


def _slice(change: str) -> str:
    return f"UPDATE budget_slice SET {change} WHERE {_SLICE}"


def _posting(change: str) -> str:
    return f"UPDATE posting SET {change} WHERE {_POSTING}"


def _attempt(change: str) -> str:
    return f"UPDATE attempt SET {change} WHERE {_SURE}"


def _entry(change: str) -> str:
    return f"UPDATE entry SET {change} WHERE seq = (SELECT min(seq) FROM entry)"


# What was read of logs and journal.


def _log(evidence: Evidence, kind: int) -> tuple[int, int]:
    """The first log and its first record of a kind, by number; of the settled, one with money."""
    for n, log in enumerate(evidence.logs):
        for at, record in enumerate(log.records):
            if record.kind == kind and 0 < at < len(log.records) - 1 and record.amount > 0:
                return n, at
    raise LookupError(f"no log has a record of kind {kind}")


def _with_records(
    evidence: Evidence, n: int, change: Callable[[list[Record]], Sequence[Record]]
) -> Evidence:
    logs = list(evidence.logs)
    logs[n] = replace(logs[n], records=tuple(change(list(logs[n].records))))
    return replace(evidence, logs=logs)


def _drop_record(kind: int) -> Callable[[Evidence], Evidence]:
    def change(evidence: Evidence) -> Evidence:
        n, at = _log(evidence, kind)
        return _with_records(evidence, n, lambda records: records[:at] + records[at + 1 :])

    return change


def _swap_records(evidence: Evidence) -> Evidence:
    n, at = _log(evidence, SETTLE)

    def swapped(records: list[Record]) -> Sequence[Record]:
        records[at - 1], records[at] = records[at], records[at - 1]
        return records

    return _with_records(evidence, n, swapped)


def _settle_more(evidence: Evidence) -> Evidence:
    n, at = _log(evidence, SETTLE)

    def dearer(records: list[Record]) -> Sequence[Record]:
        tail = settle_tail([(1, 10**12, 10**12)], True)
        records[at] = msgspec.structs.replace(records[at], tail=tail)
        return records

    return _with_records(evidence, n, dearer)


def _never_resolved(evidence: Evidence) -> Evidence:
    n, at = _log(evidence, DISPATCH)

    def more(records: list[Record]) -> Sequence[Record]:
        last = records[-1].seq + 1
        return [
            *records,
            msgspec.structs.replace(records[at], attempt_id="att-nobody-knows", seq=last),
        ]

    return _with_records(evidence, n, more)


def _damaged(evidence: Evidence) -> Evidence:
    logs = list(evidence.logs)
    logs[0] = replace(logs[0], is_whole=False)
    return replace(evidence, logs=logs)


def _journal(
    change: Callable[[JournalEntry], JournalEntry | None], pick: Callable[[JournalEntry], bool]
) -> Callable[[Evidence], Evidence]:
    def done(evidence: Evidence) -> Evidence:
        journal = list(evidence.journal)
        at = next(n for n, each in enumerate(journal) if pick(each))
        changed = change(journal[at])
        journal[at : at + 1] = [] if changed is None else [changed]
        return replace(evidence, journal=journal)

    return done


def _paid(entry: JournalEntry) -> bool:
    return entry.billed.output > 0 and entry.ended == "done" and entry.status == 200


def _whole(entry: JournalEntry) -> bool:
    return _paid(entry) and not entry.stream


def _dearer(entry: JournalEntry, tokens: int = 1) -> JournalEntry:
    usage = msgspec.structs.replace(entry.billed, output=entry.billed.output + tokens)
    return replace(entry, billed=usage)


def _repeated_entry(evidence: Evidence) -> Evidence:
    first = evidence.entries[0]
    twin = msgspec.structs.replace(first, seq=10**9, attempts=0, known_nano=0)
    return replace(evidence, entries=[*evidence.entries, twin])


def _repeated_attempt(evidence: Evidence) -> Evidence:
    twin = next(each for each in evidence.attempts if each.cost_nano and not each.estimated)
    return replace(evidence, attempts=[*evidence.attempts, twin])


CORRUPTIONS: Sequence[Corruption] = (
    Corruption("more is spent than the limit", "I1", _slice("spent = lim + 1")),
    Corruption("something is negative", "I1", _slice("leased = -1")),
    Corruption("a limit is another", "I1", _slice("lim = lim + 1")),
    Corruption("something is over", "I1", _slice("over = -1")),
    Corruption("a look found something", "I1", change=lambda e: replace(e, sampled=["above"])),
    Corruption(
        "the provider bills more than a limit",
        "I1",
        change=_journal(lambda x: _dearer(x, 10**10), _paid),
    ),
    Corruption("a posting is one nano-USD more", "I2", _posting("amount = amount + 1")),
    Corruption("a posting is gone", "I2", f"DELETE FROM posting WHERE {_POSTING}"),
    Corruption("a counter is one nano-USD less", "I2", _slice("spent = spent - 1")),
    Corruption("a window is gone", "I2", f"DELETE FROM budget_slice WHERE {_SLICE}"),
    Corruption("a posting is of nobody's attempt", "I2", _posting("attempt_id = 'x'")),
    Corruption("an attempt is not in the ledger", "I3", f"DELETE FROM attempt WHERE {_SURE}"),
    Corruption("an attempt is in the ledger twice", "I3", change=_repeated_attempt),
    Corruption("an attempt has lost its id", "I3", _attempt("id = 'y'")),
    Corruption("an attempt was never logged", "I3", change=_drop_record(DISPATCH)),
    Corruption("an attempt that nobody was asked", "I4", change=_journal(lambda x: None, _whole)),
    Corruption("a dispatch was never resolved", "I4", change=_never_resolved),
    Corruption("a guess is gone", "I4", f"DELETE FROM attempt WHERE {_GUESSED}"),
    Corruption("a cost is one nano-USD more", "I5", _attempt("cost_nano = cost_nano + 1")),
    Corruption("budgets count another cost", "I5", _attempt("charged_nano = cost_nano + 1")),
    Corruption("the provider bills a token more", "I5", change=_journal(_dearer, _whole)),
    Corruption("an estimate is too low", "I6", _attempt("estimated = 1, charged_nano = 0")),
    Corruption("more guesses than deaths explain", "I6", change=lambda e: replace(e, in_flight=0)),
    Corruption(
        "an invoice was booked wrong",
        "I7",
        "UPDATE adjustment SET amount_nano = amount_nano + 1 WHERE id = 1",
    ),
    Corruption("an invoice was not booked", "I7", "DELETE FROM adjustment WHERE amount_nano <> 0"),
    Corruption(
        "less was charged than billed",
        "I7",
        "UPDATE attempt SET charged_nano = 0, cost_nano = 0",
        lambda e: replace(e, is_reconciled=False),
    ),
    Corruption(
        "something is still leased", "I8", "UPDATE lease SET granted = granted + 1 WHERE id = 1"
    ),
    Corruption("a window has something leased", "I8", _slice("leased = 1")),
    Corruption("a dead worker is thought alive", "I8", "UPDATE worker SET state = 'live'"),
    Corruption("a log was never recovered", "I8", change=lambda e: replace(e, left=["w"])),
    Corruption(
        "a counter and its posting agree on a wrong sum",
        "I9",
        "UPDATE budget_slice SET spent = spent + 7 WHERE (account, start) ="
        f" (SELECT account, start FROM posting WHERE {_POSTING});"
        + _posting("amount = amount + 7"),
    ),
    Corruption(
        "a lease spent what was not posted",
        "I9",
        "UPDATE lease SET granted = granted + 1, spent = spent + 1"
        f" WHERE id = (SELECT lease FROM posting WHERE {_POSTING})",
    ),
    Corruption(
        "an account counts for another",
        "I9",
        "UPDATE budget_account SET subject = 'nobody' WHERE subject = 'large'",
    ),
    Corruption(
        "leases and their window are apart",
        "I9",
        "UPDATE lease SET returned = returned - 1 WHERE returned > 0",
    ),
    Corruption("a request ended twice", "I10", change=_repeated_entry),
    Corruption("a request has an attempt too many", "I10", _entry("attempts = attempts + 1")),
    Corruption("an attempt has another number", "I10", _attempt("n = 9")),
    Corruption("a request's sum is another", "I10", _entry("known_nano = known_nano + 1")),
    Corruption(
        "an entry is gone",
        "I10",
        f"DELETE FROM entry WHERE seq = (SELECT entry FROM attempt WHERE {_SURE})",
    ),
    Corruption(
        "a repeated request was made twice", "I10", change=lambda e: replace(e, orders={"k": 2})
    ),
    Corruption("a posting was dated back", "I11", _posting("at = at - 1")),
    Corruption("a posting was moved to another lease", "I11", _posting("lease = lease + 1")),
    Corruption("a shipment is gone", "I11", "DELETE FROM shipment WHERE n = 1"),
    Corruption("a hash was changed", "I11", "UPDATE shipment SET hash = zeroblob(32) WHERE n = 1"),
    Corruption("a settlement was taken from a log", "I11", change=_drop_record(SETTLE)),
    Corruption("records of a log were swapped", "I11", change=_swap_records),
    Corruption("a log settles more than was posted", "I11", change=_settle_more),
    Corruption("a log is damaged", "I11", change=_damaged),
    Corruption(
        "a report is one nano-USD off",
        "I12",
        change=lambda e: replace(e, said=[*e.said, Account("x", e.said[0].nano + 1)]),
    ),
    Corruption("rows were changed behind a report", "I12", _attempt("cost_nano = cost_nano + 1")),
)


def missed(base: Evidence, ledger: Path, folder: Path) -> list[str]:
    """Corrupt a copy of a ledger's file in every way; return what its law did not notice.

    base: what was read of it, with nothing wrong in it.
    """
    found = []
    for number, corruption in enumerate(CORRUPTIONS):
        path = folder / f"spoilt-{number}.db"
        evidence = base
        if corruption.sql:
            spoil(ledger, path, corruption.sql)
            evidence = reread(base, path)
        if corruption.change is not None:
            evidence = corruption.change(evidence)
        if not check(evidence).counts[corruption.law]:
            found.append(f"{corruption.law}: {corruption.name}")
        path.unlink(missing_ok=True)
    return found


def spoil(ledger: Path, path: Path, sql: str) -> None:
    """Copy a ledger and change it, past its triggers and constraints."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA ignore_check_constraints = ON")
        copy.execute("PRAGMA foreign_keys = OFF")
        for (name,) in copy.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            copy.execute(f'DROP TRIGGER "{name}"')
        for statement in sql.split(";"):
            if copy.execute(statement).rowcount < 1:
                raise LookupError(f"nothing to spoil: {statement}")
        copy.commit()


def reread(base: Evidence, path: Path) -> Evidence:
    """The tables of a file, and the rest as it was."""
    database = Store.of(path, SystemClock()).open()
    try:
        tables = {field: table(database, *source) for field, source in TABLES.items()}
    finally:
        database.close()
    return replace(base, **tables)  # type: ignore[arg-type]


def damaged_log(folder: Path, at: float) -> WorkerLog:
    """A kept log whose bytes were changed on the disk at a share of its length."""
    path = files_of(folder)[-1]
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    spoilt = folder.with_name(folder.name + "-spoilt")
    spoilt.mkdir()
    (spoilt / path.name).write_bytes(bytes(data))
    return read_log(spoilt, folder.name)
