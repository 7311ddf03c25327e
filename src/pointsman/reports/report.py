"""Answer a question from the rollups: any dimensions, any period, exact to the last entry.

Theory. Rollups and their mark change together, so a report that has found the same mark before and
after its reading has read one state of them; where the mark has moved it reads again. No lock is
held meanwhile, so nobody who writes waits for a report.

The statements are made of names in our own tables; whatever a caller says is a value.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from pointsman.reports import sketch
from pointsman.reports.cells import (
    DIMENSIONS,
    MEASURES,
    Cell,
    Combo,
    adjustments_of,
    cells_of,
)
from pointsman.reports.question import EVERYONE, Filter, Question, Whose
from pointsman.reports.rollup import Mark, catch_up, mark_of
from pointsman.reports.spans import Share, begins, buckets, label, planned
from pointsman.store.database import Database, Value
from pointsman.store.errors import StorageUnavailable

ATTEMPTS: Final = 5
"""Readings before a report gives way to whoever moves the mark so often."""
PERCENTS: Final = (50, 95, 99)

_Key: TypeAlias = "tuple[float | None, tuple[str | None, ...]]"
_Groups: TypeAlias = "dict[_Key, Cell]"


class Line(msgspec.Struct, frozen=True):
    """One line of a report.

    group: values of the dimensions asked for, None where there is none. period: when the bucket
    begins on its wall clock. cost_nano: what is known to have been spent; uncertain_nano: what
    budgets count on top of it, where a provider did not say; adjusted_nano: what invoices added or
    took away. saved_nano: baseline less cost over the requests where both are known.
    hits_saved_nano: what answers from the cache would have cost. asked_*: tokens of the requests
    themselves, each counted once however often it was tried. Seconds are of requests that somebody
    was called for, within 2.5 %; mean_s is exact.
    """

    group: tuple[str | None, ...] = ()
    period: str | None = None
    begins: float | None = None
    requests: int = 0
    errors: int = 0
    fallbacks: int = 0
    cache_hits: int = 0
    hits_saved_nano: int = 0
    baseline_nano: int = 0
    saved_nano: int = 0
    asked_input: int = 0
    asked_output: int = 0
    asked_cached: int = 0
    asked_write: int = 0
    asked_write_1h: int = 0
    timed: int = 0
    seconds_us: int = 0
    ttft_timed: int = 0
    ttft_us: int = 0
    attempts: int = 0
    hedges: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    estimated: int = 0
    cost_nano: int = 0
    unpriced: int = 0
    uncertain_nano: int = 0
    adjusted_nano: int = 0
    seconds: tuple[float | None, ...] = (None,) * len(PERCENTS)
    ttft: tuple[float | None, ...] = (None,) * len(PERCENTS)

    @property
    def mean_s(self) -> float | None:
        return self.seconds_us / 1e6 / self.timed if self.timed else None

    @property
    def billed_nano(self) -> int:
        """What it comes to: cost and the invoices' word on it."""
        return self.cost_nano + self.adjusted_nano


def report(database: Database, question: Question) -> list[Line]:
    """Catch up, then answer: by period, then by falling cost. Raises StorageError."""
    for _ in range(ATTEMPTS):
        catch_up(database)
        mark = mark_of(database)
        groups = _groups(database, question, mark)
        if mark_of(database) == mark:
            lines = [_line(question, key, cell) for key, cell in groups.items()]
            return sorted(lines, key=_order)
    raise StorageUnavailable("the ledger grows too fast to be read: ask again", is_busy=True)


def _order(line: Line) -> tuple[float, int, int, tuple[str, ...]]:
    names = tuple(value or "" for value in line.group)
    return line.begins or 0.0, -line.cost_nano, -line.requests, names


def total(lines: Iterable[Line]) -> Line:
    """Add up lines; quantiles do not add up and are left out."""
    sums = Cell()
    for line in lines:
        sums.add_sums(getattr(line, name) for name in MEASURES)
    return msgspec.convert(dict(zip(MEASURES, sums.sums, strict=True)), Line)


def _line(question: Question, key: _Key, cell: Cell) -> Line:
    begin, group = key
    period = (
        None
        if question.bucket is None or begin is None
        else label(question.bucket, question.timezone, begin)
    )
    told: dict[str, object] = {"group": group, "period": period, "begins": begin}
    told |= zip(MEASURES, cell.sums, strict=True)
    told["seconds"] = sketch.quantiles(cell.seconds, PERCENTS)
    told["ttft"] = sketch.quantiles(cell.ttft, PERCENTS)
    return msgspec.convert(told, Line)


# Reading.


def _groups(database: Database, question: Question, mark: Mark) -> _Groups:
    since, until = _period(database, question)
    periods = (
        [(since, until)]
        if question.bucket is None
        else buckets(question.bucket, question.timezone, since, until)
    )
    starts = [begin for begin, _ in periods]

    def period_at(moment: float) -> float | None:
        return None if question.bucket is None else starts[bisect_right(starts, moment) - 1]

    shares, rest = planned(periods)
    groups: _Groups = {}
    _add_sums(database, question, shares, period_at, groups)
    if question.latencies and shares:
        _add_latencies(database, question, shares, period_at, groups)
    for begin, end in rest:
        found = list(cells_of(database, *_within("e.at", "e.seq", begin, end, mark[0])).items())
        found += adjustments_of(database, *_within("d.at", "d.id", begin, end, mark[1])).items()
        for (_, combo), cell in found:
            if _is_meant(question, combo):
                key = period_at(begin), tuple(combo.get(name) for name in question.group_by)
                groups.setdefault(key, Cell()).add(cell)
    # What was added and taken away again leaves nothing.
    return {key: cell for key, cell in groups.items() if any(cell.sums)}


def _within(at: str, number: str, begin: float, end: float, last: int) -> tuple[str, list[Value]]:
    return f"{at} >= ? AND {at} < ? AND {number} <= ?", [begin, end, last]


def _period(database: Database, question: Question) -> tuple[float, float]:
    """The period asked for, without what lies before the first month or after the last: nothing is
    in it, and it is not cut into lines."""
    ((first, last),) = database.rows("SELECT min(slot), max(slot) FROM rollup WHERE grain = 2")
    if first is None:
        return 0.0, 0.0
    begin, end = begins(2, first), begins(2, last + 1)
    since = begin if question.since is None else max(question.since, begin)
    until = end if question.until is None else min(question.until, end)
    return since, until


def _add_sums(
    database: Database,
    question: Question,
    shares: Sequence[Share],
    period_at: Callable[[float], float | None],
    groups: _Groups,
) -> None:
    joins, join_values, columns = _columns(question.group_by)
    condition, values = _condition(question.whose, question.filters)
    sums = ", ".join(f"CAST(sum(s.{name}) AS BIGINT)" for name in MEASURES)
    inner = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in MEASURES)
    for piece, period in shares:
        by_slot = question.bucket is not None and period is None
        # By number first, which is fast, and only then by names.
        slot, keys = ("slot, ", ["s.slot", *columns]) if by_slot else ("", columns)
        source = (
            f"(SELECT {slot}combo, {inner} FROM rollup "  # noqa: S608 - names of ours
            f"WHERE grain = ? AND slot >= ? AND slot < ? GROUP BY {slot}combo) AS s"
        )
        sql = (
            f"SELECT {', '.join([*keys, sums])} FROM {source} "  # noqa: S608
            f"JOIN rollup_combo c ON c.id = s.combo {joins} {condition}"
        )
        if keys:
            sql += f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}"
        for row in database.rows(sql, [*piece[:3], *join_values, *values]):
            if row[-1] is None:  # The sum over nothing at all.
                continue
            key = (
                period_at(begins(piece.grain, row[0])) if by_slot else _period_of(period, question)
            )
            added = row[len(keys) :]
            if piece.sign < 0:
                added = tuple(-each for each in added)
            groups.setdefault((key, tuple(row[by_slot : len(keys)])), Cell()).add_sums(added)


def _period_of(period: float | None, question: Question) -> float | None:
    return None if question.bucket is None else period


def _add_latencies(
    database: Database,
    question: Question,
    shares: Sequence[Share],
    period_at: Callable[[float], float | None],
    groups: _Groups,
) -> None:
    joins, join_values, columns = _columns(question.group_by)
    condition, values = _condition(question.whose, question.filters)
    found = database.rows(
        f"SELECT {', '.join(['c.id', *columns])} FROM rollup_combo c {joins} {condition}",  # noqa: S608
        [*join_values, *values],
    )
    group_of = {row[0]: tuple(row[1:]) for row in found}
    for piece, period in shares:
        by_slot = question.bucket is not None and period is None
        key = _period_of(period, question)
        for slot, combo, seconds, ttft in database.rows(_LATENCIES, piece[:3]):
            group = group_of.get(combo)
            if group is None:
                continue
            if by_slot:
                key = period_at(begins(piece.grain, slot))
            cell = groups[key, group]
            cell.seconds += piece.sign * sketch.unpacked(seconds)
            cell.ttft += piece.sign * sketch.unpacked(ttft)


_LATENCIES: Final = (
    "SELECT slot, combo, seconds, ttft FROM rollup_latency "
    "WHERE grain = ? AND slot >= ? AND slot < ?"
)


# Names and conditions.


def _columns(names: Sequence[str]) -> tuple[str, list[Value], list[str]]:
    """The joins of tags with their values, and a column for each dimension."""
    joins: list[str] = []
    values: list[Value] = []
    columns: list[str] = []
    for name in names:
        if name.startswith("tag:"):
            alias = f"t{len(joins)}"
            joins.append(
                f"LEFT JOIN rollup_tag {alias} ON {alias}.combo = c.id AND {alias}.name = ?"
            )
            values.append(name[4:])
            columns.append(f"{alias}.value")
        else:
            columns.append(_column(name))
    return " ".join(joins), values, columns


def _column(name: str) -> str:
    return 'c."user"' if name == "user" else f"c.{DIMENSIONS[DIMENSIONS.index(name)]}"


def _condition(whose: Whose, filters: Sequence[Filter]) -> tuple[str, list[Value]]:
    """What a combination has to be: the tenant's own, and what the filters say."""
    parts: list[str] = []
    values: list[Value] = []
    if whose is not EVERYONE:
        parts.append("c.tenant = ?")
        values.append(whose)
    for name in dict.fromkeys(name for name, _ in filters):
        wanted = [value for other, value in filters if other == name]
        marks = ", ".join("?" * len(wanted))
        if name.startswith("tag:"):
            find = "(SELECT f.value FROM rollup_tag f WHERE f.combo = c.id AND f.name = ?)"
            parts.append(f"coalesce({find}, '') IN ({marks})")
            values.append(name[4:])
        else:
            parts.append(f"coalesce({_column(name)}, '') IN ({marks})")
        values += wanted
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), values


def _is_meant(question: Question, combo: Combo) -> bool:
    """`_condition`, of a combination in hand."""
    if question.whose is not EVERYONE and combo.get("tenant") != question.whose:
        return False
    return all(
        (combo.get(name) or "") in [value for other, value in question.filters if other == name]
        for name, _ in question.filters
    )
