"""What whoever ships a worker's log has the store do: `pointsman.ledger.shipping.Accounts`."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.budgets.escrow_sql import Charge, close_worker, enrol, settle
from pointsman.store.database import Database
from pointsman.wal.folder import Owner
from pointsman.wal.replay import Settled


class StoreAccounts:
    """All of it inside the caller's transaction, and safe to repeat."""

    def enrol(self, database: Database, owner: Owner) -> None:
        enrol(database, owner.worker, owner.epoch, owner.host, owner.boot, owner.started)

    def settle(
        self, database: Database, owner: Owner, charges: Sequence[tuple[int, Settled]]
    ) -> None:
        told = [
            Charge(what.attempt_id, lease, held, charged, what.exact, seq, what.at)
            for seq, what in charges
            for lease, held, charged in what.charges
        ]
        settle(database, owner.worker, owner.epoch, told)

    def end(self, database: Database, owner: Owner, *, is_sure: bool) -> None:
        close_worker(database, owner.worker, is_sure=is_sure)
