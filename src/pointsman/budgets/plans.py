"""Plans: which tills a request takes from, found once for all that are alike.

A till is made at the first request that counts in its account, and outlives the budget's changes:
`follow` puts another limit or window in force in the tills that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pointsman.budgets.clerk import Clerk
from pointsman.budgets.desk import Desk
from pointsman.budgets.subjects import Ask, Matcher
from pointsman.budgets.till import Plan, Till, kind_of
from pointsman.clock import Clock
from pointsman.domain.budgets import Account, Budget, Scope

MOST_PLANS: Final = 20_000
"""Answers to "which accounts?" that are kept; then all are found anew."""
_OWN_WORDS: Final[frozenset[Scope]] = frozenset({"tag", "run"})
"""Scopes whose subject a request names itself. Where a key's own limits have such, plans are not
kept: what decides them is not in the key that they would be kept by."""


class Plans:
    """All tills of a worker. `money` goes for what is counted in nano-USD, `rates` for the rest."""

    def __init__(self, clock: Clock, money: Clerk, rates: Clerk) -> None:
        self.matcher = Matcher(())
        self.tills: dict[Account, Till] = {}
        self.clerks = tuple({money: None, rates: None})
        self.desk = Desk(clock, self.clerks, self.tills)
        self.is_in_use: Callable[[], bool] = lambda: True
        self._money = money
        self._rates = rates
        self._plans: dict[object, tuple[Plan, Ask]] = {}
        self._near: dict[tuple[int, str, int, bool], Plan] = {}
        """The same for the very caller that a plan was made for: one is asked for ten times a
        request, and most callers are those of a key, the same for all its requests."""

    def of(self, ask: Ask, of_attempt: bool) -> Plan:
        caller = ask.caller
        matcher = self.matcher
        deployment = ask.deployment
        near = (id(caller), ask.route, id(deployment), of_attempt)
        plan = self._near.get(near)
        if plan is not None:
            return plan
        key = (
            of_attempt,
            caller.key,
            caller.user,
            caller.team,
            caller.app,
            caller.tenant,
            ask.route,
            None if deployment is None else deployment.name,
            # The plan keeps its ask, so these stay who they are.
            id(caller.limits),
            id(caller.budgets),
            ask.run if matcher.sees_runs else None,
            tuple([ask.tags.get(tag) for tag in matcher.tags]) if matcher.tags else None,
        )
        found = self._plans.get(key)
        if found is None:
            found = (self._made(ask, of_attempt), ask)
            if not any(budget.scope in _OWN_WORDS for budget in caller.limits):
                self._plans[key] = found
                if not (matcher.sees_runs or matcher.tags):
                    # The plan's ask is kept beside it, so nobody else gets these numbers.
                    self._near[near] = found[0]
        return found[0]

    def _made(self, ask: Ask, of_attempt: bool) -> Plan:
        if len(self._plans) >= MOST_PLANS:
            self._tidy()
        matched = self.matcher.of(ask, of_attempt)
        return tuple((self._till(budget, account), kind_of(budget)) for budget, account in matched)

    def _till(self, budget: Budget, account: Account) -> Till:
        till = self.tills.get(account)
        if till is None:
            till = self.tills[account] = Till(budget, account, self.clerk_of(budget))
        elif till.budget != budget:
            self._adopt(till, budget)
        return till

    def _adopt(self, till: Till, budget: Budget) -> None:
        """A budget was changed: its till goes on, by the new limit, or in the new window."""
        was, till.budget = till.budget, budget
        till.refusal = None
        if (was.unit, was.window) != (budget.unit, budget.window):
            self.desk.retire(till)
        elif budget.limit != was.limit:
            till.drawer.left += budget.limit - was.limit
            if budget.limit < was.limit and till.drawer.lease:
                self.desk.give_up(till.drawer)
                till.drawer.keep = 0  # Nor may what is put back be held again before it is asked.
            till.clerk.limits = (*(b for b in till.clerk.limits if b.name != budget.name), budget)

    def _tidy(self) -> None:
        """Forget who has not been here for long: their tills are shut.

        Not while somebody in line has a plan with them: a till made anew and the old one would
        both take from one lease.
        """
        self._plans.clear()
        self._near.clear()
        if self.is_in_use():
            return
        for account, till in list(self.tills.items()):
            if not till.drawer.lease and not till.waiters:
                del self.tills[account]

    def follow(self, budgets: Sequence[Budget]) -> None:
        """Go by these budgets from now on."""
        self.matcher = Matcher(budgets)
        self._plans.clear()
        self._near.clear()
        by_name = {budget.name: budget for budget in budgets}
        for till in self.tills.values():
            budget = by_name.get(till.budget.name)
            if budget is not None and budget != till.budget:
                self._adopt(till, budget)

    def clerk_of(self, budget: Budget) -> Clerk:
        return self._money if budget.unit == "nano_usd" else self._rates

    def __len__(self) -> int:
        return len(self.tills)
