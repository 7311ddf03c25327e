"""What the client is told where no provider was at fault, but nobody could be asked.

A budget refuses an attempt before it is made. Where another deployment may do all the same (a
cheaper one, one that the budget does not count, one with a price), failing over goes on. Else the
call ends there: every other deployment would be refused alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pointsman.errors import (
    BudgetExhausted,
    InvalidRequest,
    NoCandidate,
    Overloaded,
    RateLimited,
    Rejected,
    Unsupported,
)
from pointsman.routing.plan import Failed

BY_BUDGET: Final = (BudgetExhausted, RateLimited, NoCandidate, Overloaded)
"""What a treasury refuses with; a deployment's own layers refuse otherwise."""


def final_refusal(ended: Sequence[Failed]) -> Rejected | None:
    """The refusal that ends the call, where all that has just ended was refused by budgets, and
    nobody else would do."""
    refusals = _by_budget(ended)
    if len(refusals) < len(ended):
        return None
    return next((each for each in refusals if not leads_elsewhere(each)), None)


def leads_elsewhere(refusal: Rejected) -> bool:
    return refusal.downgrade or isinstance(refusal, NoCandidate)


def unpaid(failures: Sequence[Failed]) -> Rejected | None:
    """What is told where nobody is left and budgets refused all that were not called: the refusal
    of whom the decision preferred."""
    refusals = _by_budget(failures)
    if not refusals or len(refusals) < len(failures):
        return None
    return next((each for each in refusals if not isinstance(each, NoCandidate)), refusals[0])


def unsupported(failures: Sequence[Failed]) -> InvalidRequest | None:
    """The request's own fault, where no deployment's dialect could say it."""
    errors = [failed.error for failed in failures]
    if not errors or not all(isinstance(error, Unsupported) for error in errors):
        return None
    return InvalidRequest(errors[-1].message, param=errors[-1].param)


def _by_budget(failures: Sequence[Failed]) -> list[Rejected]:
    return [failed.error for failed in failures if isinstance(failed.error, BY_BUDGET)]
