"""Which accounts a request counts in: a pure function of who asks, for what, of whom.

Money is counted by attempt, in the accounts of all scopes, since each attempt is paid for. Rates
count requests: those of a model or provider with each attempt there, all others once a request.

A budget whose scope the request has no value for (no team, no run) does not apply. A budget that
the caller names and that is not there is another matter: whoever took the limit away should not
have made it free, so the request is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Final

import msgspec

from pointsman.domain.budgets import OF_ATTEMPT, Account, Budget, Scope
from pointsman.domain.call import Caller
from pointsman.domain.deployment import Deployment
from pointsman.errors import PermissionDenied

NO_TAGS: Final[Mapping[str, str]] = {}


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What decides which accounts count. `deployment` is None until one was chosen."""

    caller: Caller
    route: str
    run: str | None = None
    tags: Mapping[str, str] = NO_TAGS
    deployment: Deployment | None = None


Matched = tuple[tuple[Budget, Account], ...]


class Matcher:
    """Find the accounts of an ask among `budgets`, and among what its caller brings."""

    def __init__(self, budgets: Iterable[Budget]) -> None:
        self.budgets = tuple(budgets)
        self._named = {budget.name: budget for budget in self.budgets if budget.scope == "named"}
        self._attempts = tuple(budget for budget in self.budgets if is_of_attempt(budget))
        self._requests = tuple(budget for budget in self.budgets if is_of_request(budget))
        self.tags = tuple(sorted({b.tag for b in self.budgets if b.scope == "tag"}))
        """Names of tags that decide anything."""
        self.sees_runs = any(budget.scope == "run" for budget in self.budgets)

    def of(self, ask: Ask, of_attempt: bool) -> Matched:
        """Each budget that applies and the account in it, in the order of accounts.

        Raises PermissionDenied, code unknown_budget, where the caller names one that is not there.
        """
        found: dict[Account, Budget] = {}
        general = self._attempts if of_attempt else self._requests
        for budget in (*general, *self._drawn_on(ask.caller), *ask.caller.limits):
            counts = is_of_attempt(budget) if of_attempt else is_of_request(budget)
            if counts and (account := account_of(budget, ask)) is not None:
                found[account] = budget
        return tuple((found[account], account) for account in sorted(found))

    def _drawn_on(self, caller: Caller) -> Iterable[Budget]:
        for name in caller.budgets:
            if name not in self._named:
                raise PermissionDenied(
                    f"key {caller.key}: draws on the budget {name!r}, which is not there; "
                    "add it with `scope: named` or take it from the key",
                    code="unknown_budget",
                    param=name,
                )
            yield self._named[name]


def is_of_attempt(budget: Budget) -> bool:
    """Whether attempts count in it; named ones only by whoever names them."""
    return budget.unit == "nano_usd" or budget.scope in OF_ATTEMPT


def is_of_request(budget: Budget) -> bool:
    """Whether requests count in it, once each."""
    return not is_of_attempt(budget)


def account_of(budget: Budget, ask: Ask) -> Account | None:
    """The account that the ask counts in, None where the budget does not apply to it."""
    tenant = ask.caller.tenant
    if budget.tenant is not None and budget.tenant != tenant:
        return None
    if budget.scope == "named":
        return (budget.name, "") if budget.name in ask.caller.budgets else None
    value = _VALUES[budget.scope](ask, budget)
    if value is None or (budget.match is not None and value not in budget.match):
        return None
    if budget.scope in _WITHIN_TENANT:
        return budget.name, subject(tenant, value)
    return budget.name, value


def subject(tenant: str | None, value: str) -> str:
    """A tenant's own subject: no two tenants' and no two values' come to the same."""
    return _escaped(value) if tenant is None else f"{_escaped(tenant)}/{_escaped(value)}"


def _escaped(part: str) -> str:
    if len(part) > _LONGEST:
        digest = sha256(part.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{_escaped(part[:_SHOWN])}%~{digest}"
    # NUL is nothing that PostgreSQL keeps in a text.
    return part.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")


_LONGEST: Final = 200
"""Characters. Clients say names of users of any length, and PostgreSQL's indexes take 2,700 bytes:
of a longer name its beginning stands, and a digest after `%~`, which is no escape."""
_SHOWN: Final = 40


_WITHIN_TENANT: Final[frozenset[Scope]] = frozenset({"team", "app", "user", "key", "tag", "run"})
"""Scopes whose subjects are a tenant's own. Routes, models and providers are everybody's."""

_VALUES: Final[dict[Scope, Callable[[Ask, Budget], str | None]]] = {
    "everyone": lambda ask, budget: "",
    "tenant": lambda ask, budget: ask.caller.tenant,
    "team": lambda ask, budget: ask.caller.team,
    "app": lambda ask, budget: ask.caller.app,
    "user": lambda ask, budget: ask.caller.user,
    "key": lambda ask, budget: ask.caller.key,
    "tag": lambda ask, budget: ask.tags.get(budget.tag),
    "run": lambda ask, budget: ask.run,
    "route": lambda ask, budget: ask.route,
    "model": lambda ask, budget: ask.deployment.model if ask.deployment else None,
    "provider": lambda ask, budget: ask.deployment.provider if ask.deployment else None,
}
