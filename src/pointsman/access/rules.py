"""Budgets and rates that are kept in the store, beside those of the configuration file.

They say the same as `budgets` and `rates` do there, and where both have one of the same name the
file's counts: who can change a store cannot undo what stands in the file. A tenant's are named
`tenant/name` and count that tenant's requests only. A tenant's admin may change those that the
tenant made itself; one that the house made for the tenant is a bound, and not theirs to move.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from pointsman.access import audit
from pointsman.access.house import ExceedsGranter, House, Taken
from pointsman.access.principal import Principal, Sight
from pointsman.access.records import day
from pointsman.config.desk import Desk
from pointsman.config.known import shipped
from pointsman.config.resolve_money import resolve_budgets
from pointsman.config.schema import ConfigFile
from pointsman.config.schema_money import BudgetBlock, RateBlock
from pointsman.config.yaml_marks import Node
from pointsman.domain.budgets import Budget
from pointsman.domain.content import JsonObject
from pointsman.errors import InvalidRequest, NotFound
from pointsman.store.database import Database

RuleBlock: TypeAlias = BudgetBlock | RateBlock

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class _Kept(msgspec.Struct, frozen=True):
    """A rule's record: which of the two kinds of block it is."""

    budget: BudgetBlock | None = None
    rate: RateBlock | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is kept. `is_own`: its tenant made it."""

    name: str
    tenant: str | None
    is_own: bool
    block: RuleBlock
    made_at: float
    made_by: str

    @property
    def kind(self) -> Literal["budget", "rate"]:
        return "budget" if isinstance(self.block, BudgetBlock) else "rate"

    def budgets(self) -> tuple[Budget, ...]:
        return tuple(replace(each, tenant=self.tenant) for each in resolved(self.block))

    def told(self) -> JsonObject:
        body: JsonObject = msgspec.to_builtins(self.block)
        return {
            **body,
            "kind": self.kind,
            "tenant": self.tenant,
            "made_by": self.made_by,
            "made_at": day(self.made_at),
        }


def resolved(block: RuleBlock) -> tuple[Budget, ...]:
    """What a block comes to, by the very rules of the file. Raises InvalidRequest.

    Whose it is, is put in later: a file leaves that of a named budget to its keys.
    """
    block = replace(block, tenant=None)
    desk = Desk(Node(None, 1), {}, Path(), shipped())
    is_budget = isinstance(block, BudgetBlock)
    file = ConfigFile(
        deployments=(),
        budgets=(block,) if isinstance(block, BudgetBlock) else (),
        rates=(block,) if isinstance(block, RateBlock) else (),
    )
    found = resolve_budgets(file, desk)
    if desk.problems:
        problem = desk.problems[0]
        field = problem.path.removeprefix("budgets[0]" if is_budget else "rates[0]").lstrip(".")
        remedy = f"; {problem.remedy}" if problem.remedy else ""
        told = f"{field}: " if field else ""
        raise InvalidRequest(f"{told}{problem.what}{remedy}", param=field or None)
    return found


def rules(database: Database, sight: Sight) -> list[Rule]:
    """The rules that may be seen: a tenant sees those that count for it alone."""
    return [
        _rule(row)
        for row in database.rows(
            "SELECT name, tenant, own, record, made_at, made_by FROM access_rule "
            "WHERE (? = 1 OR tenant = ?) ORDER BY name",
            sight.sql,
        )
    ]


def found_rule(database: Database, sight: Sight, name: str) -> Rule:
    rows = database.rows(
        "SELECT name, tenant, own, record, made_at, made_by FROM access_rule "
        "WHERE (? = 1 OR tenant = ?) AND name = ?",
        (*sight.sql, name),
    )
    if not rows:
        raise NotFound(f"there is no stored budget or rate {name[:200]!r}")
    return _rule(rows[0])


def set_rule(database: Database, who: Principal, block: RuleBlock, house: House) -> Rule:
    """Keep a rule, in the place of one of the same name; its limit counts from the next second
    on, also for what is spent already."""
    tenant = who.tenant if who.is_tenants else block.tenant
    if who.is_tenants and block.tenant not in (None, tenant):
        raise ExceedsGranter(f"tenant: only {tenant}'s limits are yours to set", param="tenant")
    _check_name(block.name, tenant, who)
    for budget in resolved(block):
        if budget.name in house.budgets:
            raise Taken(f"name: the configuration file has {budget.name}, which counts")
    block = replace(block, tenant=tenant)
    with database.transaction():
        audit.lock(database)
        was = _there(database, block.name)
        if was is not None and (who.is_tenants and not (was.is_own and who.sight.sees(was.tenant))):
            raise ExceedsGranter(f"{block.name} was set for {tenant}, not by it")
        if was is not None and was.tenant != tenant:
            raise Taken(f"tenant: {block.name} is there for another; remove it first")
        rule = Rule(block.name, tenant, who.is_tenants, block, database.now(), who.name)
        database.run(
            "INSERT INTO access_rule (name, tenant, own, record, made_at, made_by) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET own = excluded.own, "
            "record = excluded.record, made_at = excluded.made_at, made_by = excluded.made_by",
            (rule.name, tenant, int(rule.is_own), _text(block), rule.made_at, rule.made_by),
        )
        _note(database, who, "rule.set", was, rule)
    return rule


def remove_rule(database: Database, who: Principal, name: str) -> Rule:
    """Remove a rule: from the next second on nothing is limited by it."""
    with database.transaction():
        audit.lock(database)
        rule = found_rule(database, who.sight, name)
        if who.is_tenants and not rule.is_own:
            raise ExceedsGranter(f"{name} was set for {rule.tenant}, not by it")
        database.run("DELETE FROM access_rule WHERE name = ?", (name,))
        _note(database, who, "rule.remove", rule, None)
    return rule


def named_budgets(database: Database) -> dict[str, str | None]:
    """Names of budgets of scope `named`, each with its tenant."""
    return {
        name: rule.tenant
        for row in database.rows(
            "SELECT name, tenant, own, record, made_at, made_by FROM access_rule"
        )
        if (rule := _rule(row)).block.scope == "named"
        for name in (budget.name for budget in rule.budgets())
    }


def beside(file: Sequence[Budget], stored: Iterable[Budget]) -> tuple[Budget, ...]:
    """All limits that count: the file's, and those of the store whose names it does not have."""
    names = {budget.name for budget in file}
    return (*file, *(budget for budget in stored if budget.name not in names))


def _check_name(name: str, tenant: str | None, who: Principal) -> None:
    """A tenant's rules cannot have, nor find out, the names of others."""
    if who.is_tenants and not name.startswith(f"{tenant}/"):
        raise InvalidRequest(
            f"name: a tenant's begin with its own; write {tenant}/{name.rpartition('/')[2]}"[:300],
            param="name",
        )
    own = name.removeprefix(f"{tenant}/") if tenant is not None else name
    if "/" in own:
        raise InvalidRequest("name: before a slash stands its tenant, in `tenant`", param="name")
    # Limits that come with keys and rates have a space in theirs, and must not be met.
    if _NAME.fullmatch(own) is None:
        raise InvalidRequest("name: letters, digits, dots, dashes, underscores", param="name")


def _there(database: Database, name: str) -> Rule | None:
    rows = database.rows(
        "SELECT name, tenant, own, record, made_at, made_by FROM access_rule WHERE name = ?",
        (name,),
    )
    return _rule(rows[0]) if rows else None


def _rule(row: tuple[Any, ...]) -> Rule:
    name, tenant, own, record, made_at, made_by = row
    kept = msgspec.json.decode(record, type=_Kept)
    block = kept.budget or kept.rate
    assert block is not None
    return Rule(name, tenant, bool(own), block, made_at, made_by)


def _note(
    database: Database, who: Principal, action: str, was: Rule | None, became: Rule | None
) -> None:
    either = became or was
    assert either is not None
    audit.note(
        database,
        who,
        action,
        either.name,
        tenant=either.tenant,
        was=None if was is None else was.told(),
        became=None if became is None else became.told(),
    )


def _text(block: RuleBlock) -> str:
    is_budget = isinstance(block, BudgetBlock)
    return msgspec.json.encode({"budget" if is_budget else "rate": block}).decode()
