"""House: what there is to be granted, and the rule that nobody grants more than they have.

An owner and an admin may grant whatever exists. A tenant's admin may grant what the tenant has:
its routes, the budgets that count for it, its most a request. Whatever is granted, a tenant's
bound is applied again at every request, so lowering it needs no key to be changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pointsman.access.principal import Principal
from pointsman.access.records import NewKey, TenantRecord
from pointsman.config.problems import shown, suggest
from pointsman.config.schema_money import KeyLimits
from pointsman.config.selection import Pool
from pointsman.config.settings import Settings
from pointsman.domain.budgets import Budget
from pointsman.domain.deployment import Deployment
from pointsman.errors import InvalidRequest, PermissionDenied


class ExceedsGranter(PermissionDenied):
    code = "grant_exceeds_granter"


class Taken(InvalidRequest):
    """Something is there already, or not in a state for this."""

    status = 409
    code = "conflict"


@dataclass(frozen=True, slots=True)
class House:
    """What a configuration has: words for routes, deployments, names of keys and budgets.

    `limits`: budgets and rates, those of its keys too. `drawn_on`: budgets of scope `named`, with
    the tenants whose keys in the file draw on them.
    """

    routes: Mapping[str, str]
    deployments: tuple[Deployment, ...]
    keys: frozenset[str] = frozenset()
    budgets: frozenset[str] = frozenset()
    drawn_on: Mapping[str, frozenset[str | None]] = field(default_factory=dict)
    limits: tuple[Budget, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> House:
        callers = [key.caller for key in settings.server.keys]
        return cls(
            {
                word: route.name
                for route in settings.routes
                for word in (route.name, *route.aliases)
            },
            settings.deployments,
            frozenset(caller.key for caller in callers),
            frozenset(budget.name for budget in settings.budgets),
            {
                budget.name: frozenset(
                    caller.tenant for caller in callers if budget.name in caller.budgets
                )
                for budget in settings.budgets
                if budget.scope == "named"
            },
            settings.budgets,
        )

    def expanded(self, words: Iterable[str]) -> tuple[str, ...]:
        """Names of routes and deployments that words stand for, as in `server.keys[].routes`."""
        names: dict[str, None] = {}
        for word in words:
            found = (self.routes[word],) if word in self.routes else self._deployments(word)
            if not found:
                known = (*self.routes, *(each.name for each in self.deployments))
                raise InvalidRequest(
                    f"routes: unknown route {shown(word)}; {suggest(word, known)}", param="routes"
                )
            names |= dict.fromkeys(found)
        return tuple(names)

    def _deployments(self, word: str) -> tuple[str, ...]:
        return Pool(self.deployments).matching(word)


def check_routes(
    routes: tuple[str, ...] | None, who: Principal, bound: TenantRecord | None
) -> None:
    """Raise ExceedsGranter for routes (expanded) beyond the granter's own."""
    if not who.is_tenants or bound is None or bound.routes is None or routes is None:
        return  # Routes that nobody names are those of the tenant, at each request.
    if beyond := sorted(set(routes) - set(bound.routes)):
        raise ExceedsGranter(
            f"routes: {', '.join(beyond)} are not among those of tenant {who.tenant}",
            param="routes",
        )


def check_limits(
    limits: KeyLimits,
    who: Principal,
    bound: TenantRecord | None,
    house: House,
    tenant: str | None,
    stored: Mapping[str, str | None],
) -> None:
    """Raise for a budget that is not there or not the granter's, and for too high a limit.

    tenant: whose key it is. stored: names of the store's budgets of scope `named`, each with its
    tenant; one would not count for another tenant's key, which had no limit then.
    """
    for name in limits.budgets:
        if name not in house.drawn_on and name not in stored:
            known = (*house.drawn_on, *(n for n, o in stored.items() if who.sight.sees(o)))
            raise _unknown(name, () if who.is_tenants else known)
        owners = house.drawn_on.get(name, frozenset({stored.get(name)}))
        if not any(who.sight.sees(owner) for owner in owners) and who.is_tenants:
            raise _unknown(name, ())  # As if it were not there: it is not theirs to know of.
        if stored.get(name, tenant) not in (None, tenant):
            raise InvalidRequest(
                f"limits.budgets: {name} counts keys of {stored[name]} only", param="limits.budgets"
            )
    ceiling = None if bound is None or not who.is_tenants else bound.max_cost_usd
    if ceiling is not None and (limits.max_cost_usd or 0) > ceiling:
        raise ExceedsGranter(
            f"limits.max_cost_usd: above the {ceiling:g} USD of tenant {who.tenant}",
            param="limits.max_cost_usd",
        )


def check_owner(new: NewKey, who: Principal) -> str | None:
    """The tenant that a new key belongs to. Raises ExceedsGranter for another's."""
    if not who.is_tenants:
        return new.tenant
    if new.tenant is not None and new.tenant != who.tenant:
        raise ExceedsGranter(f"tenant: only keys of {who.tenant} are yours to make", param="tenant")
    return who.tenant


def _unknown(name: str, known: tuple[str, ...]) -> InvalidRequest:
    return InvalidRequest(
        f"limits.budgets: no budget with scope named is called {shown(name)}; "
        f"{suggest(name, known)}",
        param="limits.budgets",
    )
