"""The demo's end: the table of requests, the totals, and what was verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pointsman.demo.books import Booked, Check, short
from pointsman.demo.client import Answered
from pointsman.domain.money import format_usd

_COLUMNS: tuple[tuple[str, Literal["left", "right"], int], ...] = (
    ("#", "right", 0),
    ("kind", "left", 0),
    ("route", "left", 96),
    ("model", "left", 0),
    ("tokens", "right", 90),
    ("cost", "right", 0),
    ("s", "right", 0),
)
"""Heading, side, and how wide a terminal must be for the column to be shown."""


def request_table(answers: Sequence[Answered], ledger: Sequence[Booked], width: int) -> Table:
    """One row a request: what it was, where it went, what it cost, and why."""
    table = Table(
        title="What happened, as the ledger has it",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    shown = [heading for heading, _, least in _COLUMNS if width >= least]
    for heading, side, _ in _COLUMNS:
        if heading in shown:
            table.add_column(heading, justify=side, no_wrap=True)
    table.add_column("why", overflow="fold")
    by_id = {booked.request_id: booked for booked in ledger}
    for answer in answers:
        booked = by_id.get(answer.request_id)
        if booked is None:
            table.add_row(str(answer.number), answer.prompt.kind, style="red")
            continue
        failed = [f"{short(t.deployment)}: {t.outcome}" for t in booked.tried if t.outcome != "ok"]
        colour = {"local": "green", "frontier": "magenta"}.get(booked.tier, "")
        cells: dict[str, str | Text] = {
            "#": str(answer.number),
            "kind": answer.prompt.kind,
            "route": booked.asked_for
            if booked.asked_for.startswith(booked.route)
            else booked.route,
            "model": Text(booked.model, style=colour),
            "tokens": f"{booked.input}+{booked.output}",
            "cost": format_usd(booked.cost_nano),
            "s": f"{booked.seconds:.2f}",
        }
        table.add_row(
            *(cells[heading] for heading in shown),
            f"after {', '.join(failed)}" if failed else booked.why,
            style="yellow" if failed else "",
        )
    return table


def totals(ledger: Sequence[Booked]) -> list[str]:
    """The sums, a line each."""
    cost = sum(booked.cost_nano for booked in ledger)
    baseline = sum(booked.baseline_nano for booked in ledger)
    tiers = Counter(booked.tier for booked in ledger)
    fallbacks = sum(booked.fell_back for booked in ledger)
    avoided = sum(bool(booked.avoided) for booked in ledger)
    share = f" ({1 - cost / baseline:.0%})" if baseline else ""
    return [
        f"cost       {format_usd(cost)}; the same tokens all at the frontier's price: "
        f"{format_usd(baseline)}",
        f"saved      {format_usd(baseline - cost)}{share}",
        "tiers      " + ", ".join(f"{tier or 'none'} {n}" for tier, n in tiers.most_common()),
        f"fallbacks  {fallbacks} requests were answered by another model than the first",
        f"breaker    kept {avoided} requests away from the failing provider",
    ]


def report(
    console: Console,
    answers: Sequence[Answered],
    ledger: Sequence[Booked],
    checks: Sequence[Check],
    path: Path,
    budget: str,
) -> None:
    """Print all of it; `budget` is the line that tells of the burst."""
    console.print()
    console.print(request_table(answers, ledger, console.width))
    console.print()
    for line in (*totals(ledger), budget):
        console.print(line, highlight=False, markup=False)
    console.print(f"ledger     {path}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"           look into it: pointsman usage --ledger {path} --by model",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print()
    for check in checks:
        mark = "ok    " if check.holds else "FAILED"
        found = f": {check.found}" if check.found else ""
        console.print(
            f"{mark} {check.claim}{found}",
            style=None if check.holds else "bold red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def last_line(
    answers: Sequence[Answered], ledger: Sequence[Booked], checks: Sequence[Check], seconds: float
) -> str:
    """The verdict with its figures."""
    broken = [check for check in checks if not check.holds]
    if broken:
        return f"demo: failed, {len(broken)} of {len(checks)} checks: {broken[0].claim}"
    cost = sum(booked.cost_nano for booked in ledger)
    baseline = sum(booked.baseline_nano for booked in ledger)
    fallbacks = sum(booked.fell_back for booked in ledger)
    saved = f"{format_usd(baseline - cost)} saved ({1 - cost / baseline:.0%})" if baseline else ""
    return (
        f"demo: ok, {len(answers)} requests, {fallbacks} fallbacks, {format_usd(cost)} spent, "
        f"{saved}, {seconds:.0f} s"
    )
