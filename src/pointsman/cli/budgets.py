"""`pointsman budgets`: what is limited, how far it is used, and limits kept in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, get_args

import click

from pointsman.access import audit
from pointsman.access.principal import EVERYTHING
from pointsman.access.rules import beside, found_rule, remove_rule, rules, set_rule
from pointsman.access.shaping import shaped
from pointsman.access.standing import accounts, released
from pointsman.budgets.check import check
from pointsman.cli.store import Desk, opened, print_fields, print_table, with_store
from pointsman.config.schema_money import BudgetBlock, RateBlock
from pointsman.domain.budgets import SCOPES, AtCap, Budget
from pointsman.domain.content import Json, JsonObject
from pointsman.domain.money import format_usd, to_usd
from pointsman.domain.windows import Period
from pointsman.errors import NotFound

_RATES: Final = ("requests_per_minute", "tokens_per_minute", "max_in_flight", "usd_per_minute")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, amounts in nano-USD.")


@click.group(epilog="Example: pointsman budgets set web --scope team --match web --limit-usd 50")
def budgets() -> None:
    """Show limits and how far they are used; keep limits in the store.

    Limits of the configuration file and of the store count side by side; of two with one name the
    file's does. Works on the ledger's store, beside running servers, which go by a change within
    two seconds.

    Exit status: 0, 1 where something is refused, not there or not sound, 2 for wrong usage.
    """


@budgets.command(name="list", epilog="Example: pointsman budgets list --json")
@with_store
@_as_json
def list_(config: Path, ledger: Path | None, as_json: bool) -> None:
    """List all limits that count, of the file and of the store, and how far they are used.

    What is leased is in the hands of workers, to be spent or given back. Rates are counted by the
    workers, not here.
    """
    with opened(config, ledger) as desk:
        found = _limits(desk)
        used = [each.told() for each in accounts(desk.database, desk.who, desk.house)]
    if as_json:
        click.echo(json.dumps({"limits": found, "accounts": used}, indent=2))
        return
    heads = ("name", "from", "scope", "limit", "window", "at_cap", "tenant")
    rows = [[each.get(head) for head in heads] for each in found]
    print_table(heads, rows, "No limits. Set one with `pointsman budgets set NAME`.")
    if used:
        click.echo()
        parts = ("budget", "subject", "spent", "leased", "suspense", "over", "left", "until")
        print_table(parts, [[_amount(each, head) for head in parts] for each in used], "")


@budgets.command(epilog="Example: pointsman budgets show web-team")
@click.argument("name")
@with_store
@_as_json
def show(config: Path, ledger: Path | None, as_json: bool, name: str) -> None:
    """Show one limit."""
    with opened(config, ledger) as desk:
        found = [each for each in _limits(desk) if each["name"] == name]
        if not found:
            found = [found_rule(desk.database, EVERYTHING, name).told()]
        if as_json:
            click.echo(json.dumps(found[0], indent=2))
        else:
            print_fields(found[0])


@budgets.command(
    name="set",
    epilog="Example: pointsman budgets set slow --scope key --match web --requests-per-minute 60",
)
@click.argument("name")
@click.option("--scope", required=True, type=click.Choice(SCOPES), help="Whose use counts.")
@click.option("--match", multiple=True, help="Only these have the limit; repeat. Default: all.")
@click.option("--tag", help="With --scope tag, the tag's name.")
@click.option("--tenant", help="Count only this tenant's; NAME may then be TENANT/NAME.")
@click.option("--limit-usd", type=float, help="Money: the most that may be spent in a window.")
@click.option("--window", type=click.Choice(get_args(Period)), help="Of money; default month.")
@click.option("--rolling", is_flag=True, help="Look back by the window's length.")
@click.option("--timezone", help="Where days begin, such as Europe/Berlin; default UTC.")
@click.option("--mode", type=click.Choice(["strict", "tight"]), help="Default strict.")
@click.option("--requests-per-minute", type=int, help="A rate; these four may be combined.")
@click.option("--tokens-per-minute", type=int)
@click.option("--max-in-flight", type=int)
@click.option("--usd-per-minute", type=float)
@click.option("--at-cap", type=click.Choice(get_args(AtCap)), help="Default reject.")
@click.option("--queue-s", type=float, help="With --at-cap queue, the longest wait.")
@click.option("--alert-at", multiple=True, type=float, help="A share of the limit; repeat.")
@with_store
@_as_json
def set_(config: Path, ledger: Path | None, as_json: bool, **options: Any) -> None:
    """Keep a limit in the store, in the place of one of the same name.

    It is a budget with --limit-usd, and a rate with one of the four rates. It counts what is
    spent already.
    """
    said = {name: value for name, value in options.items() if value not in (None, (), False)}
    is_rate = any(name in said for name in _RATES)
    if is_rate == ("limit_usd" in said):
        raise click.UsageError("a budget has --limit-usd, a rate has others; give either")
    block = shaped(RateBlock if is_rate else BudgetBlock, said)
    with opened(config, ledger) as desk:
        found = set_rule(desk.database, desk.who, block, desk.house).told()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_fields(found)


@budgets.command(epilog="Example: pointsman budgets remove web-team")
@click.argument("name")
@with_store
def remove(config: Path, ledger: Path | None, name: str) -> None:
    """Remove a limit from the store; what it counted stays in the ledger."""
    with opened(config, ledger) as desk:
        if name in desk.house.budgets:
            raise NotFound(f"{name} stands in {config}: remove it there")
        remove_rule(desk.database, desk.who, name)
    click.echo(f"removed {name}")


@budgets.command(epilog="Example: pointsman budgets verify && echo sound")
@with_store
@_as_json
def verify(config: Path, ledger: Path | None, as_json: bool) -> None:
    """Check that the books are sound: every chain of hashes whole, every count what it sums up."""
    with opened(config, ledger) as desk:
        faults = _faults(desk)
    if as_json:
        click.echo(json.dumps({"sound": not faults, "faults": faults}, indent=2))
    else:
        click.echo("\n".join(faults) or "sound")
    if faults:
        raise SystemExit(1)


def _faults(desk: Desk) -> list[str]:
    broken = audit.broken_at(desk.database)
    told = [] if broken is None else [f"audit: row {broken} is not as it was written, or missing"]
    kept = [budget for rule in rules(desk.database, EVERYTHING) for budget in rule.budgets()]
    limits = beside(desk.settings.budgets, kept)
    return [*told, *(f"{each.invariant}: {each.what}" for each in check(desk.database, limits))]


@budgets.command(epilog="Example: pointsman budgets release team-month")
@click.argument("budget", required=False)
@click.option("--worker", help="Only what this worker had.")
@with_store
def release(config: Path, ledger: Path | None, budget: str | None, worker: str | None) -> None:
    """Give back what is in suspense: leased to workers whose logs nobody will ever read.

    Only you can know that nothing more of it was spent, by your providers' bills for instance.
    """
    with opened(config, ledger) as desk:
        freed = released(desk.database, desk.who, budget, worker)
    click.echo(f"released {freed} nano-USD ({format_usd(freed)})")


def _amount(account: JsonObject, head: str) -> object:
    value = account[head]
    is_money = account["unit"] == "nano_usd" and isinstance(value, int)
    return format_usd(int(str(value))) if is_money else value


def _limits(desk: Desk) -> list[JsonObject]:
    kept = [budget for rule in rules(desk.database, EVERYTHING) for budget in rule.budgets()]
    file = {budget.name for budget in desk.settings.budgets}
    return [
        _told(budget, "file" if budget.name in file else "store")
        for budget in beside(desk.settings.budgets, kept)
    ]


def _told(budget: Budget, source: str) -> JsonObject:
    is_money = budget.unit == "nano_usd"
    found: JsonObject = {
        "name": budget.name,
        "from": source,
        "scope": f"tag {budget.tag}" if budget.scope == "tag" else budget.scope,
        "limit": format_usd(budget.limit) if is_money else f"{budget.limit} {_UNITS[budget.unit]}",
        "unit": budget.unit,
        "limit_exact": budget.limit,
        "window": "" if budget.unit == "at_once" else str(budget.window),
        "match": None if budget.match is None else list[Json](sorted(budget.match)),
        "mode": "strict" if budget.strict else "tight",
        "at_cap": budget.at_cap,
        "tenant": budget.tenant,
    }
    if is_money:
        found["limit_usd"] = f"{to_usd(budget.limit):f}"
    return found


_UNITS: Final = {"requests": "requests", "tokens": "tokens", "at_once": "at once"}
