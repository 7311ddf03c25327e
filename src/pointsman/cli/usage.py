"""`pointsman usage`: what was used and spent, from the ledger, beside a running server.

The figures are those of `pointsman report`; this is the one table that most people want of them.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pointsman.cli.periods import FORMS
from pointsman.cli.report_desk import ledger_options, moment_of, opened, where_option
from pointsman.domain.money import format_usd, to_usd

if TYPE_CHECKING:
    from pointsman.reports import Line


@click.command(
    epilog="Example: pointsman usage --by model,app --since 7d --where team=search --bucket day"
)
@click.option(
    "--by",
    "dimensions",
    default="model",
    show_default=True,
    help="What to group by, with commas: model, deployment, provider, tier, route, user, app, "
    "team, tenant, key, operation, outcome, tag:NAME, and one of hour, day, week, month; "
    '"" for one total.',
)
@click.option("--since", help=f"From when, UTC: {FORMS}. Default: the beginning.")
@click.option("--until", help="Until when, in the same forms, itself left out. Default: now.")
@click.option(
    "--bucket",
    type=click.Choice(["hour", "day", "week", "month"]),
    help="A line for each period, UTC; weeks begin on Monday.",
)
@where_option
@ledger_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, amounts in nano-USD and USD.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, amounts in USD.")
def usage(
    dimensions: str,
    since: str | None,
    until: str | None,
    bucket: str | None,
    where: tuple[str, ...],
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Report requests, tokens, cost, savings and latency from the ledger.

    Cost and tokens are counted where they arose: an attempt that failed on one model is that
    model's, the request and its latency belong to the model that ended it. Latencies are within
    2.5 %.
    """
    from pointsman.reports import EVERYONE, Question, report

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other; choose one.")
    names = tuple(dict.fromkeys(name for part in dimensions.split(",") if (name := part.strip())))
    with opened(config, ledger, None) as asked:
        question = Question.of(
            EVERYONE,
            names,
            since=moment_of("--since", since, asked.now),
            until=moment_of("--until", until, asked.now),
            where=[_filter(text) for text in where],
            bucket=bucket,
        )
        lines = report(asked.database, question)
    heads = (*(("period",) if bucket else ()), *names)
    rows = [_Row(_labels(line, question.group_by, heads), line) for line in lines]
    if as_json:
        click.echo(json.dumps([as_object(row, heads) for row in rows], indent=2))
    elif as_csv:
        _print_csv(rows, heads)
    else:
        _print_table(rows, heads)


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(
            f"{text!r} is no DIMENSION=VALUE; write for instance app=support", param_hint="--where"
        )
    return name.strip(), value


# How a report is shown.


@dataclass(frozen=True, slots=True)
class _Row:
    """A line, and what stands before its numbers."""

    labels: tuple[str | None, ...]
    line: Line


def _labels(line: Line, group_by: Sequence[str], heads: Sequence[str]) -> tuple[str | None, ...]:
    """A line's label under each head. What is no dimension is the name of the period: `period`,
    or that of a bucket among the dimensions, such as `day`."""
    values = dict(zip(group_by, line.group, strict=True))
    return tuple(values.get(head, line.period) for head in heads)


@dataclass(frozen=True, slots=True)
class _Column:
    """A number of the table. `spare` is its place among those that a narrow terminal drops."""

    head: str
    show: Callable[[Line], str]
    is_summed: bool = True
    spare: int = 0


def _count(number: int) -> str:
    return f"{number:,}"


def _tokens(number: int) -> str:
    """Three digits are enough for the eye; JSON and CSV have them all."""
    if number < 10_000:
        return f"{number:,}"
    if number < 1_000_000:
        return f"{number / 1e3:.1f}k"
    if number < 1_000_000_000:
        return f"{number / 1e6:.2f}M"
    return f"{number / 1e9:,.2f}G"


def _usd(nano: int) -> str:
    return f"-{format_usd(-nano)}" if nano < 0 else format_usd(nano)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"


_P50, _P95 = 0, 1
"""Places of the quantiles that are shown, of those that a line has."""

_COLUMNS: tuple[_Column, ...] = (
    _Column("requests", lambda line: _count(line.requests)),
    _Column("errors", lambda line: _count(line.errors)),
    _Column("fallbacks", lambda line: _count(line.fallbacks), spare=5),
    _Column("hedges", lambda line: _count(line.hedges), spare=1),
    _Column("in tok", lambda line: _tokens(line.input), spare=6),
    _Column("cached", lambda line: _tokens(line.cached), spare=4),
    _Column("out tok", lambda line: _tokens(line.output), spare=7),
    _Column("cost", lambda line: _usd(line.cost_nano)),
    _Column("saved", lambda line: _usd(line.saved_nano)),
    _Column("p50 s", lambda line: _time(line.seconds[_P50]), is_summed=False, spare=3),
    _Column("p95 s", lambda line: _time(line.seconds[_P95]), is_summed=False, spare=2),
    _Column("ttft p50", lambda line: _time(line.ttft[_P50]), is_summed=False, spare=1),
)


def as_object(row: _Row, heads: Sequence[str]) -> dict[str, object]:
    """A line as JSON: its labels, every number by its unit, amounts also as decimal dollars."""
    line = row.line
    return {
        **dict(zip(heads, row.labels, strict=True)),
        "requests": line.requests,
        "errors": line.errors,
        "attempts": line.attempts,
        "fallbacks": line.fallbacks,
        "hedges": line.hedges,
        "input_tokens": line.input,
        "output_tokens": line.output,
        "cached_tokens": line.cached,
        "reasoning_tokens": line.reasoning,
        "cost_nano_usd": line.cost_nano,
        "cost_usd": f"{to_usd(line.cost_nano):f}",
        "unpriced_attempts": line.unpriced,
        "baseline_nano_usd": line.baseline_nano,
        "baseline_usd": f"{to_usd(line.baseline_nano):f}",
        "saved_nano_usd": line.saved_nano,
        "saved_usd": f"{to_usd(line.saved_nano):f}",
        "seconds_p50": line.seconds[_P50],
        "seconds_p95": line.seconds[_P95],
        "ttft_p50_seconds": line.ttft[_P50],
        "ttft_p95_seconds": line.ttft[_P95],
    }


def _print_csv(rows: Sequence[_Row], heads: Sequence[str]) -> None:
    from pointsman.reports import Line
    from pointsman.reports.tables import safe

    blank = as_object(_Row((None,) * len(heads), Line()), heads)
    fields = [name for name in blank if not name.endswith("_nano_usd")]
    writer = csv.DictWriter(sys.stdout, fields, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        # Names and tags are what callers wrote: a spreadsheet must not take them for formulas.
        labels = dict(zip(heads, map(safe, row.labels), strict=True))
        writer.writerow({**as_object(row, heads), **labels})


def _print_table(rows: Sequence[_Row], heads: Sequence[str]) -> None:
    from pointsman.reports import total

    if not rows:
        click.echo("No requests in this period. Try an earlier --since, or fewer --where.")
        return
    everything = total(row.line for row in rows)
    is_terminal = sys.stdout.isatty()
    labels = [[label or "-" for label in row.labels] for row in rows]
    width = shutil.get_terminal_size().columns if is_terminal else None
    widest = max((sum(map(len, each)) for each in labels), default=0)
    columns = _fitting([*(row.line for row in rows), everything], widest, width)
    lines = [
        [*label, *(c.show(row.line) for c in columns)]
        for label, row in zip(labels, rows, strict=True)
    ]
    sums = [c.show(everything) if c.is_summed else "" for c in columns]
    last = [*(["total", *[""] * (len(heads) - 1)] if heads else []), *sums]
    titles = [*heads, *(column.head for column in columns)]
    if is_terminal:
        _print_rich(titles, lines, last, labels=len(heads))
    else:
        _print_plain(titles, [*lines, last] if heads else lines, labels=len(heads))
    if everything.unpriced:
        click.echo(
            f"Attempts of unknown price, not in the cost: {everything.unpriced:,}. "
            "Give their deployments a `price`."
        )


def _fitting(lines: Sequence[Line], labels: int, width: int | None) -> list[_Column]:
    """The columns that fit beside labels of so many characters; a file takes them all."""
    columns = list(_COLUMNS)
    if width is None:
        return columns
    widths = {c.head: max(len(c.head), *(len(c.show(line)) for line in lines)) for c in columns}
    for spare in sorted((c for c in columns if c.spare), key=lambda c: c.spare):
        if labels + 8 + sum(widths[c.head] + 3 for c in columns) <= width:
            break
        columns.remove(spare)
    return columns


def _print_rich(
    titles: Sequence[str], lines: Sequence[Sequence[str]], last: Sequence[str], *, labels: int
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_footer=labels > 0, pad_edge=False)
    for index, (title, foot) in enumerate(zip(titles, last, strict=True)):
        right = index >= labels
        table.add_column(
            title,
            Text(foot),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",  # a name may go on in a second line, and is never cut
        )
    for line in lines:
        table.add_row(*map(Text, line))
    Console().print(table)


def _print_plain(titles: Sequence[str], lines: Sequence[Sequence[str]], *, labels: int) -> None:
    widths = [max(map(len, cells)) for cells in zip(titles, *lines, strict=True)]
    for line in (titles, *lines):
        cells = [
            cell.ljust(width) if index < labels else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
