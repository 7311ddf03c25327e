"""Warnings about money: budgets that count nobody, that nothing fits into, that cut answers short.

What a key of the store or a request may say for itself is not known here, so only that is warned
of which nothing outside of the file can make good, or it is said who could.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pointsman.config.lints_routes import Finding
from pointsman.config.problems import Path, shown
from pointsman.config.settings import Route, Settings
from pointsman.config.yaml_marks import Node
from pointsman.domain.budgets import OF_ATTEMPT, Budget, Scope
from pointsman.domain.call import ANONYMOUS, Caller
from pointsman.domain.deployment import Deployment
from pointsman.domain.money import format_usd
from pointsman.routing.estimate import UNSTATED_OUTPUT, longest_answer, worst_cost
from pointsman.routing.signals import COLD, RequestFeatures

SHORTEST: Final = RequestFeatures(1, 1, 0, upper_tokens=1)
"""A request of next to nothing that states no longest answer."""

OF_KEYS: Final[dict[Scope, Callable[[Caller], str | None]]] = {
    "tenant": lambda caller: caller.tenant,
    "team": lambda caller: caller.team,
    "key": lambda caller: caller.key,
}
"""Whose subject only the key says; users, apps, tags and runs a request may name."""

Places = dict[str, Path]
"""Where each budget of the file is written, by its name."""


def places_of(root: Node, settings: Settings) -> Places:
    """A rate has a budget for each of its limits, named `NAME limit` and written in one place."""
    written = {
        (section, name): (section, at)
        for section in ("budgets", "rates")
        for at, name in enumerate(_names(root, section))
    }
    places: Places = {}
    for budget in settings.budgets:
        rate = budget.name.rpartition(" ")[0]
        place = written.get(("budgets", budget.name)) or written.get(("rates", rate))
        if place is not None:
            places[budget.name] = place
    return places


def _names(root: Node, section: str) -> Iterator[object]:
    blocks = root.value.get(section) if isinstance(root.value, dict) else None
    for block in blocks.value if blocks is not None and isinstance(blocks.value, list) else ():
        name = block.value.get("name") if isinstance(block.value, dict) else None
        yield None if name is None else name.value


def counts(budget: Budget, deployment: Deployment) -> bool:
    """Whether an attempt at a deployment may count in a budget, whoever makes it."""
    if budget.scope not in OF_ATTEMPT or budget.match is None:
        return True
    name = deployment.model if budget.scope == "model" else deployment.provider
    return name in budget.match


def is_money(budget: Budget) -> bool:
    return budget.unit == "nano_usd"


def counts_nobody(settings: Settings, places: Places) -> Iterator[Finding]:
    keys = settings.server.keys
    is_stored = settings.ledger.is_kept
    callers = [key.caller for key in keys] or [ANONYMOUS]
    for budget in settings.budgets:
        scope, match = budget.scope, budget.match
        if budget.name not in places:
            continue
        if scope in ("route", "model", "provider"):
            known = _known(settings, scope)
            if match is not None and match.isdisjoint(known):
                what = f"counts nobody: no {scope} is called {_listed(match)}"
                yield (*places[budget.name], "match"), what, f"there are {_listed(known)}"
            continue
        if is_stored and not keys:
            continue  # They are all in the store.
        whose = "no key of this file" if is_stored else "no key"
        mine = [each for each in callers if budget.tenant in (None, each.tenant)]
        if scope == "named":
            is_counted = any(budget.name in caller.budgets for caller in mine)
            lack, remedy = "draws on it", f"write `limits: {{budgets: [{budget.name}]}}` on a key"
        elif scope in OF_KEYS:
            subjects = {OF_KEYS[scope](caller) for caller in mine} - {None}
            is_counted = bool(subjects if match is None else subjects & match)
            lack = f"has a {scope}" if match is None else f"has the {scope} {_listed(match)}"
            remedy = "create one" if scope == "key" else f"write `{scope}:` on keys"
        else:
            is_counted, lack, remedy = bool(mine), "", f"write `tenant: {budget.tenant}` on a key"
        if not is_counted:
            lack = f"is of tenant {budget.tenant}" if not mine else lack
            yield places[budget.name], f"counts nobody: {whose} {lack}", remedy


def _known(settings: Settings, scope: Scope) -> frozenset[str]:
    if scope == "route":
        return frozenset({"direct", *(route.name for route in settings.routes)})
    own = settings.deployments
    return frozenset(each.model if scope == "model" else each.provider for each in own)


def downgrades_to_nothing(settings: Settings, places: Places) -> Iterator[Finding]:
    for budget in settings.budgets:
        if budget.at_cap != "downgrade" or budget.scope in OF_ATTEMPT or budget.name not in places:
            continue
        level = [
            route.name
            for route in settings.routes
            if (budget.scope != "route" or budget.match is None or route.name in budget.match)
            and _has_one_price(route)
        ]
        if level:
            what = f"nothing is cheaper on route {', '.join(level)}: there it refuses"
            remedy = "add a cheaper deployment, or write `at_cap: reject`"
            yield (*places[budget.name], "at_cap"), what, remedy


def _has_one_price(route: Route) -> bool:
    prices = {None if each.price is None else each.price.rates for each in route.deployments}
    return len(prices) == 1 and not route.fallback.chain


def refuses_the_unpriced(settings: Settings, places: Places) -> Iterator[Finding]:
    for place, deployment in enumerate(settings.deployments):
        names = [b.name for b in settings.budgets if is_money(b) and counts(b, deployment)]
        if deployment.price is None and names:
            what = f"{deployment.name} is never asked where {names[0]} counts: no price is known"
            yield ("deployments", place, "price"), what, "state it, or `price: free`"


def fits_nothing(settings: Settings, places: Places) -> Iterator[Finding]:
    """Strict limits below what the cheapest request holds that leaves its length open."""
    used = {each.name: each for route in settings.routes for each in route.deployments}
    for budget in settings.budgets:
        if not is_money(budget) or not budget.strict or not budget.limit:
            continue
        holds = [
            (worst, each)
            for each in used.values()
            if counts(budget, each) and (worst := worst_cost(SHORTEST, each, COLD)) is not None
        ]
        worst, least = min(holds, key=lambda hold: hold[0], default=(0, None))
        if least is None or budget.limit >= worst or budget.name not in places:
            continue
        what = (
            f"{format_usd(budget.limit)} is less than any request holds that states no longest "
            f"answer: {least.name} holds {format_usd(worst)} for "
            f"{longest_answer(SHORTEST, least):,} tokens"
        )
        yield places[budget.name], what, "raise it, or write `default_max_tokens` on deployments"


def cuts_answers(settings: Settings, places: Places) -> Iterator[Finding]:
    for place, deployment in enumerate(settings.deployments):
        is_stated = deployment.default_max_tokens or deployment.limits.output_tokens
        names = [
            budget.name
            for budget in settings.budgets
            if is_money(budget) and budget.strict and counts(budget, deployment)
        ]
        if not is_stated and names and "chat" in deployment.capabilities:
            what = (
                f"{deployment.name} answers no longer than {UNSTATED_OUTPUT:,} tokens where "
                f"{names[0]} counts and the request states no more: no longest answer is known"
            )
            yield ("deployments", place), what, "write `output_tokens` or `default_max_tokens`"


def _listed(names: frozenset[str]) -> str:
    return " or ".join(shown(name) for name in sorted(names))


MONEY_LINTS: tuple[Callable[[Settings, Places], Iterator[Finding]], ...] = (
    counts_nobody,
    downgrades_to_nothing,
    refuses_the_unpriced,
    fits_nothing,
    cuts_answers,
)
