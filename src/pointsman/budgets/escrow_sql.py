"""What a store does with leases, charges and workers: functions of a Database, in a transaction.

Theory. A charge is taken once, since its posting has the attempt and the account for its key: who
tells it again changes nothing. A lease's sums tell at any moment what its worker may still have;
that is counted as used until the worker gives it back or its log has told what became of it. So
a worker may die at any moment, and the worst is that something stays counted for a while.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

import msgspec

from pointsman.budgets.rows import Change, LeaseRow, leases, pieces, values_of
from pointsman.store.database import Database, Value
from pointsman.store.errors import RowRefused

NO_HASH: Final = b"\0" * 32


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What an attempt has cost in one account. seq: its number in the log. at: seconds since the
    epoch."""

    attempt_id: str
    lease: int
    held: int
    charged: int
    exact: bool
    seq: int
    at: float


class Posting(msgspec.Struct, frozen=True, gc=False):
    """A row of `posting`, in the order of its columns."""

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


_POST = (
    "INSERT INTO posting"
    " (attempt_id, account, start, kind, amount, exact, at, lease, worker, seq, shipment) VALUES "
)
_ONCE = " ON CONFLICT (attempt_id, account, kind) DO NOTHING"
_TAKEN = (
    "SELECT attempt_id, account FROM posting WHERE worker = ? AND shipment = ? AND attempt_id IN "
)
_LAST = "SELECT n, hash FROM shipment WHERE worker = ? ORDER BY n DESC LIMIT 1"
_SHIP = (
    "INSERT INTO shipment (worker, n, from_seq, to_seq, postings, hash) VALUES (?, ?, ?, ?, ?, ?)"
)
_OPEN = (
    "SELECT l.id FROM lease l WHERE l.worker = ? AND l.epoch <= ?"
    " AND l.granted > l.spent + l.returned"
)
_ALL = 1 << 62
_WORKER = "SELECT id FROM worker WHERE id = ?"
_LATE = "SELECT id, epoch FROM worker WHERE state = 'live' AND expires < ? ORDER BY id"


def settle(db: Database, worker: str, epoch: int, charges: Sequence[Charge]) -> None:
    """Post what attempts have cost, and move it from leased to spent.

    Also for leases of earlier epochs and in suspense. Raises RowRefused for an unknown lease.
    """
    if not charges:
        return
    _lock_worker(db, worker)
    places = {row.id: row for row in leases(db, (charge.lease for charge in charges))}
    ((last, before),) = db.rows(_LAST, (worker,)) or [(0, NO_HASH)]
    told: dict[tuple[str, int], Posting] = {}
    for charge in charges:
        row = places.get(charge.lease)
        if row is None:
            raise RowRefused(f"attempt {charge.attempt_id}: lease {charge.lease} is not known")
        key = (charge.attempt_id, row.account)
        if key not in told:
            told[key] = Posting(
                charge.attempt_id,
                row.account,
                row.start,
                "charge",
                charge.charged,
                int(charge.exact),
                charge.at,
                charge.lease,
                worker,
                charge.seq,
                last + 1,
            )
    _post(db, worker, list(told.values()), last + 1, bytes(before))


def adjust(db: Database, attempt_id: str, amount: int, at: float) -> int:
    """Correct what an attempt has cost by an amount, in every account that it was charged in;
    return in how many. Once an attempt: another time is nothing."""
    rows = db.rows(
        "SELECT account, start, lease FROM posting WHERE attempt_id = ? AND kind = 'charge'",
        (attempt_id,),
    )
    ((last, before),) = db.rows(_LAST, (OPERATOR,)) or [(0, NO_HASH)]
    postings = [
        Posting(
            attempt_id=attempt_id,
            account=account,
            start=start,
            kind="adjust",
            amount=amount,
            exact=1,
            at=at,
            lease=lease,
            worker=OPERATOR,
            seq=0,
            shipment=last + 1,
        )
        for account, start, lease in rows
    ]
    return _post(db, OPERATOR, postings, last + 1, bytes(before))


OPERATOR: Final = "operator"


def _post(db: Database, worker: str, told: list[Posting], number: int, before: bytes) -> int:
    """Insert what is new, charge it, and chain it to what the worker told before."""
    postings: list[Posting] = []
    for some in pieces(told):
        values: list[Value] = [*chain.from_iterable(map(msgspec.structs.astuple, some))]
        holes = values_of(Posting.__struct_fields__, len(some))
        if db.run(f"{_POST}{holes}{_ONCE}", values) == len(some):
            postings += some
        else:
            new = _taken(db, worker, number, some)
            postings += [each for each in some if (each.attempt_id, each.account) in new]
    if not postings:
        return 0
    # Sums: of one lease after the other it comes to the same as of one attempt after the other.
    sums: dict[int, int] = {}
    for each in postings:
        sums[each.lease] = sums.get(each.lease, 0) + each.amount
    change = Change(db, sums)
    for lease, amount in sums.items():
        if worker == OPERATOR:
            change.correct(lease, amount)
        else:
            change.charge(lease, amount)
    change.write()
    seqs = [each.seq for each in postings]
    digest = chained(before, postings)
    db.run(_SHIP, (worker, number, min(seqs), max(seqs), len(postings), digest))
    return len(postings)


def _taken(db: Database, worker: str, number: int, told: Sequence[Posting]) -> set[tuple[str, int]]:
    """Which of them were taken just now, and not another time before."""
    names = sorted({each.attempt_id for each in told})
    sql = f"{_TAKEN}({', '.join('?' * len(names))})"
    return {(row[0], row[1]) for row in db.rows(sql, (worker, number, *names))}


_in_order = attrgetter("attempt_id", "account")
_length = struct.Struct(">H").pack
_amounts = struct.Struct(">qdqbdqq").pack


def chained(before: bytes, postings: Iterable[Posting]) -> bytes:
    """The next hash: of the one before, and of the postings in the order of their keys."""
    said = [before]
    for each in sorted(postings, key=_in_order):
        name = each.attempt_id.encode()
        said += (
            _length(len(name)),
            name,
            each.kind.encode(),
            _amounts(
                each.account,
                each.start,
                each.amount,
                each.exact,
                each.at,
                each.lease,
                each.seq,
            ),
        )
    return hashlib.sha256(b"".join(said)).digest()


# Workers.


def _lock_worker(db: Database, worker: str) -> None:
    db.rows(_WORKER + db.for_update, (worker,))


def enrol(db: Database, worker: str, epoch: int, host: str, boot: str, started: float) -> None:
    """Make a worker's row where there is none; it has no leases yet, so it need not be heard of."""
    db.run(
        "INSERT INTO worker (id, epoch, host, boot, started, expires, state)"
        " VALUES (?, ?, ?, ?, ?, ?, 'live') ON CONFLICT (id) DO NOTHING",
        (worker, epoch, host, boot, started, started),
    )


def close_worker(db: Database, worker: str, *, is_sure: bool = True) -> int:
    """Its log was told to the end: give back what is left of its leases, and return how much.

    is_sure False: the end of the log may be missing, so what is left of money goes to suspense.
    """
    _lock_worker(db, worker)
    ids = [row[0] for row in db.rows(_OPEN, (worker, _ALL))]
    change = Change(db, ids)
    freed = 0
    for row in change.leases.values():
        if is_sure or row.unit == "at_once":
            freed += row.open
            change.give_back(row.id, row.open)
            row.state = "closed"
        else:
            _strand(change, row)
    change.write()
    db.run("UPDATE lease SET state = 'closed' WHERE worker = ? AND state = 'live'", (worker,))
    db.run("UPDATE worker SET state = 'gone' WHERE id = ?", (worker,))
    return freed


def expire(db: Database, now: float) -> list[str]:
    """Declare workers dead that were not heard of: what they have stays counted, but slots."""
    # Who is locked is being looked after: its log is read, or it says just now that it lives.
    lock = f"{db.for_update} SKIP LOCKED" if db.for_update else ""
    rows = db.rows(_LATE + lock, (now,))
    for worker, epoch in rows:
        db.run("UPDATE worker SET state = 'fenced' WHERE id = ?", (worker,))
        change = Change(db, [row[0] for row in db.rows(_OPEN, (worker, epoch))])
        for row in change.leases.values():
            _strand(change, row)
        change.write()
        db.run("UPDATE lease SET state = 'closed' WHERE worker = ? AND state = 'live'", (worker,))
    return [worker for worker, _ in rows]


def _strand(change: Change, row: LeaseRow) -> None:
    """1. slots: they were the process' own, and are free; 2. money: its log will tell; 3. rates:
    nothing will ever tell, so all of it was used."""
    if row.unit == "at_once":
        change.give_back(row.id, row.open)
        row.state = "closed"
    elif row.unit == "nano_usd":
        row.state = "suspense"
    else:
        change.charge(row.id, row.open)
        row.state = "closed"


def release_suspense(db: Database, budget: str | None = None, worker: str | None = None) -> int:
    """Give back what dead workers have, whose logs nobody will ever read; return how much.

    For an operator who knows that nothing more was spent, or has adjusted for it.
    """
    ids = [
        row[0]
        for row in db.rows(
            "SELECT l.id FROM lease l JOIN budget_account a ON a.id = l.account"
            " WHERE l.state = 'suspense' AND l.granted > l.spent + l.returned"
            " AND (CAST(? AS TEXT) IS NULL OR a.budget = ?)"
            " AND (CAST(? AS TEXT) IS NULL OR l.worker = ?)",
            (budget, budget, worker, worker),
        )
    ]
    change = Change(db, ids)
    freed = 0
    for row in change.leases.values():
        freed += row.open
        change.give_back(row.id, row.open)
        row.state = "closed"
    change.write()
    return freed
