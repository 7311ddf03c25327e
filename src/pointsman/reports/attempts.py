"""The ledger's attempts one by one, for exports and invoices: read in pages, never all at once.

A page begins after the last row of the one before, by the numbers of the rows, so that it costs
the same wherever in the ledger it lies, and rows that are added meanwhile change nothing before
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from pointsman.reports.cells import columns_of
from pointsman.reports.question import EVERYONE, Whose
from pointsman.store.database import Database, Value

PAGE: Final = 5_000


class AttemptRow(msgspec.Struct, frozen=True):
    """One attempt with what its request says. `cost_nano` None: of unknown price. `usage_detail`:
    what else it used, as JSON by the names of `Usage`; None for nothing but plain tokens."""

    request_id: str
    attempt_id: str
    n: int
    at: float
    tenant: str | None
    team: str | None
    app: str | None
    user: str | None
    key: str | None
    route: str
    operation: str
    deployment: str
    provider: str
    model: str
    tier: str
    outcome: str
    hedge: int
    status: int
    input: int
    output: int
    cached: int
    cache_write: int
    cache_write_1h: int
    reasoning: int
    estimated: int
    cost_nano: int | None
    charged_nano: int | None
    price_version: str
    seconds: float
    ttft_s: float | None
    usage_detail: str | None
    entry: int


FIELDS: Final = AttemptRow.__struct_fields__

_SELECT = """
SELECT e.request_id, {id}, a.n, e.at, e.tenant, e.team, e.app, e."user", e.key, e.route,
  e.operation, a.deployment, a.provider, a.model, a.tier, a.outcome, a.hedge, e.status, a.input,
  a.output, a.cached, a.cache_write, a.cache_write_1h, a.reasoning, a.estimated, a.cost_nano,
  {charged}, a.price_version, a.seconds, a.ttft_s, {detail}, e.seq
FROM attempt a JOIN entry e ON e.seq = a.entry
WHERE (e.seq > ? OR (e.seq = ? AND a.n > ?)) AND e.seq >= ? AND e.at >= ? AND e.at < ?"""


def attempts(
    database: Database, whose: Whose, since: float, until: float, page: int = PAGE
) -> Iterator[AttemptRow]:
    """Every attempt of a period in the order it was written. Raises StorageError."""
    there = columns_of(database, "attempt")
    sql = _SELECT.format(
        id="a.id" if "id" in there else "a.entry || '-' || a.n",
        charged="a.charged_nano" if "charged_nano" in there else "CAST(NULL AS BIGINT)",
        detail="a.usage_detail" if "usage_detail" in there else "CAST(NULL AS TEXT)",
    )
    if whose is not EVERYONE:
        sql += " AND e.tenant = ?"
    sql += " ORDER BY e.seq, a.n LIMIT ?"
    own: tuple[Value, ...] = () if whose is EVERYONE else (whose,)
    seq, n = 0, 0
    while True:
        rows = database.rows(sql, (seq, seq, n, seq, since, until, *own, page))
        for row in rows:
            yield AttemptRow(*row)
        if len(rows) < page:
            return
        seq, n = rows[-1][-1], rows[-1][2]
