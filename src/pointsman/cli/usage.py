"""`pointsman usage`: what was used and spent, from the ledger's file, beside a running server."""

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

from pointsman.cli.periods import FORMS, moment
from pointsman.clock import SystemClock
from pointsman.domain.money import format_usd, to_usd
from pointsman.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from pointsman.ledger.reports import Bucket, UsageRow

DEFAULT_LEDGER = Path("pointsman.db")


@click.command(
    epilog="Example: pointsman usage --by model,app --since 7d --where team=search --bucket day"
)
@click.option(
    "--by",
    "dimensions",
    default="model",
    show_default=True,
    help="What to group by, with commas: model, deployment, provider, tier, route, user, app, "
    'team, tenant, key, day, outcome, tag:NAME; "" for one total.',
)
@click.option("--since", help=f"From when, UTC: {FORMS}. Default: the beginning.")
@click.option("--until", help="Until when, in the same forms, itself left out. Default: now.")
@click.option(
    "--bucket",
    type=click.Choice(["hour", "day", "week", "month"]),
    help="A line for each period, UTC; weeks begin on Monday.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="DIMENSION=VALUE",
    help="Only these; repeat for more. Two values of one dimension: either. Empty: has none.",
)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="A file with ledger.path.")
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    envvar="POINTSMAN_LEDGER",
    help="The ledger's file. Default: the configuration's, else ./pointsman.db.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, amounts in nano-USD and USD.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, amounts in USD.")
def usage(
    dimensions: str,
    since: str | None,
    until: str | None,
    bucket: Bucket | None,
    where: tuple[str, ...],
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Report requests, tokens, cost, savings and latency from the ledger.

    Cost and tokens are counted where they arose: an attempt that failed on one model is that
    model's, the request and its latency belong to the model that ended it.
    """
    from pointsman.ledger.reports import usage_report

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other; choose one.")
    now = SystemClock.wall()
    group_by = tuple(name for part in dimensions.split(",") if (name := part.strip()))
    try:
        rows = usage_report(
            ledger_file(ledger, config),
            group_by,
            _moment("--since", since, now),
            _moment("--until", until, now),
            [_filter(text) for text in where],
            bucket,
        )
    except InvalidRequest as error:
        option = {"group_by": "--by", "filters": "--where"}.get(error.param or "")
        raise click.BadParameter(error.message, param_hint=option) from None
    heads = (*(("period",) if bucket else ()), *group_by)
    if as_json:
        click.echo(json.dumps([as_object(row, heads) for row in rows], indent=2))
    elif as_csv:
        _print_csv(rows, heads)
    else:
        _print_table(rows, heads)


def ledger_file(ledger: Path | None, config: Path | None) -> Path:
    """Find the ledger: named, or by the configuration's `ledger.path`, or in this directory.

    The configuration is read for this one line: no key it refers to need be there.
    """
    if ledger is not None:
        return ledger
    if config is None:
        return DEFAULT_LEDGER
    from pointsman.config.yaml_marks import YamlProblem, read_yaml

    try:
        root, _ = read_yaml(config.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, YamlProblem) as error:
        raise ConfigError(f"--config {config}: cannot be read: {error}") from error
    block = root.value.get("ledger") if isinstance(root.value, dict) else None
    path = block.value.get("path") if block and isinstance(block.value, dict) else None
    if path is None or not isinstance(path.value, str):
        raise ConfigError(
            f"--config {config}: it has no ledger.path, so nothing is kept on disk; "
            "add `ledger: {path: pointsman.db}`, or name a file with --ledger"
        )
    return config.parent / Path(path.value).expanduser()


def _moment(option: str, text: str | None, now: float) -> float | None:
    try:
        return None if text is None else moment(text, now)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(
            f"{text!r} is no DIMENSION=VALUE; write for instance app=support", param_hint="--where"
        )
    return name.strip(), value


# How a report is shown.


@dataclass(frozen=True, slots=True)
class _Column:
    """A number of the table. `spare` is its place among those that a narrow terminal drops."""

    head: str
    show: Callable[[UsageRow], str]
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


_COLUMNS: tuple[_Column, ...] = (
    _Column("requests", lambda row: _count(row.requests)),
    _Column("errors", lambda row: _count(row.errors)),
    _Column("fallbacks", lambda row: _count(row.fallbacks), spare=5),
    _Column("hedges", lambda row: _count(row.hedges), spare=1),
    _Column("in tok", lambda row: _tokens(row.input_tokens), spare=6),
    _Column("cached", lambda row: _tokens(row.cached_tokens), spare=4),
    _Column("out tok", lambda row: _tokens(row.output_tokens), spare=7),
    _Column("cost", lambda row: _usd(row.cost_nano)),
    _Column("saved", lambda row: _usd(row.saved_nano)),
    _Column("p50 s", lambda row: _time(row.seconds_p50), is_summed=False, spare=3),
    _Column("p95 s", lambda row: _time(row.seconds_p95), is_summed=False, spare=2),
    _Column("ttft p50", lambda row: _time(row.ttft_p50), is_summed=False, spare=1),
)


def total(rows: Sequence[UsageRow]) -> UsageRow:
    """Add up the lines of a report; percentiles do not add up and are left out."""
    from pointsman.ledger.reports import UsageRow

    names = (
        *("requests", "errors", "attempts", "fallbacks", "input_tokens", "output_tokens"),
        *("cached_tokens", "reasoning_tokens", "cost_nano", "unpriced", "baseline_nano"),
        *("saved_nano", "hedges"),
    )
    return UsageRow(**{name: sum(getattr(row, name) for row in rows) for name in names})


def _labels(row: UsageRow, heads: Sequence[str]) -> list[str | None]:
    return [row.period, *row.group] if heads[:1] == ("period",) else [*row.group]


def as_object(row: UsageRow, heads: Sequence[str]) -> dict[str, object]:
    """A line as JSON: its labels, every number by its unit, amounts also as decimal dollars."""
    return {
        **dict(zip(heads, _labels(row, heads), strict=True)),
        "requests": row.requests,
        "errors": row.errors,
        "attempts": row.attempts,
        "fallbacks": row.fallbacks,
        "hedges": row.hedges,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost_nano_usd": row.cost_nano,
        "cost_usd": f"{to_usd(row.cost_nano):f}",
        "unpriced_attempts": row.unpriced,
        "baseline_nano_usd": row.baseline_nano,
        "baseline_usd": f"{to_usd(row.baseline_nano):f}",
        "saved_nano_usd": row.saved_nano,
        "saved_usd": f"{to_usd(row.saved_nano):f}",
        "seconds_p50": row.seconds_p50,
        "seconds_p95": row.seconds_p95,
        "ttft_p50_seconds": row.ttft_p50,
        "ttft_p95_seconds": row.ttft_p95,
    }


def _print_csv(rows: Sequence[UsageRow], heads: Sequence[str]) -> None:
    from pointsman.ledger.reports import UsageRow
    from pointsman.reports.tables import safe

    blank = as_object(UsageRow(group=(None,) * (len(heads) - (heads[:1] == ("period",)))), heads)
    fields = [name for name in blank if not name.endswith("_nano_usd")]
    writer = csv.DictWriter(sys.stdout, fields, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        # Names and tags are what callers wrote: a spreadsheet must not take them for formulas.
        labels = dict(zip(heads, map(safe, _labels(row, heads)), strict=True))
        writer.writerow({**as_object(row, heads), **labels})


def _print_table(rows: Sequence[UsageRow], heads: Sequence[str]) -> None:
    if not rows:
        click.echo("No requests in this period. Try an earlier --since, or fewer --where.")
        return
    everything = total(rows)
    is_terminal = sys.stdout.isatty()
    labels = [[label or "-" for label in _labels(row, heads)] for row in rows]
    width = shutil.get_terminal_size().columns if is_terminal else None
    columns = _fitting(rows, max((sum(map(len, each)) for each in labels), default=0), width)
    lines = [
        [*label, *(c.show(row) for c in columns)] for label, row in zip(labels, rows, strict=True)
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


def _fitting(rows: Sequence[UsageRow], labels: int, width: int | None) -> list[_Column]:
    """The columns that fit beside labels of so many characters; a file takes them all."""
    columns = list(_COLUMNS)
    if width is None:
        return columns
    everything = [*rows, total(rows)]
    widths = {c.head: max(len(c.head), *(len(c.show(row)) for row in everything)) for c in columns}
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
