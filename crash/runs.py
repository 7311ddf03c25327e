"""Kill replicas at every point under load, at random too, then recount and judge."""

from __future__ import annotations

import asyncio
import csv
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chaos.check import Findings
from chaos.client import Answer, chat
from chaos.load import open_loop

from crash.child import POINTS
from crash.evidence import Account, Evidence, gather
from crash.house import WHO, House, Replica, key_of
from crash.invariants import check
from pointsman.reports.invoice import Item
from pointsman.reports.question import EVERYONE, Question
from pointsman.reports.reconcile import book, reconcile
from pointsman.reports.report import report
from pointsman.testing.director import Rule
from pointsman.testing.journal import JournalEntry
from pointsman.testing.plays import Cut, Fail

BUDGETS: Sequence[Mapping[str, object]] = (
    {"name": "all", "scope": "everyone", "limit_usd": 5, "window": "month"},
    {"name": "teams", "scope": "team", "limit_usd": 3, "window": "month"},
    {"name": "little", "scope": "team", "match": ["small"], "limit_usd": 0.02, "window": "month"},
    {"name": "apps", "scope": "app", "limit_usd": 2, "window": "month", "rolling": True},
    {"name": "keys", "scope": "key", "limit_usd": 2, "window": "day"},
)
"""Strict, in four scopes; one of them is used up on the way."""
FOREVER = 253_402_300_799.0
NTH: Mapping[str, int] = {"K7": 2, "K8": 2, "K6": 4}
"""The latest passing at which a point kills; of the others 25."""
FIRE_S = 6.0
"""Where a point was not come to in this time, the replica is killed all the same."""


@dataclass(slots=True)
class Traffic:
    """Whole and streamed requests of all keys, at replicas that are ready."""

    house: House
    rng: random.Random
    statuses: Counter[str] = field(default_factory=Counter)

    async def ask(self, due: float) -> Answer:
        ready = self.house.ready
        if not ready:
            self.statuses["nobody"] += 1
            return Answer(due)
        rng = self.rng
        who = rng.choices(list(WHO), (4, 3, 1, 1))[0]
        words = " ".join(["word"] * rng.randint(3, 30))
        body = chat(words, stream=rng.random() < 0.5, max_tokens=rng.randint(20, 80))
        head = {"authorization": f"Bearer {key_of(who)}"}
        answer = await rng.choice(ready).ask(
            "/v1/chat/completions", body, headers=head, due=due, timeout_s=15
        )
        word = answer.error.partition(":")[0] or str(answer.status)
        self.statuses[word] += 1
        return answer


def rules() -> Iterator[Rule]:
    """What providers do wrong meanwhile: some fail unbilled, some break off, billed in part."""
    yield Rule((Fail(500),), name="fails", probability=0.02)
    yield Rule((Cut(),), name="breaks off", probability=0.02, stream=True)


def plan(rng: random.Random, each: int, at_random: int) -> list[str]:
    """Every point so many times, and deaths at random moments (""), in any order."""
    deaths = [point for point in POINTS for _ in range(each)] + [""] * at_random
    rng.shuffle(deaths)
    return deaths


async def die(house: House, replica: Replica, deaths: list[str], rng: random.Random) -> None:
    """Live and die as planned, again and again; in the end live."""
    while deaths:
        point = deaths.pop()
        await house.start(replica, point, rng.randint(1, NTH.get(point, 25)))
        patience = FIRE_S if point else rng.uniform(0.1, 1.5)
        if not await replica.died(patience):
            replica.send(signal.SIGKILL)
            await replica.died(5.0)
            point = ""
        house.mourn(replica, point)
    await house.start(replica)


async def pause(house: House, replica: Replica, seconds: float) -> None:
    """Stop a replica for longer than its lease lasts, and let it wake up."""
    replica.is_ready = False
    replica.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    replica.send(signal.SIGCONT)
    replica.is_ready = True


async def kill_and_recount(
    house: House,
    findings: Findings,
    *,
    each: int,
    at_random: int,
    rate: float,
    seconds: float,
    lease_s: float,
    pauses: int = 0,
    restarts: int = 0,
    spared: int = 0,
) -> Evidence:
    """Kill and go on until all have died as planned and `seconds` are over; then recount.

    spared: so many replicas live until the others have died as planned; they die last.
    """
    rng = random.Random(house.seed)
    traffic = Traffic(house, rng)
    for provider in house.providers:
        provider.set_rules(*rules())
    await house.start_all()
    house.watch()
    deaths = plan(rng, each, at_random - spared)
    planned = len(deaths) + spared
    began = time.monotonic()
    load = asyncio.create_task(_endless(traffic, rate, rng))
    try:
        mortal = house.replicas[: len(house.replicas) - spared]
        await asyncio.gather(*(_first(house, one, deaths, rng) for one in mortal))
        for replica in house.replicas[len(mortal) :]:
            replica.send(signal.SIGKILL)
            await replica.died(5.0)
            house.mourn(replica)
            await house.start(replica)
        for _ in range(restarts):
            assert house.postgres is not None
            await asyncio.to_thread(house.postgres.restart)
            await asyncio.sleep(1.0)
        for number in range(pauses):
            await pause(house, house.replicas[number % len(house.replicas)], lease_s * 1.4)
        await asyncio.sleep(max(1.0, seconds - (time.monotonic() - began)))
    finally:
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
    lasted = time.monotonic() - began
    async with asyncio.timeout(20):
        while any(replica.under_way for replica in house.replicas):
            await asyncio.sleep(0.02)
    evidence = await recount(house)
    fired = Counter(house.points())
    findings.note("kills", sum(replica.deaths for replica in house.replicas))
    findings.note("points", " ".join(f"{point}:{fired[point]}" for point in POINTS))
    findings.note("requests", traffic.statuses.total())
    findings.note("answers", " ".join(f"{k}:{n}" for k, n in sorted(traffic.statuses.items())))
    findings.note("a_second", traffic.statuses.total() / lasted)
    findings.note("seconds", lasted)
    findings.note("recovery_s_max", max(house.recoveries, default=0.0))
    findings.note("fenced_and_back", sum(worker.epoch > 1 for worker in evidence.workers))
    findings.note("samples", house.sampler.looks if house.sampler else 0)
    done = sum(replica.deaths for replica in house.replicas)
    findings.expect(done == planned, f"{done} of {planned} kills")
    findings.expect(all(fired[p] for p in POINTS) or not each, f"not come to every point: {fired}")
    slowest = max(house.recoveries, default=0.0)
    findings.expect(slowest <= 5.0, f"a recovery took {slowest:.1f} s")
    findings.expect(len(house.recoveries) == done, "not every log was recovered")
    for line in house.crashes()[:3]:
        findings.failures.append(f"log: {line}")
    return evidence


async def _first(house: House, replica: Replica, deaths: list[str], rng: random.Random) -> None:
    """The replica that runs already is the first to die."""
    replica.send(signal.SIGTERM)
    await replica.end()
    await die(house, replica, deaths, rng)


async def _endless(traffic: Traffic, rate: float, rng: random.Random) -> None:
    while True:
        await open_loop(traffic.ask, rate, 1.0, rng)


async def recount(house: House) -> Evidence:
    """End everything in order; read all books."""
    await house.quiet()
    if house.sampler is not None:
        await asyncio.to_thread(house.sampler.close)
    return await asyncio.to_thread(read, house)


def read(house: House, *, is_reconciled: bool = False, said: Sequence[Account] = ()) -> Evidence:
    database = house.open()
    try:
        return gather(
            database,
            root=house.root,
            kept=house.kept,
            journal=house.journal(),
            budgets=house.settings().budgets,
            prices=house.prices,
            in_flight=house.in_flight,
            is_reconciled=is_reconciled,
            sampled=house.sampler.found if house.sampler else (),
            said=said,
        )
    finally:
        database.close()


def invoice(journal: Sequence[JournalEntry], evidence: Evidence) -> list[Item]:
    """What the providers would send: a line for each attempt that they bill."""
    items: list[Item] = []
    for entry in journal:
        cost = evidence.price(entry.model, entry.billed.input, entry.billed.output)
        if cost:
            items.append(Item(len(items), attempt_id=entry.attempt_id, cost_nano=cost))
    return items


def settle(house: House, evidence: Evidence) -> int:
    """Book the providers' invoice, twice: the second time there is nothing to book."""
    database = house.open()
    try:
        items = invoice(evidence.journal, evidence)
        booked = 0
        for source in ("invoice", "invoice again"):
            found = reconcile(database, EVERYONE, items, since=0.0, until=FOREVER)
            new = book(database, found, source)
            if source != "invoice" and new:
                raise AssertionError(f"an invoice that was booked is booked again: {new[0]}")
            booked += len(new)
        return booked
    finally:
        database.close()


async def reported(house: House) -> list[Account]:
    """The sum as reports have it by several dimensions, as a CSV file does, and as metrics do."""
    accounts = await asyncio.to_thread(_reports, house)
    accounts.append(Account("CSV", await _exported(house)))
    return [*accounts, Account("metrics", round(await house.shown() * 1e9))]


def _reports(house: House) -> list[Account]:
    database = house.open()
    try:
        accounts = []
        for by in ((), ("model",), ("team", "app"), ("key", "route", "outcome")):
            lines = report(database, Question.of(EVERYONE, by))
            name = f"report by {', '.join(by) or 'nothing'}"
            accounts.append(Account(name, sum(line.billed_nano for line in lines)))
        return accounts
    finally:
        database.close()


async def _exported(house: House) -> int:
    """What the command line exports, added up."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pointsman", "report", "export"),
        *("--by", "model,key", "--ledger", str(house.place)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    rows = csv.DictReader(out.decode().splitlines())
    return sum(int(row["billed_nano_usd"]) for row in rows)


async def judge(house: House, evidence: Evidence, findings: Findings) -> Evidence:
    """Check as it stands, then with the invoice booked; note the figures. Returns the latter."""
    before = check(evidence)
    booked = await asyncio.to_thread(settle, house, evidence)
    said = await reported(house)
    after_evidence = await asyncio.to_thread(read, house, is_reconciled=True, said=said)
    after = check(after_evidence)
    billed = sum(
        evidence.price(each.model, each.billed.input, each.billed.output)
        for each in evidence.journal
    )
    charged = sum(attempt.charged for attempt in evidence.attempts)
    crashed = sum(entry.error_code == "crashed" for entry in evidence.entries)
    final = sum(attempt.cost_nano or 0 for attempt in after_evidence.attempts)
    final += sum(each.amount_nano for each in after_evidence.adjustments)
    findings.note("entries", len(evidence.entries))
    findings.note("attempts_asked", len(evidence.journal))
    findings.note("crashed", crashed)
    findings.note("billed_nano", billed)
    findings.note("charged_before_nano", charged)
    findings.note("booked", booked)
    findings.note("ledger_minus_journal_nano", final - billed)
    for when, verdict in (("", before), ("reconciled, ", after)):
        for each in verdict.violations:
            findings.failures.append(f"{when}{each} ({verdict.counts[each.invariant]} in all)")
    return after_evidence
