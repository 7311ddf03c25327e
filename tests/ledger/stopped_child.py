"""A worker that spends a budget again and again, for as long as it is let.

    python -m tests.ledger.stopped_child PLACE ROOT JOURNAL LEASE_S

The file JOURNAL is the provider: a line says when it was asked, for which attempt and from which
lease.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from tests.ledger.crash_child import HELD, note

from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.membership import Membership
from pointsman.budgets.subjects import Ask
from pointsman.budgets.treasury import Treasury
from pointsman.clock import SystemClock
from pointsman.config.settings import LedgerSettings
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.domain.deployment import Deployment
from pointsman.domain.secret import Secret
from pointsman.domain.usage import FREE
from pointsman.domain.windows import Window
from pointsman.errors import PointsmanError
from pointsman.ledger.opening import open_ledger
from pointsman.wal import note as notes

BUDGET = Budget("total", "everyone", 10**9, window=Window("total"))
MODEL = Deployment("acme/m", "acme", "m", "workhorse", "openai", FREE)


def settings_of(place: str, root: Path, lease_s: float) -> LedgerSettings:
    is_url = "://" in place
    return LedgerSettings(
        path=None if is_url else Path(place),
        url=Secret(place) if is_url else None,
        log_dir=root,
        lease_s=lease_s,
        flush_s=0.005,
        timeout_s=1.0,
    )


async def spend(place: str, root: Path, journal: Path, lease_s: float) -> None:
    clock = SystemClock()
    kept = open_ledger(settings_of(place, root, lease_s), clock)
    assert kept.store is not None
    assert kept.owner is not None
    name = kept.owner.worker
    membership = Membership(name, kept.owner.host, kept.owner.boot, lease_s)
    treasury = Treasury([BUDGET], StoreEscrow(kept.store, membership), clock, log=kept.log)
    kept.start()
    await treasury.start()
    out = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ask = Ask(Caller("key"), "auto", deployment=MODEL)
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        attempt_id = f"{name}.{number}"
        body = notes.encode(note(attempt_id, "key", clock.wall()))
        try:
            hold = await treasury.hold(ask, attempt_id, HELD, HELD, 10, body, clock.now() + 5.0)
        except PointsmanError:
            await asyncio.sleep(0.01)
            continue
        [(lease, _)] = hold.parts
        os.write(out, f"{time.time()} {attempt_id} {lease}\n".encode())
        hold.settle(HELD // 2, exact=True, tokens=10)
        await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(spend(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
