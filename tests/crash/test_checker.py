"""The checker of `make crash`: it finds nothing in sound books, and whatever is spoilt in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from chaos.check import Findings
from crash.corruptions import CORRUPTIONS, Corruption, damaged_log, reread, spoil
from crash.evidence import Evidence
from crash.house import House
from crash.invariants import LAWS, check
from crash.runs import BUDGETS, judge, kill_and_recount
from crash.sampler import look

from pointsman.clock import SystemClock
from pointsman.store.open import Store

TIMED = "a recovery took"
"""What a busy machine may fail: both replicas are dead most of the time."""

pytestmark = [pytest.mark.slow, pytest.mark.real]


@dataclass
class Sound:
    """Books after some deaths, reconciled; `findings` are those of the run."""

    evidence: Evidence
    findings: Findings
    ledger: Path
    folder: Path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sound]:
    """Two replicas that die at every point, over one file."""
    folder = tmp_path_factory.mktemp("crash")

    async def run() -> Sound:
        findings = Findings()
        settings = {"ledger": {"lease_s": 3}}
        async with (
            asyncio.timeout(90),
            House(
                folder, seed=11, replicas=2, is_postgres=False, budgets=BUDGETS, settings=settings
            ) as house,
        ):
            evidence = await kill_and_recount(
                house, findings, each=1, at_random=1, rate=60, seconds=2, lease_s=3
            )
            after = await judge(house, evidence, findings)
            return Sound(after, findings, folder / "ledger.db", folder)

    yield uvloop.run(run())


def test_after_a_death_at_every_point_the_books_agree(sound: Sound) -> None:
    """And the provider's invoice, booked, makes them equal to the nano-USD."""
    late = [each for each in sound.findings.failures if each.startswith(TIMED)]
    assert sound.findings.failures == late
    assert check(sound.evidence).violations == ()
    assert sound.findings.figures["ledger_minus_journal_nano"] == 0


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: each.name.replace(" ", "_"))
def test_what_is_spoilt_is_noticed(sound: Sound, corruption: Corruption, tmp_path: Path) -> None:
    evidence = sound.evidence
    if corruption.sql:
        spoil(sound.ledger, tmp_path / "spoilt.db", corruption.sql)
        evidence = reread(evidence, tmp_path / "spoilt.db")
    if corruption.change is not None:
        evidence = corruption.change(evidence)
    assert check(evidence).of(corruption.law)


def test_a_changed_byte_of_a_log_is_noticed(sound: Sound) -> None:
    log = max(sound.evidence.logs, key=lambda each: len(each.records))
    folder = sound.folder / "kept" / log.worker
    spoilt = damaged_log(folder, 0.5)
    assert not spoilt.is_whole or len(spoilt.records) < len(log.records)


@pytest.mark.parametrize("change", ["spent = lim + 1", "over = 1", "leased = leased + 1"])
def test_a_look_at_the_running_store_notices(sound: Sound, change: str, tmp_path: Path) -> None:
    assert sound.findings.figures["samples"]
    spoil(sound.ledger, tmp_path / "spoilt.db", f"UPDATE budget_slice SET {change}")
    database = Store.of(tmp_path / "spoilt.db", SystemClock()).open()
    try:
        assert look(database)
    finally:
        database.close()


def test_every_law_has_something_that_breaks_it() -> None:
    assert {corruption.law for corruption in CORRUPTIONS} == set(LAWS)
