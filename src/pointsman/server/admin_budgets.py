"""The admin API's routes for stored budgets and rates, and for the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import fields as fields_of

from pointsman.access import audit
from pointsman.access.rules import found_rule, remove_rule, rules, set_rule
from pointsman.access.shaping import shaped
from pointsman.access.standing import accounts, released
from pointsman.config.schema_money import BudgetBlock, RateBlock
from pointsman.domain.content import JsonObject
from pointsman.server.admin_route import OWNERS, READS, WRITES, AdminRoute, Ask

MOST_LISTED: Final = 500


def _unnamed(block: type[Any]) -> type[Any]:
    """A block's type without the name, which the path says."""
    fields = [
        (each.name, each.type, each.default)
        if each.default is not msgspec.NODEFAULT
        else (each.name, each.type)
        for each in fields_of(block)
        if each.name != "name"
    ]
    return msgspec.defstruct(
        block.__name__.removesuffix("Block") + "Limit",
        fields,
        forbid_unknown_fields=True,
        kw_only=True,
        frozen=True,
        namespace={"__doc__": block.__doc__},
    )


class AuditPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the audit log: what came before the row `before`, the newest first."""

    before: int | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED)] = 100


def _list(ask: Ask) -> JsonObject:
    return {"rules": [rule.told() for rule in rules(ask.database, ask.who.sight)]}


def _show(ask: Ask) -> JsonObject:
    return found_rule(ask.database, ask.who.sight, ask.path["name"]).told()


def _set(block: type[Any]) -> Callable[[Ask], JsonObject]:
    def work(ask: Ask) -> JsonObject:
        said = {name: getattr(ask.body, name) for name in ask.body.__struct_fields__}
        whole = shaped(block, {**msgspec.to_builtins(said), "name": ask.path["name"]})
        return set_rule(ask.database, ask.who, whole, ask.house).told()

    return work


def _remove(ask: Ask) -> JsonObject:
    return remove_rule(ask.database, ask.who, ask.path["name"]).told()


def _audit(ask: Ask) -> JsonObject:
    query: AuditPage = ask.query
    before = None if query.before is UNSET else query.before
    rows = audit.listed(ask.database, ask.who.sight, before=before, limit=query.limit)
    return {"rows": [*rows]}


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which budget, of which worker; without either, of all."""

    budget: str | None = None
    worker: str | None = None


def _standings(ask: Ask) -> JsonObject:
    return {"accounts": [each.told() for each in accounts(ask.database, ask.who, ask.house)]}


def _release(ask: Ask) -> JsonObject:
    freed = released(ask.database, ask.who, ask.body.budget, ask.body.worker)
    return {"released": freed, "budget": ask.body.budget, "worker": ask.body.worker}


ROUTES: Final = (
    AdminRoute(
        "GET",
        "/admin/v1/budgets",
        "List how all accounts stand in their windows",
        _standings,
        roles=READS,
        reach="own",
    ),
    AdminRoute(
        "POST",
        "/admin/v1/budgets/release",
        "Give back what workers that are gone had leased, when nothing more of it was spent",
        _release,
        roles=OWNERS,
        reach="house",
        takes=Release,
    ),
    AdminRoute(
        "GET",
        "/admin/v1/rules",
        "List the budgets and rates that are kept in the store",
        _list,
        roles=READS,
        reach="own",
    ),
    AdminRoute(
        "GET",
        "/admin/v1/rules/{name}",
        "Show a stored budget or rate",
        _show,
        roles=READS,
        reach="own",
    ),
    AdminRoute(
        "PUT",
        "/admin/v1/rules/{name}/budget",
        "Set a budget, in the place of one of the same name",
        _set(BudgetBlock),
        roles=WRITES,
        reach="own",
        takes=_unnamed(BudgetBlock),
    ),
    AdminRoute(
        "PUT",
        "/admin/v1/rules/{name}/rate",
        "Set a rate, in the place of one of the same name",
        _set(RateBlock),
        roles=WRITES,
        reach="own",
        takes=_unnamed(RateBlock),
    ),
    AdminRoute(
        "DELETE",
        "/admin/v1/rules/{name}",
        "Remove a stored budget or rate",
        _remove,
        roles=WRITES,
        reach="own",
    ),
    AdminRoute(
        "GET",
        "/admin/v1/audit",
        "List who changed what, the newest first",
        _audit,
        roles=frozenset({"owner", "admin", "viewer", "tenant-admin"}),
        reach="own",
        asks=AuditPage,
    ),
)
