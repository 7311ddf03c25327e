"""How many requests a deployment answered in each hour: what preloading predicts from."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

from pointsman.store.open import Store

# Both round down: PostgreSQL's CAST alone would round, and not every SQLite has floor().
_HOUR_IN_SQLITE = "CAST(at / 3600 AS INTEGER)"
_HOUR_IN_POSTGRESQL = "CAST(floor(at / 3600) AS BIGINT)"


def requests_by_hour(
    store: Store, deployments: Collection[str], since: float
) -> list[tuple[str, float, int]]:
    """Return (deployment, beginning of an hour, requests in it), times in seconds since the epoch.

    Hours are those of UTC; where local time differs from it by half an hour, so do they. Blocks,
    over a connection of its own: never on the event loop. Raises StorageError.
    """
    if not deployments:
        return []
    hour = _HOUR_IN_POSTGRESQL if store.kind == "postgresql" else _HOUR_IN_SQLITE
    marks = ", ".join("?" for _ in deployments)
    query = (
        f"SELECT final_deployment, {hour} AS hour, count(*) FROM entry "  # noqa: S608 - ours
        f"WHERE at >= ? AND final_deployment IN ({marks}) GROUP BY 1, 2"
    )
    with closing(store.open()) as database:
        rows = database.rows(query, (since, *deployments))
    return [(name, number * 3600.0, count) for name, number, count in rows]
