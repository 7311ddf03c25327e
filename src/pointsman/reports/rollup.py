"""Keep the rollups in step with the ledger: a mark, and what came after it.

Theory. Entries are only ever added, with rising numbers, so what is summed so far is told by one
number, the mark. Whoever wants to catch up reads what lies beyond the mark without holding any
lock, adds it up in memory, and then, in one short transaction, adds the sums and moves the mark, if
nobody has moved it meanwhile; else the work is thrown away and begun anew. So each entry is in the
sums exactly once, whoever catches up and whenever anybody is killed.

Entries are numbered in the order of their commits (`ledger/write.py`). Adjustments in PostgreSQL
are not: a number may be taken by a transaction that commits after a higher one. So where there are
new ones, a moment's lock against inserting shows up to where nothing is under way any more.

Several readers may catch up at once; it costs the losers their work, never the sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

import orjson

from pointsman.reports import sketch
from pointsman.reports.cells import (
    DIMENSIONS,
    MEASURES,
    Cell,
    Cells,
    Combo,
    adjustments_of,
    cells_of,
)
from pointsman.reports.spans import month_of
from pointsman.store.database import Database, Value

BATCH: Final = 4_000
"""Entries summed at once. Their transaction takes some 0.1 s of SQLite's lock at the very most."""
_IN: Final = 400
"""Values in one IN (…)."""

Mark = tuple[int, int]
"""The last entry's and the last adjustment's number that are in the sums."""

_T = TypeVar("_T")

_QUOTED = ", ".join('"user"' if name == "user" else name for name in DIMENSIONS)
_COMBO = (
    f"INSERT INTO rollup_combo (id, digest, {_QUOTED}) "  # noqa: S608 - names of columns, ours
    f"VALUES ({', '.join('?' * (2 + len(DIMENSIONS)))})"
)
_TAG = "INSERT INTO rollup_tag (combo, name, value) VALUES (?, ?, ?)"
_SUMS = (
    f"INSERT INTO rollup (grain, slot, combo, {', '.join(MEASURES)}) "  # noqa: S608
    f"VALUES ({', '.join('?' * (3 + len(MEASURES)))}) ON CONFLICT (grain, slot, combo) "
    f"DO UPDATE SET {', '.join(f'{name} = rollup.{name} + excluded.{name}' for name in MEASURES)}"
)
_LATENCY = (
    "INSERT INTO rollup_latency (grain, slot, combo, seconds, ttft) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (grain, slot, combo) "
    "DO UPDATE SET seconds = excluded.seconds, ttft = excluded.ttft"
)


def catch_up(database: Database, batch: int = BATCH, most: int | None = None) -> int:
    """Add what the ledger has and the rollups have not; return how many entries that were.

    Raises StorageError. To be called by whoever reads, before reading; and now and then beside a
    server, so that little is left for the reader. most: stop after about so many entries, for a
    thread that has other work to do. It takes some 50 µs an entry, in batches of which one at most
    is lost where two processes catch up at once.
    """
    total = 0
    while most is None or total < most:
        mark = mark_of(database)
        horizon = _horizon(database)
        end = (min(mark[0] + batch, horizon[0]), horizon[1])
        if end == mark:
            return total
        cells = cells_of(database, "e.seq > ? AND e.seq <= ?", (mark[0], end[0]))
        if end[1] > mark[1]:
            merge(
                cells, adjustments_of(database, "d.id > ? AND d.id <= ?", (mark[1], end[1])).items()
            )
        if add(database, cells, mark, end):
            total += end[0] - mark[0]
    return total


def mark_of(database: Database) -> Mark:
    ((entry, adjustment),) = database.rows("SELECT entry, adjustment FROM rollup_mark")
    return int(entry), int(adjustment)


def _horizon(database: Database) -> Mark:
    """The last numbers below which nothing can be added any more."""
    find = (
        "SELECT coalesce((SELECT max(seq) FROM entry), 0), "
        "coalesce((SELECT max(id) FROM adjustment), 0)"
    )
    ((entry, adjustment),) = database.rows(find)
    if database.kind == "postgresql" and adjustment != mark_of(database)[1]:
        with database.transaction():
            database.run("LOCK TABLE adjustment IN SHARE MODE")
            ((_, adjustment),) = database.rows(find)
    return int(entry), int(adjustment)


def merge(cells: Cells, others: Iterable[tuple[tuple[int, Combo], Cell]]) -> None:
    """Add cells to `cells`."""
    for key, cell in others:
        if key in cells:
            cells[key].add(cell)
        else:
            cells[key] = cell


def add(database: Database, cells: Cells, before: Mark, after: Mark) -> bool:
    """Add cells by the hour to the sums of every grain and move the mark, all or nothing.

    False, and nothing done, where the mark is not `before` any more.
    """
    combos = list(dict.fromkeys(combo for _, combo in cells))
    digests = {combo: digest(combo) for combo in combos}
    with database.transaction():
        moved = database.run(
            "UPDATE rollup_mark SET entry = ?, adjustment = ? WHERE entry = ? AND adjustment = ?",
            (*after, *before),
        )
        if not moved:
            return False
        numbers = _numbers(database, digests)
        by_slot = _by_slot(cells, numbers)
        database.run_many(
            _SUMS,
            ((*place, combo, *cell.sums) for place, found in by_slot for combo, cell in found),
        )
        for place, found in by_slot:
            _add_latencies(database, place, [each for each in found if each[1].seconds])
    return True


def digest(combo: Combo) -> str:
    """What a combination is known by: the same for the same values and tags."""
    said = orjson.dumps([combo.values, combo.tags])
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def _numbers(database: Database, digests: Mapping[Combo, str]) -> dict[Combo, int]:
    """The number of each combination; new ones are given one. We hold the mark's lock."""
    known: dict[str, int] = {}
    for some in _chunks(digests.values()):
        find = f"SELECT digest, id FROM rollup_combo WHERE digest IN ({_marks(some)})"  # noqa: S608
        known.update(database.rows(find, some))
    ((last,),) = database.rows("SELECT coalesce(max(id), 0) FROM rollup_combo")
    new = [combo for combo, found in digests.items() if found not in known]
    numbered = dict(zip(new, range(last + 1, last + 1 + len(new)), strict=True))
    if new:
        database.run_many(
            _COMBO, ((number, digests[combo], *combo.values) for combo, number in numbered.items())
        )
        tags = [(number, *tag) for combo, number in numbered.items() for tag in combo.tags]
        if tags:
            database.run_many(_TAG, tags)
    return {
        combo: numbered[combo] if combo in numbered else known[found]
        for combo, found in digests.items()
    }


def _by_slot(
    cells: Cells, numbers: Mapping[Combo, int]
) -> list[tuple[tuple[int, int], list[tuple[int, Cell]]]]:
    """Sums by (grain, slot), each in the order of the table's key."""
    slots: dict[tuple[int, int], dict[int, Cell]] = {}
    for (hour, combo), cell in cells.items():
        number = numbers[combo]
        for place in ((0, hour), (1, hour // 24), (2, month_of(hour // 24))):
            found = slots.setdefault(place, {})
            if number in found:
                found[number].add(cell)
            else:
                found[number] = Cell(cell.sums, cell.seconds, cell.ttft)
    return [(place, sorted(found.items())) for place, found in sorted(slots.items())]


def _add_latencies(
    database: Database, place: tuple[int, int], cells: Sequence[tuple[int, Cell]]
) -> None:
    """Histograms are added here, not by the store, which cannot add integers of that length."""
    had: dict[int, tuple[bytes, bytes]] = {}
    for some in _chunks(number for number, _ in cells):
        find = (
            "SELECT combo, seconds, ttft FROM rollup_latency "  # noqa: S608 - marks only
            f"WHERE grain = ? AND slot = ? AND combo IN ({_marks(some)})"
        )
        rows = database.rows(find, (*place, *some))
        had.update((number, (seconds, ttft)) for number, seconds, ttft in rows)
    rows_ = []
    for number, cell in cells:
        seconds, ttft = had.get(number, (b"", b""))
        row: tuple[Value, ...] = (
            *place,
            number,
            sketch.packed(sketch.unpacked(seconds) + cell.seconds),
            sketch.packed(sketch.unpacked(ttft) + cell.ttft),
        )
        rows_.append(row)
    if rows_:
        database.run_many(_LATENCY, rows_)


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    source = iter(values)
    while some := list(islice(source, _IN)):
        yield some


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
