"""What a report adds up, and how entries become sums.

Theory. A request has one caller and one ending, but its cost is made by each of its attempts,
perhaps on several models. So there are two kinds of measures. Those of the *request* belong to the
combination of its last attempt; those of the *attempt* to that of the attempt itself: money wasted
on a model that failed is that model's. Each request and each attempt falls into exactly one
combination, so whatever is asked for, each column adds up to the same total.

Everything here is addition of integers, which is why sums of sums are exact.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pointsman.reports import sketch
from pointsman.store.database import Database, Value

DIMENSIONS: Final = (
    *("tenant", "team", "app", "user", "key", "route", "operation", "outcome"),
    *("model", "provider", "deployment", "tier"),
)
"""What every combination has, in its order; `user` is a reserved word of SQL."""

OF_REQUEST: Final = (
    *("requests", "errors", "fallbacks", "cache_hits", "hits_saved_nano", "baseline_nano"),
    *("saved_nano", "asked_input", "asked_output", "asked_cached", "asked_write"),
    *("asked_write_1h", "timed", "seconds_us", "ttft_timed", "ttft_us"),
)
OF_ATTEMPT: Final = (
    *("attempts", "hedges", "input", "output", "cached", "cache_write", "cache_write_1h"),
    *("reasoning", "estimated", "cost_nano", "unpriced", "uncertain_nano"),
)
MEASURES: Final = (*OF_REQUEST, *OF_ATTEMPT, "adjusted_nano")
_ATTEMPT_AT: Final = len(OF_REQUEST)
_ADJUSTED_AT: Final = len(MEASURES) - 1
_UNCERTAIN_AT: Final = _ADJUSTED_AT - 1
NOTHING: Final = (0,) * len(MEASURES)

FINE: Final = ("ok", "abandoned")
"""Outcomes that are no errors."""


class Combo(NamedTuple):
    """Values that occurred together, as in `DIMENSIONS`; tags ascending by name."""

    values: tuple[str | None, ...]
    tags: tuple[tuple[str, str], ...]

    def get(self, dimension: str) -> str | None:
        if dimension.startswith("tag:"):
            return dict(self.tags).get(dimension[4:])
        return self.values[DIMENSIONS.index(dimension)]


@dataclass(slots=True)
class Cell:
    """Sums in the order of `MEASURES`, and the histograms of both latencies."""

    sums: list[int] = field(default_factory=lambda: list(NOTHING))
    seconds: int = 0
    ttft: int = 0

    def add(self, other: Cell) -> None:
        self.add_sums(other.sums)
        self.seconds += other.seconds
        self.ttft += other.ttft

    def add_sums(self, sums: Iterable[int]) -> None:
        self.sums = list(map(operator.add, self.sums, sums))


Cells = dict[tuple[int, Combo], Cell]
"""By hour since the epoch and combination."""

_CALLER = 'e.tenant, e.team, e.app, e."user", e.key, e.route, e.operation, e.outcome'
_ENTRIES = f"""
SELECT e.seq, e.at, {_CALLER}, e.final_model, e.final_provider, e.final_deployment, e.final_tier,
  e.fallbacks, %s, %s, e.baseline_nano, e.unpriced, e.known_nano, e.input, e.output, e.cached,
  e.cache_write, e.cache_write_1h, e.attempts, e.seconds, e.ttft_s
FROM entry e WHERE """  # noqa: S608 - names of columns, ours
_ATTEMPTS = """
SELECT a.entry, a.model, a.provider, a.deployment, a.tier, a.hedge, a.input, a.output, a.cached,
  a.cache_write, a.cache_write_1h, a.reasoning, a.estimated, a.cost_nano, %s
FROM attempt a JOIN entry e ON e.seq = a.entry WHERE """
_LATER = {
    "entry.cache": ("CASE WHEN e.cache IN ('hit', 'similar') THEN 1 ELSE 0 END", "0"),
    "entry.saved_nano": ("e.saved_nano", "0"),
    "attempt.charged_nano": ("a.charged_nano", "NULL"),
}
"""Columns that a store without the feature they belong to does not have, and what they are then."""
_COLUMNS_OF = {
    "sqlite": "SELECT name FROM pragma_table_info(?)",
    "postgresql": "SELECT column_name FROM information_schema.columns WHERE table_name = ?",
}
_TAGS = "SELECT t.entry, t.name, t.value FROM tag t JOIN entry e ON e.seq = t.entry WHERE "
_ADJUSTMENTS = f"""
SELECT d.entry, d.at, d.amount_nano, d.uncertain_nano, {_CALLER}, coalesce(a.model, d.model),
  coalesce(a.provider, d.provider), a.deployment, a.tier
FROM adjustment d LEFT JOIN entry e ON e.seq = d.entry
  LEFT JOIN attempt a ON a.entry = d.entry AND a.n = d.n
WHERE """  # noqa: S608 - names of columns, ours
_TAGS_OF_ADJUSTED = """
SELECT DISTINCT t.entry, t.name, t.value FROM tag t JOIN adjustment d ON d.entry = t.entry WHERE """


def cells_of(database: Database, condition: str, values: Sequence[Value]) -> Cells:
    """Add up the entries `e` that meet a condition of ours."""
    tags = _tags(database.rows(_TAGS + condition, values))
    entries, attempts = _statements(database)
    cells: Cells = {}
    callers: dict[int, tuple[int, tuple[str | None, ...], tuple[tuple[str, str], ...]]] = {}
    for row in database.rows(entries + condition, values):
        hour, caller, own = int(row[1] // 3600), row[2:10], tags.get(row[0], ())
        callers[row[0]] = hour, caller, own
        cell = _cell(cells, hour, Combo(caller + row[10:14], own))
        _add_request(cell, row)
    for row in database.rows(attempts + condition, values):
        found = callers.get(row[0])
        if found is not None:
            hour, caller, own = found
            _add_attempt(_cell(cells, hour, Combo(caller + row[1:5], own)), row)
    return cells


def _statements(database: Database) -> tuple[str, str]:
    """The SELECTs of entries and of attempts, as this store's tables allow."""
    there = {
        f"{table}.{name}" for table in ("entry", "attempt") for name in columns_of(database, table)
    }
    hit, saved, charged = (own if name in there else none for name, (own, none) in _LATER.items())
    return _ENTRIES % (hit, saved), _ATTEMPTS % charged


def columns_of(database: Database, table: str) -> frozenset[str]:
    """The columns that a table has in this store."""
    return frozenset(name for (name,) in database.rows(_COLUMNS_OF[database.kind], (table,)))


def adjustments_of(database: Database, condition: str, values: Sequence[Value]) -> Cells:
    """Add up the adjustments `d` that meet a condition of ours."""
    rows = database.rows(_ADJUSTMENTS + condition, values)
    tags = _tags(database.rows(_TAGS_OF_ADJUSTED + condition, values)) if rows else {}
    cells: Cells = {}
    for row in rows:
        sums = _cell(cells, int(row[1] // 3600), Combo(row[4:16], tags.get(row[0], ()))).sums
        sums[_ADJUSTED_AT] += row[2]
        sums[_UNCERTAIN_AT] -= row[3]
    return cells


def _tags(rows: Iterable[tuple[int, str, str]]) -> Mapping[int, tuple[tuple[str, str], ...]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for entry, name, value in rows:
        found.setdefault(entry, []).append((name, value))
    return {entry: tuple(sorted(pairs)) for entry, pairs in found.items()}


def _cell(cells: Cells, hour: int, combo: Combo) -> Cell:
    cell = cells.get((hour, combo))
    if cell is None:
        cell = cells[hour, combo] = Cell()
    return cell


def _add_request(cell: Cell, row: Sequence[Any]) -> None:
    """Add a row of `_ENTRIES`: its 8 columns of a caller and 4 of the last attempt are keys."""
    (fallbacks, hits, hits_saved, baseline, unpriced, known) = row[14:20]
    attempts, seconds, ttft = row[25], row[26], row[27]
    sums = cell.sums
    sums[0] += 1
    sums[1] += row[9] not in FINE
    sums[2] += int(fallbacks)
    sums[3] += int(hits)
    sums[4] += int(hits_saved)
    if baseline is not None:
        sums[5] += int(baseline)
        if not unpriced:
            sums[6] += int(baseline - known)
    for place, tokens in enumerate(row[20:25], 7):
        sums[place] += int(tokens)
    if attempts:
        sums[12] += 1
        sums[13] += int(seconds * 1e6)
        cell.seconds += sketch.one(seconds)
        if ttft is not None:
            sums[14] += 1
            sums[15] += int(ttft * 1e6)
            cell.ttft += sketch.one(ttft)


def _add_attempt(cell: Cell, row: Sequence[Any]) -> None:
    """Add a row of `_ATTEMPTS`."""
    cost, charged = row[13], row[14]
    sums = cell.sums
    sums[_ATTEMPT_AT] += 1
    for place, number in enumerate(row[5:13], _ATTEMPT_AT + 1):
        sums[place] += number
    if cost is None:
        sums[_ATTEMPT_AT + 10] += 1
        sums[_ATTEMPT_AT + 11] += charged or 0
    else:
        sums[_ATTEMPT_AT + 9] += cost
        if charged is not None:
            sums[_ATTEMPT_AT + 11] += charged - cost
