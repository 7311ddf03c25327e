"""How accounts stand in a store: for the command line, the admin API and reports."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.budgets.escrow import AccountStanding, window_of
from pointsman.domain.budgets import Budget
from pointsman.store.database import Database

_SUMS = (
    "SELECT a.subject, sum(s.spent), sum(s.leased)"
    " FROM budget_account a JOIN budget_slice s ON s.account = a.id"
    " WHERE a.budget = ? AND a.unit = ? AND s.start >= ? GROUP BY a.subject"
)
_SUSPENSE = (
    "SELECT a.subject, sum(l.granted - l.spent - l.returned)"
    " FROM lease l JOIN budget_account a ON a.id = l.account"
    " WHERE l.state = 'suspense' AND a.budget = ? AND l.start >= ? GROUP BY a.subject"
)


def standings(
    db: Database, budgets: Iterable[Budget], now: float, tenant: str | None = None
) -> list[AccountStanding]:
    """The accounts that were used in the windows that run at `now`; see `tenant_of` for whose.

    tenant: only accounts of its own.
    """
    found = []
    for budget in budgets:
        window = window_of(budget)
        since = window.since(now)
        until = window.slice_at(now)[1]
        suspense = dict(db.rows(_SUSPENSE, (budget.name, since)))
        for subject, spent, leased in sorted(db.rows(_SUMS, (budget.name, budget.unit, since))):
            if tenant is not None and tenant_of(budget, subject) != tenant:
                continue
            found.append(
                AccountStanding(
                    budget=budget.name,
                    subject=subject,
                    unit=budget.unit,
                    limit=budget.limit,
                    spent=spent,
                    leased=leased,
                    over=max(0, spent + leased - budget.limit),
                    suspense=suspense.get(subject, 0),
                    start=since,
                    until=until,
                )
            )
    return found


def tenant_of(budget: Budget, subject: str) -> str | None:
    """Whose an account is; None where it is nobody's own."""
    if budget.tenant is not None:
        return budget.tenant
    if budget.scope == "tenant":
        return subject
    tenant, slash, _ = subject.partition("/")
    if not slash:
        return None
    return tenant.replace("%00", "\0").replace("%2F", "/").replace("%25", "%")
