"""`pointsman report export` and `reconcile`: files out, and files in."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pointsman.cli.periods import FORMS
from pointsman.cli.report_desk import (
    Asked,
    as_json_option,
    moment_of,
    over_ledger,
    pairs,
    selection_of,
    with_selection,
)
from pointsman.cli.report_shown import DIFFERENCES, table
from pointsman.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from pointsman.reports.tables import Kind, Row


@click.command(
    epilog="Example: pointsman report export --what focus --since 2026-10-01 --until 2026-11-01 "
    "--to october.csv"
)
@click.option(
    "--what",
    type=click.Choice(["lines", "attempts", "focus"]),
    default="lines",
    show_default=True,
    help="The lines of a report, every attempt, or a FOCUS 1.2 data set by the day.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file, as Parquet where it ends in .parquet. Default: CSV to standard output.",
)
@click.option("--account", default="pointsman", show_default=True, help="FOCUS' BillingAccountId.")
@with_selection
@over_ledger
def export(asked: Asked, what: str, to: Path | None, account: str, **selection: Any) -> None:
    """Write CSV or Parquet. Amounts are exact; cells that are formulas are defused in CSV."""
    from pointsman.reports import api, report
    from pointsman.reports.attempts import attempts
    from pointsman.reports.exports import ATTEMPT_COLUMNS, attempt_rows, columns_for, line_rows
    from pointsman.reports.focus import focus_question, focus_rows, kinds
    from pointsman.reports.tables import write_csv, write_parquet

    query = api.Selection(**selection_of(selection))
    question = api.question_of(asked.whose, query, asked.now)
    since, until = question.since or 0.0, question.until or asked.now + 1
    columns: Mapping[str, Kind]
    rows: Iterator[Row]
    if what == "attempts":
        if question.filters:
            raise InvalidRequest("attempts are exported whole", param="where")
        columns = ATTEMPT_COLUMNS
        rows = attempt_rows(attempts(asked.database, asked.whose, since, until))
    elif what == "focus":
        midnight = -(-until // 86_400) * 86_400
        wanted = focus_question(asked.whose, since, midnight, question.filters)
        columns, rows = kinds(), focus_rows(report(asked.database, wanted), account)
    else:
        columns = columns_for(question)
        rows = line_rows(question, report(asked.database, question))
    if to is None:
        write_csv(sys.stdout, columns, rows)
    elif to.suffix == ".parquet":
        click.echo(f"{write_parquet(to, columns, rows):,} rows in {to}.", err=True)
    else:
        with to.open("w", encoding="utf-8", newline="") as target:
            click.echo(f"{write_csv(target, columns, rows):,} rows in {to}.", err=True)


@click.command(
    epilog="Example: pointsman report reconcile october.csv --provider openai --tolerance 0.005"
)
@click.argument("invoice", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--provider", help="Compare with this provider's attempts only.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    help="Share by which amounts may differ. Default 0.01; 0 for an invoice by attempt.",
)
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Of another file: day, model, attempt, input, output, cached, requests, cost_usd or "
    "cost_nano; several columns of tokens are joined by +.",
)
@click.option("--rename", multiple=True, metavar="THEIRS=OURS", help="A model's name; repeat.")
@click.option("--since", help=f"Of an invoice by attempt, where it begins: {FORMS}.")
@click.option("--until", help="Where it ends, itself left out.")
@click.option("--book", "is_booked", is_flag=True, help="Book the differences beside the ledger.")
@as_json_option
@over_ledger
def reconcile(
    asked: Asked,
    as_json: bool,
    invoice: Path,
    provider: str | None,
    tolerance: float | None,
    columns: tuple[str, ...],
    rename: tuple[str, ...],
    since: str | None,
    until: str | None,
    is_booked: bool,
) -> None:
    """Compare the ledger with a provider's invoice or usage file (CSV).

    Known by their columns: OpenAI's usage and costs, Anthropic's usage and cost, and files with an
    attempt_id. Exit status: 0 where both agree or differences were booked, 1 where they differ.
    """
    import msgspec

    from pointsman.reports.invoice import items, mapped
    from pointsman.reports.reconcile import Tolerance, book
    from pointsman.reports.reconcile import reconcile as compared

    if is_booked and asked.is_copy:
        raise ConfigError(
            "this ledger is of an older form or may only be read, so nothing is booked in it; "
            "let `pointsman serve` of this version open it once"
        )
    shape = mapped(pairs(columns, "--map")) if columns else None
    with invoice.open(encoding="utf-8-sig", newline="") as text:
        found = compared(
            asked.database,
            asked.whose,
            items(text, shape),
            provider=provider,
            tolerance=None if tolerance is None else Tolerance(share=tolerance),
            renamed=pairs(rename, "--rename"),
            since=moment_of("--since", since, asked.now),
            until=moment_of("--until", until, asked.now),
        )
    source = f"{invoice.name} {hashlib.sha256(invoice.read_bytes()).hexdigest()[:16]}"
    booked = book(asked.database, found, source) if is_booked else []
    odd = [each for each in found.differences if each.verdict != "agrees"]
    if as_json:
        told = {
            "agrees": found.is_agreed,
            "compared": len(found.differences),
            "difference_nano_usd": found.nano,
            "differences": [msgspec.to_builtins(each) for each in odd],
            "twice": found.twice,
            "booked": len(booked),
        }
        click.echo(json.dumps(told, indent=2))
    else:
        rows = [{**msgspec.to_builtins(each), "nano": each.nano} for each in odd]
        table(DIFFERENCES, rows, f"All of {len(found.differences):,} agree.")
        if found.twice:
            click.echo(f"Billed more than once: {', '.join(found.twice[:10])}.")
        if is_booked:
            click.echo(f"Booked: {len(booked):,} under {source!r}.")
    if not found.is_agreed and not is_booked:
        click.get_current_context().exit(1)
