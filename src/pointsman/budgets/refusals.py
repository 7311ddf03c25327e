"""What a client is told when a budget or rate has no room: whose it is, and when it has again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pointsman.budgets.escrow import Refused
from pointsman.domain.budgets import OF_ATTEMPT, Budget, Scope, Unit
from pointsman.domain.money import format_usd
from pointsman.errors import BudgetExhausted, NoCandidate, Overloaded, RateLimited, Rejected

STORE_RETRY_S: Final = 1.0


def refusal(refused: Refused, needed: int) -> Rejected:
    """402 for money, 429 for a rate, which money by the minute is too."""
    budget = refused.budget
    kind = RateLimited if is_rate(budget) else BudgetExhausted
    error: Rejected = kind(
        f"budget {budget.name!r} of {_whose(budget, refused.account[1])}: "
        f"{_amount(budget.unit, needed)} needed, {_amount(budget.unit, max(0, refused.left))} left "
        f"of {_amount(budget.unit, budget.limit)}{_window(budget)}; {_reopens(refused)}",
        param=budget.name,
        retry_after_s=max(0.0, refused.reopens_in_s),
    )
    error.downgrade = budget.at_cap == "downgrade" or budget.scope in OF_ATTEMPT
    return error


def is_rate(budget: Budget) -> bool:
    return budget.unit != "nano_usd" or budget.window.period == "minute"


def out_of_reach() -> Overloaded:
    """The leases are used up and nobody can be asked for more: not the caller's fault."""
    return Overloaded(
        "the store that keeps the budgets does not answer, and what this worker had of them is "
        "used up; try again",
        code="storage_unavailable",
        retry_after_s=STORE_RETRY_S,
    )


def unpriced(budget: Budget, deployment: str) -> NoCandidate:
    return NoCandidate(
        f"deployment {deployment}: has no price, so it cannot count in the budget "
        f"{budget.name!r}; state its `price`",
        code="unpriced_model",
        param=budget.name,
    )


def _whose(budget: Budget, subject: str) -> str:
    words = _WORDS[budget.scope]
    name = subject.rpartition("/")[2].replace("%2F", "/").replace("%00", "").replace("%25", "%")
    return f"{words} {name!r}" if subject else words


def _amount(unit: Unit, amount: int) -> str:
    return format_usd(amount) if unit == "nano_usd" else f"{amount} {_UNITS[unit]}"


def _window(budget: Budget) -> str:
    if budget.unit == "at_once":
        return ""
    if budget.window.period == "total":
        return " in all"
    return f" a {budget.window.period}" + (" (rolling)" if budget.window.rolling else "")


def _reopens(refused: Refused) -> str:
    if refused.budget.unit == "at_once":
        return "room comes back when one of them ends"
    if refused.budget.window.period == "total":
        return "it does not begin anew"
    at = datetime.fromtimestamp(refused.reopens_at, UTC)
    return f"room comes back at {at:%Y-%m-%dT%H:%M:%SZ}"


_UNITS: Final[dict[Unit, str]] = {
    "requests": "requests",
    "tokens": "tokens",
    "at_once": "requests at once",
}

_WORDS: Final[dict[Scope, str]] = {
    "everyone": "everyone together",
    "tenant": "tenant",
    "team": "team",
    "app": "app",
    "user": "user",
    "key": "key",
    "tag": "tag",
    "run": "run",
    "route": "route",
    "model": "model",
    "provider": "provider",
    "named": "everyone who draws on it",
}
