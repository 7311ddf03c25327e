"""A worker's place among the others: its row in the store, its epoch, and until when it lives.

The row is shared with who ships the worker's log. A worker that was declared dead begins anew with
the next epoch; what it had before is settled all the same, but nothing more is held in it.
"""

from __future__ import annotations

from typing import Final

from pointsman.budgets.escrow_sql import expire
from pointsman.store.database import Database

_JOIN: Final = (
    "INSERT INTO worker (id, epoch, host, boot, started, expires, state)"
    " VALUES (?, 1, ?, ?, ?, ?, 'live') ON CONFLICT (id) DO UPDATE SET"
    " epoch = worker.epoch + CASE WHEN worker.state = 'live' THEN 0 ELSE 1 END,"
    " expires = excluded.expires, state = 'live' RETURNING epoch"
)
_RENEW: Final = (
    "UPDATE worker SET expires = ? WHERE id = ? AND epoch = ? AND state = 'live' AND expires >= ?"
)


class Membership:
    """`worker` is unique over all processes and times; lease_s: how long it may not be heard of."""

    def __init__(self, worker: str, host: str, boot: str, lease_s: float) -> None:
        self.worker = worker
        self.epoch = 0
        """0 until it has joined."""
        self.lease_s = lease_s
        self._host = host
        self._boot = boot

    def beat(self, db: Database) -> bool:
        """Say that it lives, and see who does not. False: it was declared dead, or should have
        been; it has begun anew. Opens a transaction."""
        with db.transaction():
            now = db.now()
            values = (now + self.lease_s, self.worker, self.epoch, now)
            is_well = self.epoch > 0 and db.run(_RENEW, values) == 1
            expire(db, now)
            is_new = self.epoch == 0
            if not is_well:
                ((epoch,),) = db.rows(
                    _JOIN, (self.worker, self._host, self._boot, now, now + self.lease_s)
                )
        if not is_well:
            self.epoch = epoch
        return is_well or is_new

    def __repr__(self) -> str:
        return f"Membership({self.worker!r}, epoch={self.epoch})"
