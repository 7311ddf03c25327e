"""Run cells against a peer, and judge us and it by the rules for any gateway."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import aiohttp

from matrix.fault import PATIENT, SIDES, Cell, ClientFault, Fault, Times
from matrix.judge import LEFT_S, PATIENCE_S, Verdict, judged
from matrix.reading import Got
from matrix.run import AGAIN, Lag, ask
from matrix.sites import Sites
from matrix.under_test import UnderTest
from pointsman.testing.journal import JournalEntry

BATCH = 1000
AT_ONCE = 16
"""Few at once: a peer is to be judged by what it does, not by how fast it is."""
TimesOf = Callable[[Cell], Times]


@dataclass(frozen=True, slots=True)
class Judged:
    cell: Cell
    verdict: Verdict
    again: bool = False
    """Whether it was run twice, because it was wrong at first."""


def fits(cell: Cell) -> bool:
    """Whether any gateway can be asked this. Not: what is about our retry budget, a resolver that
    hangs (only ours can be replaced), and keys, which a peer may keep in a database."""
    fault = cell.fault
    if isinstance(fault, ClientFault):
        return fault.told.status != 401
    return fault.retries and fault.where != "dns_hangs"


def own_times(cell: Cell) -> Times:
    return cell.fault.times if isinstance(cell.fault, Fault) else PATIENT


async def compare(
    under_test: UnderTest, chosen: Sequence[Cell], sites: Sites, seed: int, times_of: TimesOf
) -> list[Judged]:
    """Judge every cell that fits. What is wrong is run once more, in a process of its own, and the
    better of the two counts: a stall of the machine or a neighbour's broken connection is not
    held against a peer."""
    order = [cell for cell in chosen if fits(cell)]
    random.Random(seed).shuffle(order)
    found = await _all(under_test, order, sites, times_of)
    wrong = [each.cell for each in found if not each.verdict.is_right]
    fresh = [replace(cell, number=cell.number + AGAIN) for cell in wrong]
    second = {each.cell.id: each for each in await _all(under_test, fresh, sites, times_of)}
    return sorted(
        (
            each
            if each.verdict.is_right
            else Judged(each.cell, second[each.cell.id].verdict, again=True)
            for each in found
        ),
        key=lambda each: each.cell.number,
    )


async def _all(
    under_test: UnderTest, chosen: Sequence[Cell], sites: Sites, times_of: TimesOf
) -> list[Judged]:
    """Run in batches, the cells with short times apart: a gateway may have one time for all."""
    found: list[Judged] = []
    for patient in (False, True):
        alike = [cell for cell in chosen if (times_of(cell) == PATIENT) is patient]
        for start in range(0, len(alike), BATCH):
            found += await _batch(under_test, alike[start : start + BATCH], sites, times_of)
    return found


async def _batch(
    under_test: UnderTest, batch: Sequence[Cell], sites: Sites, times_of: TimesOf
) -> list[Judged]:
    if any(calls_of(cell, sites) for cell in batch):
        raise ValueError("these sites have played these cells before: scripts would be mixed up")
    url = await under_test.start(batch, sites)
    gate = asyncio.Semaphore(AT_ONCE)
    lag = Lag()
    lag.start()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
        auto_decompress=False,
    ) as session:

        async def one(cell: Cell) -> tuple[Cell, Got, Sequence[JournalEntry]]:
            async with gate:
                sites.script(cell)
                got = await ask(session, url, under_test.key, cell)
                await _left(cell, sites, got)
                return cell, got, calls_of(cell, sites)

        try:
            ended = await asyncio.gather(*map(one, batch))
        finally:
            lag.stop()
            await under_test.stop()
    return [
        Judged(cell, judged(cell, got, calls, times_of(cell), lag.worst_s))
        for cell, got, calls in ended
    ]


async def _left(cell: Cell, sites: Sites, got: Got) -> None:
    """Where the client has gone, wait, bounded, for the provider to be left too."""
    if got.left_at is None:
        return
    for _ in range(int((LEFT_S + 0.5) / 0.02)):
        calls = calls_of(cell, sites)
        if calls and all(call.ended != "lost" for call in calls):
            return
        await asyncio.sleep(0.02)


def calls_of(cell: Cell, sites: Sites) -> list[JournalEntry]:
    """Every call to the deployments of a cell: those that ended, then those that did not."""
    found: list[JournalEntry] = []
    for side in SIDES:
        journal = sites.provider(cell, side).journal
        found += journal.of_model(cell.model(side))
        found += [each for each in journal.open.values() if each.model == cell.model(side)]
    return found
