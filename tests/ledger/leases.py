"""Real leases of two budgets, for tests of what becomes of them."""

from __future__ import annotations

from pointsman.budgets.escrow import Refused, Want
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.membership import Membership
from pointsman.domain.budgets import Budget
from pointsman.domain.windows import Window
from pointsman.store.database import Database
from pointsman.store.open import Store

LIMIT = 10**15
BUDGETS = tuple(Budget(name, "everyone", LIMIT, window=Window("total")) for name in ("one", "two"))


def leased(store: Store, worker: str, amount: int = 10**9, lease_s: float = 60.0) -> list[int]:
    """Lease an amount of each budget in a worker's name; the numbers of the leases."""
    escrow = StoreEscrow(store, Membership(worker, "h", "", lease_s))
    try:
        escrow.renew()
        granted = escrow.grant([Want(budget, (budget.name, ""), amount, 0) for budget in BUDGETS])
        assert not isinstance(granted, Refused)
        return [lease.id for lease in granted]
    finally:
        escrow.close()


def standing(database: Database) -> dict[str, tuple[int, int]]:
    """(spent, leased) of each budget."""
    rows = database.rows(
        "SELECT a.budget, s.spent, s.leased FROM budget_slice s"
        " JOIN budget_account a ON a.id = s.account"
    )
    return {name: (spent, leased) for name, spent, leased in rows}


def charged(database: Database) -> dict[tuple[str, str], int]:
    """What was charged, by attempt and budget."""
    rows = database.rows(
        "SELECT p.attempt_id, a.budget, p.amount FROM posting p"
        " JOIN budget_account a ON a.id = p.account"
    )
    assert len(rows) == len({row[:2] for row in rows})
    return {(attempt, budget): amount for attempt, budget, amount in rows}
