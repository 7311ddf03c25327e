"""Recovery: tell the store what dead workers could not tell it themselves.

Every worker looks once a second for logs whose owner is dead, whoever that was. Of several that
find one, the lock lets one have it. It tells the store what it was not told, settles what was left
open (`wal/replay.py` says how), gives back what is left of the worker's leases, and deletes the
log. Whoever dies on the way leaves it to the next, who comes to the same result.

What is left of the leases comes back only where the log is known to be whole. After a loss of
power its last milliseconds may be missing, after damage anything; then it stays counted as used,
in suspense, until the provider's invoice tells.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pointsman.errors import ConfigError
from pointsman.ledger.shipping import Accounts, Shipping, ship_all
from pointsman.store.database import Database
from pointsman.store.errors import StorageError
from pointsman.store.open import Store
from pointsman.wal.folder import Claim, boot_id, orphans
from pointsman.wal.record import Record, Unreadable
from pointsman.wal.replay import Survey, items_of
from pointsman.wal.segment import read_all

log = logging.getLogger("pointsman.ledger")

EVERY_S: Final = 1.0


class Recovery:
    """Watches a directory of logs on a thread of its own. `root` need not exist.

    boot: which start of the machine it is now; "" where that is not known, which is as another.
    """

    def __init__(
        self,
        root: Path,
        store: Store,
        accounts: Accounts,
        *,
        every_s: float = EVERY_S,
        batch_rows: int = 512,
        boot: str | None = None,
    ) -> None:
        self.recovered = 0
        """Logs, ever growing; so are the others."""
        self.guessed = 0
        """Charges and entries that no log said and that were made up, the dearest that can be."""
        self.lost = 0
        self._root = root
        self._store = store
        self._accounts = accounts
        self._every_s = every_s
        self._batch_rows = batch_rows
        self._boot = boot_id() if boot is None else boot
        self._database: Database | None = None
        self._ending = threading.Event()
        self._trouble = ""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look; at once, and then again and again."""
        self._thread = threading.Thread(target=self._run, name="pointsman-recovery", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking. Blocks for as long as a statement may take."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        if self._database is not None:
            self._database.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.sweep()
            except (StorageError, OSError, ConfigError, Unreadable) as error:
                self._tell(str(error))
            else:
                self._trouble = ""
            self._ending.wait(self._every_s)

    def _tell(self, trouble: str) -> None:
        """The same trouble is told once."""
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("recovery.stalled path=%s error=%r", self._root, trouble)

    def sweep(self) -> int:
        """Recover every log whose owner is dead; return how many. Blocks.

        Raises StorageError and OSError: what is not recovered by then is left for the next time.
        """
        count = 0
        for claim in orphans(self._root, self._store.shown):
            try:
                self._recover(claim)
            except BaseException:
                claim.release()
                raise
            claim.remove()
            count += 1
            self.recovered += 1
            if self._ending.is_set():
                break
        return count

    def _recover(self, claim: Claim) -> None:
        if self._database is None:
            self._database = self._store.open()
        owner = claim.owner
        survey, is_whole = self._surveyed(claim)
        shipping = Shipping(owner, self._accounts)
        shipping.resume(self._database)
        logged = ship_all(
            shipping,
            self._database,
            items_of(_records(claim, shipping.told), self._refuse),
            self._batch_rows,
            self._refuse,
        )
        guessed = ship_all(
            shipping, self._database, survey.unsaid(), self._batch_rows, self._refuse
        )
        is_same_boot = bool(self._boot) and owner.boot == self._boot
        shipping.end(self._database, survey.last_seq, is_sure=is_whole and is_same_boot)
        self.guessed += guessed
        log.warning(
            "recovery.done worker=%s told=%d guessed=%d whole=%s same_boot=%s",
            owner.worker,
            logged,
            guessed,
            is_whole,
            is_same_boot,
        )

    def _surveyed(self, claim: Claim) -> tuple[Survey, bool]:
        """What a log says, and whether nothing is missing in it but perhaps a torn end.

        A segment's header tells the digest of the one before it; only the last may be torn.
        """
        survey = Survey()
        is_whole = True
        previous: bytes | None = None
        number: int | None = None
        was_torn = False
        for segment in read_all(claim.path):
            header = segment.header
            if header is None:
                # Nothing but a torn header: the disk was full, or it died making the file.
                is_whole = is_whole and not segment.is_damaged
            else:
                follows = number is None or (
                    header.number == number + 1 and header.previous == previous
                )
                is_whole = is_whole and follows and not segment.is_damaged
                previous, number = segment.digest, header.number
            is_whole = is_whole and not was_torn
            was_torn = segment.is_torn
            survey.feed(segment.records, self._refuse)
        if not is_whole:
            log.error("recovery.damaged path=%s", claim.path)
        return survey, is_whole

    def _refuse(self, name: str, error: Exception) -> None:
        self.lost += 1
        log.error("recovery.refused id=%s error=%r", name, str(error))

    def __repr__(self) -> str:
        return f"Recovery({str(self._root)!r}, recovered={self.recovered}, guessed={self.guessed})"


def _records(claim: Claim, told: int) -> Iterator[Record]:
    """A second time over the log: it is read by segments, as it may be larger than memory."""
    for segment in read_all(claim.path):
        yield from (record for record in segment.records if record.seq > told)
