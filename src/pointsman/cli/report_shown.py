"""How `pointsman report` shows what was found: columns of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pointsman.cli.store import print_table
from pointsman.domain.money import format_usd

Shown = tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...]


def _money(name: str) -> Callable[[Mapping[str, Any]], str]:
    def show(row: Mapping[str, Any]) -> str:
        nano: int = row[name]
        return f"-{format_usd(-nano)}" if nano < 0 else format_usd(nano)

    return show


def _number(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: f"{row[name]:,}"


def _seconds(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "" if row[name] is None else f"{row[name]:.2f}"


def _text(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: str(row[name] or "-")


LINES: Shown = (
    ("requests", _number("requests")),
    ("errors", _number("errors")),
    ("fallbacks", _number("fallbacks")),
    ("hedges", _number("hedges")),
    ("in tok", _number("input_tokens")),
    ("cached", _number("cached_tokens")),
    ("out tok", _number("output_tokens")),
    ("cost", _money("cost_nano_usd")),
    ("uncertain", _money("uncertain_nano_usd")),
    ("adjusted", _money("adjusted_nano_usd")),
    ("saved", _money("saved_nano_usd")),
    ("hits", _number("cache_hits")),
    ("p50 s", _seconds("seconds_p50")),
    ("p95 s", _seconds("seconds_p95")),
    ("ttft p50", _seconds("ttft_p50")),
)
SAVINGS: Shown = (
    ("cost", _money("cost_nano_usd")),
    ("baseline", _money("baseline_nano_usd")),
    ("saved", _money("saved_nano_usd")),
    ("without price", _number("uncovered_requests")),
)
AHEAD: Shown = (
    ("period", _text("period")),
    ("low", _money("low_nano")),
    ("middle", _money("middle_nano")),
    ("high", _money("high_nano")),
)
DRIVERS: Shown = (
    ("group", lambda row: ", ".join(value or "-" for value in row["group"]) or "all"),
    ("before", _money("before_nano")),
    ("after", _money("after_nano")),
    ("volume", _money("volume")),
    ("mix", _money("mix")),
    ("length", _money("length")),
    ("price", _money("price")),
)
DIFFERENCES: Shown = (
    ("verdict", _text("verdict")),
    ("day", _text("day")),
    ("model", _text("model")),
    ("attempt", _text("attempt_id")),
    ("ledger", lambda row: _maybe(row["ours"])),
    ("invoice", lambda row: _maybe(row["theirs"])),
    ("difference", _money("nano")),
)


def _maybe(sums: Mapping[str, Any]) -> str:
    """A side's money, or its tokens where it says no money."""
    if sums["cost_nano"] is not None:
        return format_usd(sums["cost_nano"])
    known = [each for each in (sums["input"], sums["output"]) if each is not None]
    return f"{sum(known):,} tok" if known else "-"


def lines_of(columns: Shown, found: Mapping[str, Any]) -> None:
    """Print the lines of what was found, each under the names that it goes by."""
    rows: Sequence[Mapping[str, Any]] = found["lines"]
    heads: Shown = tuple((name, _text(name)) for name in rows[0] if _is_label(name)) if rows else ()
    table((*heads, *columns), rows, "Nothing in this period. Try an earlier --since.")


def _is_label(name: str) -> bool:
    from pointsman.reports.cells import DIMENSIONS

    return name == "period" or name in DIMENSIONS or name.startswith("tag:")


def table(columns: Shown, rows: Sequence[Mapping[str, Any]], nothing: str) -> None:
    print_table(
        [head for head, _ in columns],
        [[show(row) for _, show in columns] for row in rows],
        nothing,
    )
