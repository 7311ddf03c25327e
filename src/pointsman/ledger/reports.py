"""Questions to the ledger's file: what was used and spent, by anything, over any time.

Theory. A request has one caller and one ending, but its cost is made by each of its attempts,
perhaps on several models. So a report has two kinds of columns. Those of the *request* (requests,
errors, fallbacks, baseline, saved, latencies) belong to the group of its last attempt. Those of
the *attempt* (attempts, tokens, cost, unpriced) belong to the group of that very attempt: money
wasted on a model that failed is that model's. Whatever the grouping, each column adds up to the
same total, because each request and each attempt falls into exactly one group.

Speed. Sums over a request's attempts stand in its entry, so that only requests with more than
one attempt need a join, and only where a report looks at models (deployments, providers, tiers).
Everything a caller says is a parameter; names of columns come from the tables below.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from pointsman.errors import ConfigError, InvalidRequest
from pointsman.ledger.migrate import newest, version_of
from pointsman.ledger.rows import Recorded, attempt_of, decision_of, entry_of

Dimension: TypeAlias = str
"""A name in `DIMENSIONS`, or `tag:NAME` for a tag of the caller's own."""

Bucket = Literal["hour", "day", "week", "month"]

Filter: TypeAlias = tuple[Dimension, str]
"""Only what has this value; "" is what has none. Several of one dimension: any of them."""

DIMENSIONS: dict[str, tuple[str, str]] = {
    "model": ("e.final_model", "a.model"),
    "deployment": ("e.final_deployment", "a.deployment"),
    "provider": ("e.final_provider", "a.provider"),
    "tier": ("e.final_tier", "a.tier"),
    "route": ("e.route", "e.route"),
    "user": ("e.user", "e.user"),
    "app": ("e.app", "e.app"),
    "team": ("e.team", "e.team"),
    "tenant": ("e.tenant", "e.tenant"),
    "key": ("e.key", "e.key"),
    "day": ("e.day", "e.day"),
    "outcome": ("e.outcome", "e.outcome"),
}
"""Name -> its column in a request's view and in an attempt's."""

BUCKETS: dict[Bucket, str] = {
    "hour": "CAST(e.at / 3600 AS INTEGER)",
    "day": "CAST(e.at / 86400 AS INTEGER)",
    "week": "(CAST(e.at / 86400 AS INTEGER) + 3) / 7",
    "month": "substr(e.day, 1, 7)",
}
"""Name -> the number (or month) of the period in UTC; weeks begin on Monday."""

_OF_REQUEST = (
    "count(*)",
    "sum(e.outcome NOT IN ('ok', 'abandoned'))",
    "sum(e.fallbacks)",
    "sum(e.baseline_nano)",
    "sum(CASE WHEN e.unpriced = 0 THEN e.baseline_nano - e.known_nano END)",
)
_LATENCIES = (
    "group_concat(CASE WHEN e.attempts > 0 THEN CAST(e.seconds * 1e6 AS INTEGER) END, ' ')",
    "group_concat(CASE WHEN e.attempts > 0 THEN CAST(e.ttft_s * 1e6 AS INTEGER) END, ' ')",
)
"""All microseconds of a group as text: the sort that groups brings them along, where a second
pass over the table would cost as much as the first (1.8 s against 2.4 s for a million)."""
_OF_ATTEMPTS = (
    ("e.attempts", "1"),
    ("e.billed_input", "a.input"),
    ("e.billed_output", "a.output"),
    ("e.billed_cached", "a.cached"),
    ("e.billed_reasoning", "a.reasoning"),
    ("e.known_nano", "coalesce(a.cost_nano, 0)"),
    ("e.unpriced", "a.cost_nano IS NULL"),
    (
        "CASE WHEN e.attempts > 1 THEN "
        "(SELECT sum(h.hedge) FROM attempt AS h WHERE h.entry = e.seq) ELSE 0 END",
        "a.hedge",
    ),
)
"""Each sum over a request's attempts, and its part in one attempt."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One line of a report.

    group: values of the dimensions asked for, in that order, None where a request has none.
    period: where the bucket begins ("2026-11-22T13:00Z", "2026-11-22", "2026-11"), None for no
    bucket. errors: requests that ended neither ok nor abandoned by the client. fallbacks:
    attempts on another deployment because the one before had failed. unpriced: attempts whose
    price is unknown, which `cost_nano` leaves out. saved_nano: baseline less cost, over the
    requests where both are known; below zero where we were dearer. Seconds are of requests
    somebody was called for; None without any.
    """

    group: tuple[str | None, ...] = ()
    period: str | None = None
    requests: int = 0
    errors: int = 0
    attempts: int = 0
    fallbacks: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    unpriced: int = 0
    baseline_nano: int = 0
    saved_nano: int = 0
    hedges: int = 0
    seconds_p50: float | None = None
    seconds_p95: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None


def usage_report(
    path: Path,
    group_by: Sequence[Dimension] = (),
    since: float | None = None,
    until: float | None = None,
    filters: Sequence[Filter] = (),
    bucket: Bucket | None = None,
) -> list[UsageRow]:
    """Add up the ledger in `path`, by period and then by falling cost.

    `since` and `until` are seconds since the epoch, the end left out. Raises InvalidRequest for
    an unknown dimension or bucket (`param` says whose), ConfigError for a file that cannot be read.
    """
    question = _Question(tuple(group_by), since, until, tuple(filters), bucket)
    with reading(path) as connection:
        groups: dict[_Key, _Sums] = {}
        has_hedges = version_of(connection) > 1
        for row in connection.execute(*_of_form(question.requests(), has_hedges)):
            key, of_request, of_attempts, latencies = _parts(row, question.width)
            groups[key] = _Sums(of_request, of_attempts, *latencies)
        if question.is_about_attempts:
            for row in connection.execute(*_of_form(question.repeated(), has_hedges)):
                key = tuple(row[: question.width])
                groups.setdefault(key, _Sums()).add_attempts(row[question.width :])
    rows = [sums.row(key, bucket) for key, sums in groups.items()]
    return sorted(
        rows, key=lambda row: (row.period or "", -row.cost_nano, -row.requests, _text(row))
    )


def entry_by_id(path: Path, request_id: str) -> Recorded | None:
    """Return one request with its attempts and its decision; None if it is not there."""
    with reading(path) as connection:
        rows = connection.execute("SELECT * FROM entry WHERE request_id = ?", (request_id,))
        found = rows.fetchone()
        return _recorded(connection, found) if found else None


def recent(path: Path, n: int = 20) -> list[Recorded]:
    """Return the last `n` requests that were written, newest first."""
    with reading(path) as connection:
        rows = connection.execute("SELECT * FROM entry ORDER BY seq DESC LIMIT ?", (n,))
        return [_recorded(connection, row) for row in rows.fetchall()]


def _recorded(connection: sqlite3.Connection, row: sqlite3.Row) -> Recorded:
    seq = (row["seq"],)
    attempts = connection.execute("SELECT * FROM attempt WHERE entry = ? ORDER BY n", seq)
    tags = connection.execute("SELECT name, value FROM tag WHERE entry = ? ORDER BY name", seq)
    decision = connection.execute("SELECT body FROM decision WHERE entry = ?", seq).fetchone()
    return Recorded(
        entry_of(row, [attempt_of(each) for each in attempts], [(t[0], t[1]) for t in tags]),
        decision_of(decision["body"]) if decision else None,
    )


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger's file read-only, beside whoever writes; raise ConfigError with a remedy."""
    if not path.is_file():
        raise ConfigError(
            f"ledger {path}: no such file; start `pointsman serve` with `ledger.path` set, "
            "or name another file"
        )
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0
        )
    except sqlite3.Error as error:
        raise ConfigError(f"ledger {path}: cannot be opened ({error})") from error
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -65536")
        form = version_of(connection)
        if not 1 <= form <= newest():
            raise ConfigError(
                f"ledger {path}: has form {form}, this Pointsman reads 1 to {newest()}; "
                "is it a ledger, and of this version?"
            )
        # One transaction, so that all queries of a report see the same moment.
        connection.execute("BEGIN")
        yield connection
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"ledger {path}: cannot be read ({error})") from error
    finally:
        connection.close()


# How a question becomes SQL.

_Key: TypeAlias = "tuple[str | int | None, ...]"
_Parameters: TypeAlias = "list[str | float]"


@dataclass(frozen=True, slots=True)
class _Question:
    group_by: tuple[Dimension, ...]
    since: float | None
    until: float | None
    filters: tuple[Filter, ...]
    bucket: Bucket | None

    def __post_init__(self) -> None:
        wanted = {"group_by": self.group_by, "filters": tuple(name for name, _ in self.filters)}
        for param, names in wanted.items():
            for name in names:
                if name not in DIMENSIONS and not (name.startswith("tag:") and len(name) > 4):
                    known = ", ".join(DIMENSIONS)
                    raise InvalidRequest(
                        f"unknown dimension {name!r}: choose of {known} or tag:NAME", param=param
                    )
        if self.bucket is not None and self.bucket not in BUCKETS:
            raise InvalidRequest(
                f"unknown bucket {self.bucket!r}: choose of {', '.join(BUCKETS)}", param="bucket"
            )

    @property
    def is_about_attempts(self) -> bool:
        """Whether a request with several attempts may fall into several groups."""
        names = (*self.group_by, *(name for name, _ in self.filters))
        return any(
            _column(name, of_attempt=False) != _column(name, of_attempt=True) for name in names
        )

    @property
    def width(self) -> int:
        return len(self.group_by) + 1

    def requests(self) -> tuple[str, _Parameters]:
        """Every request in its last attempt's group, with the sums over its attempts, unless
        these have to be looked at one by one."""
        attempts = [
            f"sum(CASE WHEN e.attempts = 1 THEN {column} END)"
            if self.is_about_attempts
            else f"sum({column})"
            for column, _ in _OF_ATTEMPTS
        ]
        return self._select([*_OF_REQUEST, *attempts, *_LATENCIES], "entry AS e")

    def repeated(self) -> tuple[str, _Parameters]:
        """Every attempt of requests with several, in its own group."""
        return self._select(
            [f"sum({column})" for _, column in _OF_ATTEMPTS],
            "entry AS e JOIN attempt AS a ON a.entry = e.seq",
            where=("e.attempts > 1",),
            of_attempt=True,
        )

    def _select(
        self,
        columns: Sequence[str],
        source: str,
        *,
        where: Sequence[str] = (),
        of_attempt: bool = False,
    ) -> tuple[str, _Parameters]:
        keys = [BUCKETS[self.bucket] if self.bucket else "NULL"]
        joins: list[str] = []
        join_values: _Parameters = []
        conditions = list(where)
        values: _Parameters = []

        def column_of(name: Dimension) -> str:
            if not name.startswith("tag:"):
                return _column(name, of_attempt=of_attempt)
            alias = f"t{len(joins)}"
            joins.append(f"LEFT JOIN tag AS {alias} ON {alias}.entry = e.seq AND {alias}.name = ?")
            join_values.append(name[4:])
            return f"{alias}.value"

        keys += [column_of(name) for name in self.group_by]
        for name in dict.fromkeys(name for name, _ in self.filters):
            wanted = [value for other, value in self.filters if other == name]
            marks = ", ".join("?" * len(wanted))
            conditions.append(f"coalesce({column_of(name)}, '') IN ({marks})")
            values += wanted
        if self.since is not None:
            conditions.append("e.at >= ?")
            values.append(self.since)
        if self.until is not None:
            conditions.append("e.at < ?")
            values.append(self.until)
        # Names of columns are ours, from the tables above; all that a caller said is in `values`.
        sql = " ".join(
            [
                f"SELECT {', '.join([*keys, *columns])} FROM {source}",  # noqa: S608
                *joins,
                f"WHERE {' AND '.join(conditions)}" if conditions else "",
                f"GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}",
            ]
        )
        return sql, join_values + values


def _of_form(query: tuple[str, _Parameters], has_hedges: bool) -> tuple[str, _Parameters]:
    """A query for a file of the first form, which knew no hedges."""
    sql, values = query
    if not has_hedges:
        sql = sql.replace("h.hedge", "0").replace("a.hedge", "0")
    return sql, values


def _column(name: Dimension, *, of_attempt: bool) -> str:
    return DIMENSIONS[name][of_attempt] if name in DIMENSIONS else name


# How rows become a report.


def _parts(row: sqlite3.Row, width: int) -> tuple[_Key, list[int], list[int], tuple[str, str]]:
    """Cut a row of `requests()` into its key and its three kinds of columns."""
    middle, end = width + len(_OF_REQUEST), width + len(_OF_REQUEST) + len(_OF_ATTEMPTS)
    return (
        tuple(row[:width]),
        [value or 0 for value in row[width:middle]],
        [value or 0 for value in row[middle:end]],
        (row[end] or "", row[end + 1] or ""),
    )


@dataclass(slots=True)
class _Sums:
    of_request: list[int] = field(default_factory=lambda: [0] * len(_OF_REQUEST))
    of_attempts: list[int] = field(default_factory=lambda: [0] * len(_OF_ATTEMPTS))
    seconds: str = ""
    ttft: str = ""

    def add_attempts(self, sums: Sequence[int | None]) -> None:
        self.of_attempts = [
            had + (new or 0) for had, new in zip(self.of_attempts, sums, strict=True)
        ]

    def row(self, key: _Key, bucket: Bucket | None) -> UsageRow:
        requests, errors, fallbacks, baseline, saved = self.of_request
        attempts, input_, output, cached, reasoning, cost, unpriced, hedges = self.of_attempts
        seconds, ttft = _ascending(self.seconds), _ascending(self.ttft)
        return UsageRow(
            group=tuple(None if value is None else str(value) for value in key[1:]),
            period=_period(bucket, key[0]),
            requests=requests,
            errors=errors,
            attempts=attempts,
            fallbacks=fallbacks,
            input_tokens=input_,
            output_tokens=output,
            cached_tokens=cached,
            reasoning_tokens=reasoning,
            cost_nano=cost,
            unpriced=unpriced,
            baseline_nano=baseline,
            saved_nano=saved,
            hedges=hedges,
            seconds_p50=_seconds(percentile(seconds, 50)),
            seconds_p95=_seconds(percentile(seconds, 95)),
            ttft_p50=_seconds(percentile(ttft, 50)),
            ttft_p95=_seconds(percentile(ttft, 95)),
        )


def _ascending(microseconds: str) -> list[int]:
    return sorted(map(int, microseconds.split()))


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6


def percentile(ascending: Sequence[int], percent: int) -> int | None:
    """The smallest value that `percent` of them do not exceed (nearest rank); None of none."""
    if not ascending:
        return None
    rank = -(-len(ascending) * percent // 100)
    return ascending[max(rank, 1) - 1]


def _period(bucket: Bucket | None, number: str | int | None) -> str | None:
    """Where a bucket begins, in UTC."""
    if bucket is None or number is None:
        return None
    if bucket == "month":
        return str(number)
    if bucket == "hour":
        return datetime.fromtimestamp(int(number) * 3_600, UTC).strftime("%Y-%m-%dT%H:00Z")
    days = int(number) * 7 - 3 if bucket == "week" else int(number)
    return (date(1970, 1, 1) + timedelta(days=days)).isoformat()


def _text(row: UsageRow) -> tuple[str, ...]:
    return tuple(value or "" for value in row.group)
