"""Check a store's books: what must be true of budgets whatever has happened before.

Each function returns what it found wrong, in words; nothing is what it should find. They read
only, in one transaction if the caller opens one, and are meant for a store at rest: the sums of a
worker's log and its leases agree when the log was told, and `quiet` asks that it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pointsman.budgets.escrow import window_of
from pointsman.budgets.escrow_sql import NO_HASH, Posting, chained
from pointsman.domain.budgets import Budget
from pointsman.store.database import Database


class Violation(msgspec.Struct, frozen=True):
    invariant: str
    what: str


def check(db: Database, budgets: Sequence[Budget] = (), *, quiet: bool = False) -> list[Violation]:
    """All invariants. quiet: nobody is at work, so nothing may be under way (I8)."""
    found = [*bounds(db), *conservation(db), *leases(db), *chains(db), *windows(db, budgets)]
    return [*found, *(leaks(db) if quiet else ())]


def bounds(db: Database) -> Iterator[Violation]:
    """I1: nothing is negative, and nothing above the limit but what is stated to be."""
    for budget, subject, start, lim, spent, leased, over in db.rows(
        "SELECT a.budget, a.subject, s.start, s.lim, s.spent, s.leased, s.over"
        " FROM budget_slice s JOIN budget_account a ON a.id = s.account"
        " WHERE s.spent < 0 OR s.leased < 0 OR s.over < 0 OR s.spent + s.leased > s.lim + s.over"
        " OR (s.over > 0 AND s.spent + s.leased <> s.lim + s.over)"
    ):
        yield Violation(
            "I1",
            f"{budget}/{subject} from {start:.0f}: spent {spent} + leased {leased} "
            f"against limit {lim} + over {over}",
        )


def windows(db: Database, budgets: Sequence[Budget]) -> Iterator[Violation]:
    """I1 for rolling windows: what stands above the limit over all slices that count now must be
    for a stated reason, which only strict budgets that reject never have."""
    now = db.now()
    for budget in budgets:
        if not budget.window.rolling or not budget.strict or budget.at_cap == "alert":
            continue
        since = window_of(budget).since(now)
        for subject, used in db.rows(
            "SELECT a.subject, sum(s.spent + s.leased - s.over)"
            " FROM budget_slice s JOIN budget_account a ON a.id = s.account"
            " WHERE a.budget = ? AND s.start >= ? GROUP BY a.subject",
            (budget.name, since),
        ):
            if used > budget.limit:
                yield Violation("I1", f"{budget.name}/{subject}: {used} in {budget.window}")


def conservation(db: Database) -> Iterator[Violation]:
    """I2, I9: what an account has spent is the sum of its postings, to the nano-USD."""
    posted = {
        (account, start): amount
        for account, start, amount in db.rows(
            "SELECT account, start, sum(amount) FROM posting GROUP BY account, start"
        )
    }
    for account, start, spent in db.rows(
        "SELECT s.account, s.start, s.spent FROM budget_slice s"
        " JOIN budget_account a ON a.id = s.account WHERE a.unit = 'nano_usd'"
    ):
        amount = posted.pop((account, start), 0)
        if amount != spent:
            yield Violation(
                "I2", f"account {account} from {start:.0f}: {spent} spent, {amount} posted"
            )
    for (account, start), amount in posted.items():
        yield Violation("I2", f"account {account} from {start:.0f}: {amount} posted, no such slice")


def leases(db: Database) -> Iterator[Violation]:
    """I9: what a slice has leased is what its leases have open; what they spent was posted."""
    for account, start, leased, held in db.rows(
        "SELECT s.account, s.start, s.leased, coalesce(sum(l.granted - l.spent - l.returned), 0)"
        " FROM budget_slice s LEFT JOIN lease l ON l.account = s.account AND l.start = s.start"
        " GROUP BY s.account, s.start, s.leased"
        " HAVING s.leased <> coalesce(sum(l.granted - l.spent - l.returned), 0)"
    ):
        yield Violation(
            "I9", f"account {account} from {start:.0f}: {leased} leased, {held} in its leases"
        )
    for lease, spent, posted in db.rows(
        "SELECT l.id, l.spent, coalesce(sum(p.amount), 0) FROM lease l"
        " JOIN budget_account a ON a.id = l.account LEFT JOIN posting p ON p.lease = l.id"
        " WHERE a.unit = 'nano_usd' GROUP BY l.id, l.spent"
        " HAVING l.spent <> coalesce(sum(p.amount), 0)"
    ):
        yield Violation("I9", f"lease {lease}: {spent} spent, {posted} posted")


def leaks(db: Database) -> Iterator[Violation]:
    """I8: when nobody is at work nothing is held any more, but what is in suspense."""
    for lease, worker, held, state in db.rows(
        "SELECT id, worker, granted - spent - returned, state FROM lease"
        " WHERE granted > spent + returned AND state <> 'suspense'"
    ):
        yield Violation("I8", f"lease {lease} of {worker}: {held} open and {state}")


def chains(db: Database) -> Iterator[Violation]:
    """I11: each worker's postings hash to what was written with them, shipment after shipment."""
    before: dict[str, tuple[int, bytes]] = {}
    for worker, n, count, digest in db.rows(
        "SELECT worker, n, postings, hash FROM shipment ORDER BY worker, n"
    ):
        last, previous = before.get(worker, (0, NO_HASH))
        if n != last + 1:
            yield Violation("I11", f"{worker}: shipment {n} follows {last}")
        postings = [
            Posting(*row)
            for row in db.rows(
                "SELECT attempt_id, account, start, kind, amount, exact, at, lease, worker, seq,"
                " shipment FROM posting WHERE worker = ? AND shipment = ?",
                (worker, n),
            )
        ]
        if len(postings) != count or chained(previous, postings) != bytes(digest):
            yield Violation("I11", f"{worker}: shipment {n} is not what was told")
        before[worker] = (n, bytes(digest))
    for worker, number in db.rows(
        "SELECT p.worker, count(*) FROM posting p LEFT JOIN shipment s"
        " ON s.worker = p.worker AND s.n = p.shipment WHERE s.n IS NULL GROUP BY p.worker"
    ):
        yield Violation("I11", f"{worker}: {number} postings of no shipment")
