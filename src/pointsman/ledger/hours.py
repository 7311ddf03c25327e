"""How many requests a deployment answered in each hour: what preloading predicts from."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from pointsman.errors import ConfigError
from pointsman.ledger.reports import reading
from pointsman.store.open import Store


def requests_by_hour(
    path: Path, deployments: Collection[str], since: float
) -> list[tuple[str, float, int]]:
    """Return (deployment, beginning of an hour, requests in it), times in seconds since the epoch.

    Hours are those of UTC; where local time differs from it by half an hour, so do they. Blocks:
    never on the event loop. Raises ConfigError where the ledger cannot be read.
    """
    marks = ", ".join("?" for _ in deployments)
    query = (
        "SELECT final_deployment, CAST(at / 3600 AS INTEGER) AS hour, count(*) FROM entry "  # noqa: S608
        f"WHERE at >= ? AND final_deployment IN ({marks}) GROUP BY 1, 2"
    )
    with reading(path) as connection:
        try:
            rows = connection.execute(query, (since, *deployments)).fetchall()
        except sqlite3.Error as error:
            raise ConfigError(f"ledger {path}: cannot be read ({error})") from error
    return [(name, hour * 3600.0, count) for name, hour, count in rows]


def stored_requests_by_hour(
    store: Store, deployments: Collection[str], since: float
) -> list[tuple[str, float, int]]:
    """The same of a ledger in any store, over a connection of its own. Raises StorageError."""
    marks = ", ".join("?" for _ in deployments)
    query = (
        "SELECT final_deployment, CAST(floor(at / 3600) AS BIGINT) AS hour, count(*) FROM entry "  # noqa: S608
        f"WHERE at >= ? AND final_deployment IN ({marks}) GROUP BY 1, 2"
    )
    if not deployments:
        return []
    with closing(store.open()) as database:
        rows = database.rows(query, (since, *deployments))
    return [(name, hour * 3600.0, count) for name, hour, count in rows]
