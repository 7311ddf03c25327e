"""`pointsman report`: what was spent, how it goes, why, and whether invoices agree.

The figures are the admin API's and the library's: `pointsman.reports` on the ledger's store.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import click

from pointsman.cli.periods import FORMS
from pointsman.cli.report_desk import (
    Asked,
    context_of,
    joined,
    selection_of,
    told,
    where_option,
    with_selection,
)
from pointsman.cli.report_files import export, reconcile
from pointsman.cli.report_shown import AHEAD, DRIVERS, LINES, SAVINGS, lines_of, table
from pointsman.domain.budgets import Budget
from pointsman.domain.content import JsonObject
from pointsman.domain.money import format_usd
from pointsman.errors import InvalidRequest


@click.group(epilog="Example: pointsman report lines --by team,model --since month --bucket day")
def report() -> None:
    """Report what was spent, how it goes, why it changed, and whether invoices agree.

    Reads the ledger beside running servers, exact to the last entry that was written. Quantiles
    of latency are within 2.5 %.
    """


@report.command(epilog="Example: pointsman report lines --by tag:feature,model --since 30d")
@with_selection
@told(partial(lines_of, LINES))
def lines(asked: Asked, **selection: Any) -> JsonObject:
    """Add up requests, tokens, cost, savings and latency by any dimensions."""
    from pointsman.reports import api

    return api.lines(context_of(asked), api.Selection(**selection_of(selection)))


def _show_savings(found: Any) -> None:
    lines_of(SAVINGS, found)
    click.echo(f"Recomputed for {found['baseline']} at {found['prices']}.")


@report.command(epilog="Example: pointsman report savings --baseline always-frontier --since month")
@click.option("--baseline", required=True, help="A deployment's name, or always-frontier.")
@with_selection
@told(_show_savings)
def savings(asked: Asked, baseline: str, **selection: Any) -> JsonObject:
    """Compare with what a stated baseline would have cost, at today's price (needs --config)."""
    from pointsman.config.load import load
    from pointsman.reports import api

    if asked.config is None:
        raise click.UsageError("--config is needed: prices are in the configuration.")
    deployments = load(asked.config, os.environ).deployments
    query = api.SavingsQuery(baseline=baseline, **selection_of(selection))
    return api.saved(context_of(asked, deployments), query)


def _show_trend(found: Any) -> None:
    for shift in found["shifts"]:
        before, after = format_usd(shift["before_nano"]), format_usd(shift["after_nano"])
        click.echo(f"Since {shift['period']}: {after} instead of {before} a {found['step']}.")
    table(AHEAD, found["ahead"], "Too few periods with a cost to foretell any.")
    if found["total"]:
        low, high = found["total"]["low_nano"], found["total"]["high_nano"]
        click.echo(f"Together {format_usd(low)} to {format_usd(high)}, with 80 %.")


@report.command(epilog="Example: pointsman report trend --where app=search --ahead 30")
@click.option("--step", type=click.Choice(["hour", "day"]), default="day", show_default=True)
@click.option("--ahead", type=int, default=14, show_default=True, help="How many to foretell.")
@click.option("--since", help=f"From when: {FORMS}. Default: 120 days or 14 days of hours.")
@click.option("--timezone", default="UTC", show_default=True, help="Where days begin.")
@where_option
@told(_show_trend)
def trend(asked: Asked, where: tuple[str, ...], **asks: Any) -> JsonObject:
    """Show season, changes of level, and a forecast that holds with 80 %."""
    from pointsman.reports import api

    return api.trends(context_of(asked), api.TrendQuery(where=joined(where), **asks))


def _show_drivers(found: Any) -> None:
    rows = [{**part, **part["effects"]} for part in found["parts"]]
    total = {"group": ["total"], **found, **found["effects"]}
    table(DRIVERS, [*rows, total] if rows else [], "Nothing in either period.")


@report.command(
    epilog="Example: pointsman report drivers --before 2026-10-01 --since 2026-11-01 --by model"
)
@click.option("--before", required=True, help="Where the earlier period begins.")
@click.option("--since", required=True, help="Where the later begins, and the earlier ends.")
@click.option("--until", help="Where the later ends. Default: now.")
@click.option("--before-until", help="Where the earlier ends, if not at --since.")
@click.option("--by", default="model", show_default=True, help="What to group by.")
@where_option
@told(_show_drivers)
def drivers(asked: Asked, where: tuple[str, ...], **asks: Any) -> JsonObject:
    """Explain a difference: volume, mix, length and price, which add up to it exactly."""
    from pointsman.reports import api

    return api.driven(context_of(asked), api.DriversQuery(where=joined(where), **asks))


def _show_runway(found: Any) -> None:
    from pointsman.reports.trend import shown

    spent, most = format_usd(found["spent_nano"]), format_usd(found["limit_nano"])
    click.echo(f"{spent} of {most} are spent; the window ends {shown(found['window_ends'])}.")
    if found["likelihood"] is None:
        click.echo("Too few periods with a cost to foretell any.")
        return
    click.echo(f"Used up before that: {found['likelihood']:.0%} likely.")
    if found["likelihood"]:
        early, late = shown(found["early"]), shown(found["late"])
        click.echo(f"Between {early or 'later'} and {late or 'after the window'}, with 80 %.")


@report.command(
    epilog="Example: pointsman report runway --budget team-month --subject north/search "
    "-c pointsman.yaml"
)
@click.option("--limit-usd", help="A limit, in USD.")
@click.option("--budget", help="Or a budget of the configuration, with its limit and window.")
@click.option(
    "--subject",
    default="",
    help="Whose account of it, as `pointsman budgets` lists it: TENANT/TEAM, a model.",
)
@click.option(
    "--window",
    type=click.Choice(["hour", "day", "week", "month"]),
    default="month",
    show_default=True,
)
@click.option("--timezone", default="UTC", show_default=True, help="Where days begin.")
@where_option
@told(_show_runway)
def runway(
    asked: Asked,
    limit_usd: str | None,
    budget: str | None,
    subject: str,
    where: tuple[str, ...],
    **asks: Any,
) -> JsonObject:
    """Foretell when a limit is used up, within its window."""
    import msgspec

    from pointsman.reports import api
    from pointsman.reports.trend import filters_of
    from pointsman.reports.trend import runway as foretold

    if (limit_usd is None) == (budget is None):
        raise click.UsageError("--limit-usd or --budget is needed, and not both.")
    if budget is None:
        query = api.RunwayQuery(limit_usd=limit_usd or "", where=joined(where), **asks)
        return api.lasting(context_of(asked), query)
    limit = _budget(asked.config, budget)
    filters = (*filters_of(limit, subject), *api.filters(joined(where)))
    found: JsonObject = msgspec.to_builtins(
        foretold(asked.database, asked.whose, asked.now, limit.limit, limit.window, where=filters)
    )
    return found


def _budget(config: Path | None, name: str) -> Budget:
    from pointsman.config.load import load

    if config is None:
        raise click.UsageError("--config is needed: budgets are in the configuration.")
    budgets = {each.name: each for each in load(config, os.environ).budgets}
    if name not in budgets:
        raise InvalidRequest(
            f"no budget {name!r}: choose of {', '.join(sorted(budgets)) or 'none'}", param="budget"
        )
    return budgets[name]


report.add_command(export)
report.add_command(reconcile)
