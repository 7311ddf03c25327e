"""What is to be told to whom, in the store: who takes a delivery has it for a while, alone.

So several workers deliver what any of them has raised, and what a worker that died had taken comes
to another. Functions take a Database and block.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

import msgspec

from pointsman.alerts.alert import Event, Told
from pointsman.store.database import Database, Row

TAKEN_S: Final = 60.0
"""How long whoever takes a delivery has before another may, in seconds: longer than a try."""


class Due(msgspec.Struct, frozen=True):
    """A delivery that was taken: to be told now, by whoever took it."""

    sink: str
    n: int
    tries: int
    since: float
    told: Told


def take_due(db: Database, sinks: Iterable[str], most: int = 20) -> list[Due]:
    """Take deliveries to these sinks whose time has come: for `TAKEN_S` they are ours alone."""
    now = db.now()
    found = [
        row
        for sink in sinks
        for row in db.rows(
            "SELECT alert, sink, n FROM alert_delivery WHERE state = 'pending' AND next_try <= ?"
            " AND sink = ? ORDER BY next_try, alert, n LIMIT ?",
            (now, sink, most),
        )
    ]
    taken = []
    for alert, sink, n in found:
        ours = db.rows(
            "UPDATE alert_delivery SET tries = tries + 1, next_try = ? WHERE alert = ?"
            " AND sink = ? AND n = ? AND state = 'pending' AND next_try <= ?"
            " RETURNING tries, since, event",
            (now + TAKEN_S, alert, sink, n, now),
        )
        for tries, since, event in ours:
            row = db.named("SELECT * FROM alert WHERE id = ?", (alert,))[0]
            taken.append(Due(sink, n, tries, since, _told(row, f"{alert}-{n}-{sink}", event)))
    return taken


def delivered(db: Database, due: Due) -> None:
    _set_delivery(db, due, "done", 0.0, "")


def not_delivered(db: Database, due: Due, error: str, again_at: float | None) -> None:
    """again_at: when the next try is, by the store's clock; None: there is none."""
    _set_delivery(db, due, "failed" if again_at is None else "pending", again_at or 0.0, error)


def _set_delivery(db: Database, due: Due, state: str, next_try: float, error: str) -> None:
    db.run(
        "UPDATE alert_delivery SET state = ?, next_try = ?, error = ?"
        " WHERE alert = ? AND sink = ? AND n = ? AND state = 'pending'",
        (state, next_try, error[:200], due.told.id, due.sink, due.n),
    )


def _told(row: Row, delivery: str, event: Event) -> Told:
    return Told(
        delivery=delivery,
        event=event,
        id=row["id"],
        kind=row["kind"],
        severity=row["severity"],
        text=row["text"],
        tenant=row["tenant"],
        raised_at=row["raised_at"],
        facts=json.loads(row["facts"]),
    )
