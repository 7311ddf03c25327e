"""The book of alerts: which stand, who was told, who has acknowledged; rows of the store.

Without a ledger the store is a SQLite file in memory, so there is one set of statements. Several
workers share the book: an alert is raised by whoever is first, and delivered by whoever is first
to take the delivery, so that one that dies in between leaves it to the others.

Functions take a Database and block; each is one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from pointsman.access.principal import Sight
from pointsman.alerts.alert import RANK, Alert, Event, Fact, Kind
from pointsman.config.settings_money import Severity
from pointsman.store.database import Database, Row

KEPT_S: Final = 90 * 86_400.0
"""How long an alert is kept after it was resolved, in seconds."""
UNCLAIMED_S: Final = 7_200.0
HEARD_S: Final = 3.0
"""Counts of loops are told every second; older ones are of a worker that asks no more."""
MOST_PENDING: Final = 1_000
"""Deliveries that may wait for one sink; what comes then is in the book, and not sent."""
Sinks = Mapping[str, Severity]
"""The sinks' names, and the least severity that each is told."""


class Line(msgspec.Struct, frozen=True):
    """An alert as it is listed. `deliveries` says for each sink how telling it went last."""

    id: int
    kind: Kind
    severity: Severity
    state: Literal["standing", "acknowledged", "resolved"]
    text: str
    tenant: str | None
    raised_at: float
    told: int
    acked_at: float | None
    acked_by: str | None
    resolved_at: float | None
    facts: Mapping[str, Fact]
    deliveries: Mapping[str, str]


def raise_alerts(
    db: Database, alerts: Sequence[Alert], sinks: Sinks, repeat_s: float
) -> list[Alert]:
    """Enter what does not stand yet and say so for what does; return those that are new."""
    new = []
    with db.transaction():
        now = db.now()
        for alert in sorted(alerts, key=lambda each: each.key):  # one order, so no deadlock
            if _is_entered(db, alert, sinks, now):
                new.append(alert)
            else:
                _see_again(db, alert, sinks, now, repeat_s)
    return new


def _is_entered(db: Database, alert: Alert, sinks: Sinks, now: float) -> bool:
    entered = db.rows(
        "INSERT INTO alert (key, kind, severity, tenant, text, facts, is_quiet, repeats,"
        " raised_at, until, told, told_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING id",
        (
            *(alert.key, alert.kind, alert.severity, alert.tenant, alert.text),
            *(json.dumps(dict(alert.facts)), int(alert.is_quiet), int(alert.repeats)),
            *(now, now + alert.stands_s, 0 if alert.is_quiet else 1, now),
        ),
    )
    if entered and not alert.is_quiet:
        _put(db, entered[0][0], 1, "raised", alert.severity, sinks, now)
    return bool(entered)


def _see_again(db: Database, alert: Alert, sinks: Sinks, now: float, repeat_s: float) -> None:
    """It stands on; where that has lasted, and nobody has acknowledged it, it is told again."""
    until = now + alert.stands_s
    db.run(
        "UPDATE alert SET until = ? WHERE key = ? AND resolved_at IS NULL AND until < ?",
        (until, alert.key, until),
    )
    for number, told in db.rows(
        "UPDATE alert SET told = told + 1, told_at = ?, text = ?, facts = ?"
        " WHERE key = ? AND resolved_at IS NULL AND acked_at IS NULL AND repeats = 1"
        " AND is_quiet = 0 AND told_at <= ? RETURNING id, told",
        (now, alert.text, json.dumps(dict(alert.facts)), alert.key, now - repeat_s),
    ):
        _put(db, number, told, "again", alert.severity, sinks, now)


def _put(
    db: Database, alert: int, n: int, event: Event, severity: Severity, sinks: Sinks, now: float
) -> None:
    for name in sorted(name for name, least in sinks.items() if RANK[severity] >= RANK[least]):
        waiting = db.rows(
            "SELECT count(*) FROM alert_delivery WHERE sink = ? AND state = 'pending'", (name,)
        )[0][0]
        is_full = waiting >= MOST_PENDING
        db.run(
            "INSERT INTO alert_delivery (alert, sink, n, event, state, tries, since, next_try,"
            " error) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)",
            (
                *(alert, name, n, event, "failed" if is_full else "pending", now, now),
                "too many are waiting" if is_full else "",
            ),
        )


def resolve(db: Database, sinks: Sinks) -> int:
    """Resolve what nobody has seen for as long as it stands; return how many there were."""
    now = db.now()
    if not db.rows("SELECT 1 FROM alert WHERE resolved_at IS NULL AND until <= ? LIMIT 1", (now,)):
        return 0  # Nearly always: no lock is taken for nothing.
    with db.transaction():
        over = db.rows(
            "UPDATE alert SET resolved_at = ? WHERE resolved_at IS NULL AND until <= ?"
            " RETURNING id, told, severity, repeats, is_quiet",
            (now, now),
        )
        for number, told, severity, repeats, is_quiet in sorted(over):
            if repeats and not is_quiet:
                _put(db, number, told + 1, "resolved", severity, sinks, now)
    return len(over)


def forget(db: Database) -> int:
    """Delete what was resolved long ago; return how many there were."""
    now = db.now()
    before = now - KEPT_S
    db.run("DELETE FROM alert_loop WHERE at < ?", (now - 86_400.0,))
    # A sink that is no longer configured takes nothing.
    db.run(
        "UPDATE alert_delivery SET state = 'failed', error = 'nobody took it'"
        " WHERE state = 'pending' AND since < ?",
        (now - UNCLAIMED_S,),
    )
    return db.run("DELETE FROM alert WHERE resolved_at < ?", (before,))


def share_counts(
    db: Database, worker: str, counts: Mapping[str, int], within_s: float
) -> dict[str, int]:
    """Tell the other workers how often loops were asked here; return what they have counted of
    the same ones. within_s: for how long a count is worth something."""
    now = db.now()
    heard: dict[str, int] = {}
    if not counts:
        return heard
    db.run_many(
        "INSERT INTO alert_loop (loop, worker, asked, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (loop, worker) DO UPDATE SET asked = excluded.asked, at = excluded.at",
        [(loop, worker, asked, now) for loop, asked in sorted(counts.items())],
    )
    for loop in counts:
        asked = db.rows(
            "SELECT sum(asked) FROM alert_loop WHERE loop = ? AND worker <> ? AND at > ?",
            (loop, worker, now - min(within_s, HEARD_S)),
        )[0][0]
        heard[loop] = int(asked or 0)
    return heard


# What people see and do.


def list_alerts(db: Database, sight: Sight, *, is_all: bool = False, most: int = 200) -> list[Line]:
    """The alerts that may be seen, newest first; those that stand, or the resolved ones as well."""
    rows = db.named(
        "SELECT * FROM alert WHERE is_quiet = 0"
        " AND (CAST(? AS BIGINT) = 1 OR tenant = ?)"
        " AND (CAST(? AS BIGINT) = 1 OR resolved_at IS NULL)"
        " ORDER BY raised_at DESC, id DESC LIMIT ?",
        (*sight.sql, int(is_all), most),
    )
    return [_line(db, row) for row in rows]


def _line(db: Database, row: Row) -> Line:
    deliveries = {}
    for sink, state, tries, error in db.rows(
        "SELECT sink, state, tries, error FROM alert_delivery WHERE alert = ? ORDER BY n",
        (row["id"],),
    ):
        deliveries[sink] = state if not error else f"{state} after {tries} tries: {error}"
    return Line(
        id=row["id"],
        kind=row["kind"],
        severity=row["severity"],
        state=_state(row),
        text=row["text"],
        tenant=row["tenant"],
        raised_at=row["raised_at"],
        told=row["told"],
        acked_at=row["acked_at"],
        acked_by=row["acked_by"],
        resolved_at=row["resolved_at"],
        facts=json.loads(row["facts"]),
        deliveries=deliveries,
    )


def _state(row: Row) -> Any:
    if row["resolved_at"] is not None:
        return "resolved"
    return "standing" if row["acked_at"] is None else "acknowledged"


def acknowledge(db: Database, alert: int, sight: Sight, who: str) -> bool:
    """Note that somebody has seen to it: it is not told again. False: there is no such alert, or
    it may not be seen. Acknowledging twice keeps who was first."""
    if not db.rows(
        "SELECT 1 FROM alert WHERE id = ? AND is_quiet = 0 AND (CAST(? AS BIGINT) = 1"
        " OR tenant = ?)",
        (alert, *sight.sql),
    ):
        return False
    db.run(
        "UPDATE alert SET acked_at = ?, acked_by = ? WHERE id = ? AND acked_at IS NULL",
        (db.now(), who, alert),
    )
    return True
