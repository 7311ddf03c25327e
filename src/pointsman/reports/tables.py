"""Rows as CSV and Parquet, one at a time: what is written is never all in memory.

A cell of CSV that a spreadsheet would take for a formula (it begins with =, +, -, @, a tab or a
carriage return) gets an apostrophe before it, since tags and names are what callers wrote. Numbers
are numbers and stay as they are, also below zero.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TextIO, TypeAlias

from pointsman.errors import ConfigError

Cell: TypeAlias = str | int | float | None
Row: TypeAlias = Mapping[str, Cell]
Kind = Literal["text", "whole", "real", "usd", "moment"]
"""whole: a 64-bit integer. usd: exact decimal dollars as text. moment: ISO 8601 in UTC."""

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_TYPES: Final[Mapping[Kind, str]] = {
    "text": "VARCHAR",
    "whole": "BIGINT",
    "real": "DOUBLE",
    "usd": "DECIMAL(38, 9)",
    "moment": "TIMESTAMP",
}


def safe(value: Cell, kind: Kind = "text") -> Cell:
    """A cell for a spreadsheet."""
    if kind in ("text", "moment") and isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return "" if value is None else value


def write_csv(target: TextIO, columns: Mapping[str, Kind], rows: Iterable[Row]) -> int:
    """Write rows with a head; return how many."""
    writer = csv.writer(target, lineterminator=_ENDS)
    writer.writerow([safe(name) for name in columns])
    count = 0
    for row in rows:
        writer.writerow([safe(row.get(name), kind) for name, kind in columns.items()])
        count += 1
    return count


def write_parquet(path: Path, columns: Mapping[str, Kind], rows: Iterable[Row]) -> int:
    """Write rows as Parquet. Raises ConfigError where DuckDB is missing.

    By way of a temporary CSV file beside it, which DuckDB then reads and writes in pieces.
    """
    try:
        import duckdb
    except ImportError as missing:
        raise ConfigError(
            "Parquet needs the package duckdb: pip install pointsman[parquet]"
        ) from missing
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pointsman-") as folder:
        plain = Path(folder) / "rows.csv"
        with plain.open("w", encoding="utf-8", newline="") as target:
            count = _write_plain(target, list(columns), rows)
        made = Path(folder) / "rows.parquet"
        types = {name: _TYPES[kind] for name, kind in columns.items()}
        with duckdb.connect() as connection:
            connection.execute("SET memory_limit = '256MB'")
            read = connection.read_csv(
                str(plain),
                header=True,
                columns=types,
                delimiter=",",
                quotechar='"',
                escapechar='"',
                na_values=[_NONE],
                parallel=False,
            )
            read.write_parquet(str(made), compression="zstd")
        made.replace(path)
    return count


_ENDS: Final = "\r\n"
"""RFC 4180; and the writer quotes what holds either of the two, which it would not with one."""
_NONE: Final = "\\N"
"""What stands for nothing, which an empty text is not."""


def _write_plain(target: TextIO, names: Sequence[str], rows: Iterable[Row]) -> int:
    writer = csv.writer(target, lineterminator=_ENDS, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(names)
    count = 0
    for row in rows:
        writer.writerow([_NONE if row.get(name) is None else row.get(name) for name in names])
        count += 1
    return count
