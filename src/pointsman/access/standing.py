"""How far limits are used, as whoever administers may see it; and what is given back by hand."""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.access import audit
from pointsman.access.house import House
from pointsman.access.keys import MOST_LISTED, listed_keys
from pointsman.access.principal import EVERYTHING, Principal, Sight
from pointsman.access.records import caller_of, day
from pointsman.access.rules import beside, rules
from pointsman.budgets.escrow import AccountStanding
from pointsman.budgets.escrow_sql import release_suspense
from pointsman.budgets.standing import standings
from pointsman.domain.budgets import Budget
from pointsman.domain.content import JsonObject
from pointsman.domain.windows import FOREVER
from pointsman.store.database import Database


@dataclass(frozen=True, slots=True)
class Standing:
    """An account in its window. Amounts are in the unit's own counting, money in nano-USD."""

    account: AccountStanding

    def told(self) -> JsonObject:
        found = self.account
        never_ends = found.until >= FOREVER  # a `total`: its window is no dates
        return {
            "budget": found.budget,
            "subject": found.subject,
            "unit": found.unit,
            "limit": found.limit,
            "spent": found.spent,
            "leased": found.leased,
            "suspense": found.suspense,
            "over": found.over,
            "left": found.left,
            "since": None if never_ends else day(found.start),
            "until": None if never_ends else day(found.until),
        }


def accounts(database: Database, who: Principal, house: House) -> list[Standing]:
    """The accounts that were used in their windows; a tenant's roles see their tenant's."""
    sight = who.sight
    if sight.tenant is None and not sight.is_all:
        return []
    now = database.now()
    found = standings(database, limits(database, house, sight), now, sight.tenant)
    return [Standing(each) for each in found]


def limits(database: Database, house: House, sight: Sight) -> tuple[Budget, ...]:
    """The file's limits, the store's, and those that keys bring of themselves."""
    stored = [budget for rule in rules(database, EVERYTHING) for budget in rule.budgets()]
    after, own = "", list[Budget]()
    while page := listed_keys(database, sight, after=after, limit=MOST_LISTED):
        after = page[-1].name
        own += [budget for key in page for budget in caller_of(key).limits]
    return beside(house.limits, (*stored, *own))


def released(database: Database, who: Principal, budget: str | None, worker: str | None) -> int:
    """Give back what is in suspense; return how much. It stands in the audit."""
    with database.transaction():
        audit.lock(database)
        freed = release_suspense(database, budget, worker)
        audit.note(
            database,
            who,
            "suspense.release",
            budget or "all budgets",
            tenant=None,
            was=None,
            became={"released": freed, "budget": budget, "worker": worker},
        )
    return freed
