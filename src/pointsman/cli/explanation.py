"""Show a decision to a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from pointsman.domain.content import JsonObject
from pointsman.domain.money import to_usd

Column = tuple[str, Literal["left", "right"]]


def print_explanation(told: JsonObject, console: Console | None = None) -> None:
    """Print the candidates with their scores part by part, then who was kept out and why.

    Names are never cut: where the parts find no room beside them, they get a table of their own.
    """
    answer: dict[str, Any] = dict(told)
    console = console or _console()
    console.print(f"[bold]{answer['chosen'] or 'nobody'}[/bold]  {answer['why']}", highlight=False)
    features = ", ".join(
        f"{name} {', '.join(value) if isinstance(value, list) else value}"
        for name, value in answer["features"].items()
        if value not in ("", [], "und")
    )
    console.print(f"request: {features}", highlight=False)
    _print_candidates(answer["candidates"], console)
    if answer["rejected"]:
        table = _table("kept out", ("deployment", "left"), ("filter", "left"), ("reason", "left"))
        for row in answer["rejected"]:
            table.add_row(row["deployment"], row["filter"], row["reason"])
        console.print(table)


def _console() -> Console:
    """A file or pipe is as wide as its rows."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def _print_candidates(candidates: Sequence[dict[str, Any]], console: Console) -> None:
    if not candidates:
        return
    names = [[row["deployment"], row["tier"]] for row in candidates]
    facts = [
        [f"{row['score']:.2f}", _usd(row["estimated_cost_nano_usd"]), _seconds(row)]
        for row in candidates
    ]
    weights = {name: part["weight"] for name, part in candidates[0]["parts"].items()}
    parts = [[f"{row['parts'][name]['score']:.2f}" for name in weights] for row in candidates]
    who: list[Column] = [("deployment", "left"), ("tier", "left")]
    what: list[Column] = [("score", "right"), ("cost ≈", "right"), ("s ≈", "right")]
    why: list[Column] = [(f"{name}\n×{weight:.2g}", "right") for name, weight in weights.items()]
    whole = _filled(_table("candidates", *who, *what, *why), names, facts, parts)
    unbounded = console.options.update(width=1000)
    if console.measure(whole, options=unbounded).maximum <= console.width:
        console.print(whole)
        return
    console.print(_filled(_table("candidates", *who, *what), names, facts))
    alone = [[row["deployment"]] for row in candidates]
    console.print(_filled(_table("their scores, part by part", who[0], *why), alone, parts))


def _table(title: str, *columns: Column) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for head, side in columns:
        # Names and reasons may go on in a second line; numbers and tiers stay whole.
        whole = side == "right" or head in ("tier", "filter")
        table.add_column(head, justify=side, overflow="fold", no_wrap=whole)
    return table


def _filled(table: Table, *blocks: Sequence[Sequence[str]]) -> Table:
    for cells in zip(*blocks, strict=True):
        table.add_row(*(cell for block in cells for cell in block))
    return table


def _usd(nano: int | None) -> str:
    """Dollars with at most four significant digits, since it is an estimate."""
    if nano is None:
        return "unknown"
    usd = to_usd(nano)
    if nano == 0:
        return "$0"
    places = max(0, 3 - math.floor(math.log10(abs(usd))))
    text = f"{usd:,.{min(places, 9)}f}"
    return f"${text.rstrip('0').rstrip('.') if '.' in text else text}"


def _seconds(row: dict[str, Any]) -> str:
    seconds = row["estimated_seconds"]
    return "" if seconds is None else f"{seconds:.2f}"
