"""The twelve things that must be true of money, one function each, with a counterexample.

They are those of reliability: what a budget counts, what the ledger keeps, what the logs hold and
what the provider bills are four books of one business, and each pair has to agree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import groupby, pairwise
from struct import pack

import msgspec

from crash.evidence import AttemptRow, EntryRow, Evidence, PostingRow
from pointsman.budgets.subjects import subject
from pointsman.domain.budgets import Budget
from pointsman.wal.record import DISPATCH, ENTRY, SETTLE, VOID, read_settle

MOST_ATTEMPTS = 3
MOST_TOLD = 5
"""Counterexamples of one invariant that are shown."""


class Violation(msgspec.Struct, frozen=True):
    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


class Verdict(msgspec.Struct, frozen=True):
    """violations: the first few of each invariant; `counts` says how many there are."""

    violations: tuple[Violation, ...]
    counts: Mapping[str, int]

    @property
    def holds(self) -> bool:
        return not self.violations

    def of(self, invariant: str) -> list[str]:
        return [each.what for each in self.violations if each.invariant == invariant]


def check(evidence: Evidence) -> Verdict:
    """All of them."""
    shown: list[Violation] = []
    counts: dict[str, int] = {}
    for name, law in LAWS.items():
        found = list(law(evidence))
        counts[name] = len(found)
        shown += [Violation(name, what) for what in found[:MOST_TOLD]]
    return Verdict(tuple(shown), counts)


# Who counts where.


def subject_of(budget: Budget, entry: EntryRow, attempt: AttemptRow) -> str | None:
    """The account of a budget that an attempt counts in; None where it does not."""
    values = {
        "everyone": "",
        "tenant": entry.tenant,
        "team": entry.team,
        "app": entry.app,
        "user": entry.user,
        "key": entry.key,
        "route": entry.route,
        "model": attempt.model,
        "provider": attempt.provider,
    }
    value = values[budget.scope]
    if budget.tenant not in (None, entry.tenant) or value is None:
        return None
    if budget.match is not None and value not in budget.match:
        return None
    is_own = budget.scope in ("team", "app", "user", "key")
    return subject(entry.tenant, value) if is_own else value


def _shares(evidence: Evidence) -> Iterator[tuple[tuple[str, str], AttemptRow]]:
    """Each money account, by budget and subject, with each attempt that counts in it."""
    entries = {entry.seq: entry for entry in evidence.entries}
    budgets = [budget for budget in evidence.budgets if budget.unit == "nano_usd"]
    for attempt in evidence.attempts:
        entry = entries.get(attempt.entry)
        if entry is None:
            continue
        for budget in budgets:
            name = subject_of(budget, entry, attempt)
            if name is not None:
                yield (budget.name, name), attempt


def _names(evidence: Evidence) -> dict[int, tuple[str, str]]:
    return {each.id: (each.budget, each.subject) for each in evidence.accounts}


def _money(evidence: Evidence) -> set[int]:
    return {each.id for each in evidence.accounts if each.unit == "nano_usd"}


def _billed(evidence: Evidence) -> dict[str, int]:
    """What the provider bills, by attempt."""
    billed: defaultdict[str, int] = defaultdict(int)
    for each in evidence.journal:
        billed[each.attempt_id] += evidence.price(each.model, each.billed.input, each.billed.output)
    return dict(billed)


# The laws.


def bounds(evidence: Evidence) -> Iterator[str]:
    """I1: nothing is negative, nothing above a limit; nor is what the provider bills."""
    yield from evidence.sampled
    names = _names(evidence)
    strict = {each.name: each.limit for each in evidence.budgets if each.strict}
    for each in evidence.slices:
        where = names.get(each.account, ("?", str(each.account)))
        if min(each.spent, each.leased, each.over) < 0:
            yield f"{where}: spent {each.spent}, leased {each.leased}, over {each.over}"
        if each.spent + each.leased > each.lim:
            yield f"{where}: spent {each.spent} and leased {each.leased} of {each.lim}"
        if where[0] in strict and each.lim != strict[where[0]]:
            yield f"{where}: its limit is {each.lim}, not {strict[where[0]]}"
    billed = _billed(evidence)
    sums: Counter[tuple[str, str]] = Counter()
    for account, attempt in _shares(evidence):
        sums[account] += billed.get(attempt.id, 0)
    for account, amount in sums.items():
        if account[0] in strict and amount > strict[account[0]]:
            yield f"{account}: the provider bills {amount} of {strict[account[0]]}"


def conservation(evidence: Evidence) -> Iterator[str]:
    """I2: what a window has spent is the sum of its postings, each of an attempt of the ledger."""
    posted: Counter[tuple[int, float]] = Counter()
    money = _money(evidence)
    ids = {attempt.id for attempt in evidence.attempts}
    for each in evidence.postings:
        posted[each.account, each.start] += each.amount
        if each.attempt_id not in ids:
            yield f"{each.attempt_id}: {each.amount} posted, and it is in no entry"
    for part in evidence.slices:
        amount = posted.pop((part.account, part.start), 0)
        if part.account in money and amount != part.spent:
            yield f"account {part.account}/{part.start:.0f}: {part.spent} spent, {amount} posted"
    for place, amount in posted.items():
        yield f"account {place[0]}/{place[1]:.0f}: {amount} posted, there is no such window"


def completeness(evidence: Evidence) -> Iterator[str]:
    """I3: whatever the provider was asked stands in the ledger exactly once, and was logged."""
    counts = Counter(attempt.id for attempt in evidence.attempts if attempt.id)
    logged = {
        record.attempt_id
        for log in evidence.logs
        for record in log.records
        if record.kind == DISPATCH
    }
    for each in evidence.journal:
        if not each.body_bytes:
            continue
        name = each.attempt_id or "(no id)"
        if counts[each.attempt_id] != 1:
            yield f"{name}: asked, and {counts[each.attempt_id]} times in the ledger"
        if each.attempt_id not in logged:
            yield f"{name}: asked, and no log has it"


def no_phantoms(evidence: Evidence) -> Iterator[str]:
    """I4: whatever was dispatched was asked, or is resolved: called off, free, or an estimate."""
    asked = {each.attempt_id for each in evidence.journal}
    attempts = {attempt.id: attempt for attempt in evidence.attempts}
    voided = {r.attempt_id for log in evidence.logs for r in log.records if r.kind == VOID}
    for log in evidence.logs:
        for record in log.records:
            if record.kind == DISPATCH and record.attempt_id not in {*attempts, *voided}:
                yield f"{record.attempt_id}: dispatched by {log.worker}, and never resolved"
    for name, attempt in attempts.items():
        if name and name not in asked and attempt.cost_nano and not attempt.estimated:
            yield f"{name}: {attempt.cost_nano} for sure, and the provider knows nothing of it"


def exactness(evidence: Evidence) -> Iterator[str]:
    """I5: where usage is told, the cost is its price to the nano-USD, and budgets count that."""
    journal = {each.attempt_id: each for each in evidence.journal}
    for attempt in evidence.attempts:
        if attempt.estimated or attempt.id not in journal:
            continue
        bill = journal[attempt.id].billed
        due = evidence.price(attempt.model, bill.input, bill.output)
        if (attempt.cost_nano, attempt.charged) != (due, due):
            yield f"{attempt.id}: {attempt.cost_nano}, charged {attempt.charged}, but used {due}"


def pessimism(evidence: Evidence) -> Iterator[str]:
    """I6: an estimate is never below the bill, and deaths make no more than was under way."""
    billed = _billed(evidence)
    for attempt in evidence.attempts:
        if attempt.estimated and attempt.charged < billed.get(attempt.id, 0):
            yield f"{attempt.id}: charged {attempt.charged}, billed {billed[attempt.id]}"
    guesses = sum(entry.error_code == "crashed" for entry in evidence.entries)
    if guesses > evidence.in_flight:
        yield f"{guesses} requests were guessed at, and {evidence.in_flight} were under way"


def agreement(evidence: Evidence) -> Iterator[str]:
    """I7: once the invoice is booked, the ledger is the provider's bill, attempt by attempt."""
    billed = _billed(evidence)
    total = sum(billed.values())
    if not evidence.is_reconciled:
        charged = sum(attempt.charged for attempt in evidence.attempts)
        if charged < total:
            yield f"{charged} charged, {total} billed"
        return
    final = _final(evidence)
    for name in sorted({*billed, *final}):
        if final.get(name, 0) != billed.get(name, 0):
            yield f"{name}: {final.get(name, 0)} in the ledger, {billed.get(name, 0)} billed"
    if sum(final.values()) != total:
        yield f"{sum(final.values())} in the ledger, {total} billed"


def _final(evidence: Evidence) -> dict[str, int]:
    """What each attempt comes to, with what was booked for it."""
    booked: Counter[tuple[int | None, int | None]] = Counter()
    for each in evidence.adjustments:
        booked[each.entry, each.n] += each.amount_nano
    return {
        attempt.id: (attempt.cost_nano or 0) + booked[attempt.entry, attempt.n]
        for attempt in evidence.attempts
    }


def no_leaks(evidence: Evidence) -> Iterator[str]:
    """I8: when all have gone no money is held, who held it is not thought alive, no log waits.

    Only money: what a rate holds lapses with its minute, and nobody has to give it back.
    """
    money = _money(evidence)
    holders = {lease.worker for lease in evidence.leases if lease.account in money}
    for lease in evidence.leases:
        if lease.open and lease.account in money:
            yield f"lease {lease.id} of {lease.worker}: {lease.open} {lease.state}"
    for part in evidence.slices:
        if part.leased and part.account in money:
            yield f"account {part.account} from {part.start:.0f}: {part.leased} leased"
    for worker in evidence.workers:
        if worker.state == "live" and worker.id in holders:
            yield f"worker {worker.id} is thought alive"
    for name in evidence.left:
        yield f"the log of {name} was never recovered"


def counters(evidence: Evidence) -> Iterator[str]:
    """I9: every budget's counter is the sum over the ledger's own attempts, to either side."""
    names = _names(evidence)
    booked = {(each.entry, each.n) for each in evidence.adjustments}
    final = _final(evidence)
    due: Counter[tuple[str, str]] = Counter()
    for account, attempt in _shares(evidence):
        is_booked = (attempt.entry, attempt.n) in booked
        due[account] += final[attempt.id] if is_booked else attempt.charged
    spent: Counter[tuple[str, str]] = Counter()
    for part in evidence.slices:
        if part.account in _money(evidence):
            spent[names[part.account]] += part.spent
    for account in sorted({*due, *spent}):
        if due[account] != spent[account]:
            yield f"{account}: {spent[account]} counted, {due[account]} in the ledger"
    held: Counter[tuple[int, float]] = Counter()
    used: Counter[int] = Counter()
    for each in evidence.postings:
        used[each.lease] += each.amount
    for lease in evidence.leases:
        held[lease.account, lease.start] += lease.open
        if lease.account in _money(evidence) and lease.spent != used[lease.id]:
            yield f"lease {lease.id}: {lease.spent} spent, {used[lease.id]} posted"
    for part in evidence.slices:
        amount = held[part.account, part.start]
        if part.leased != amount:
            yield f"account {part.account}: {part.leased} leased, {amount} in its leases"


def requests(evidence: Evidence) -> Iterator[str]:
    """I10: a request ends once, with at most three attempts; repeated, it is made once."""
    for name, count in Counter(entry.request_id for entry in evidence.entries).items():
        if count != 1:
            yield f"request {name}: {count} entries"
    numbers: defaultdict[int, list[AttemptRow]] = defaultdict(list)
    for attempt in evidence.attempts:
        numbers[attempt.entry].append(attempt)
    for entry in evidence.entries:
        made = numbers.pop(entry.seq, [])
        if sorted(each.n for each in made) != list(range(1, entry.attempts + 1)):
            yield f"request {entry.request_id}: {entry.attempts} attempts, {len(made)} rows"
        if len(made) > MOST_ATTEMPTS:
            yield f"request {entry.request_id}: {len(made)} attempts"
        known = sum(each.cost_nano or 0 for each in made)
        if known != entry.known_nano:
            yield f"request {entry.request_id}: {entry.known_nano}, its attempts {known}"
    for seq, made in numbers.items():
        yield f"attempt {made[0].id}: there is no entry {seq}"
    for order, count in evidence.orders.items():
        if count != 1:
            yield f"idempotency key {order}: made {count} times"


def chains(evidence: Evidence) -> Iterator[str]:
    """I11: postings hash to what was written with them; logs are whole, their numbers gapless,
    and what they settled is what was posted."""
    shipped: defaultdict[tuple[str, int], list[PostingRow]] = defaultdict(list)
    for each in evidence.postings:
        shipped[each.worker, each.shipment].append(each)
    for worker, some in groupby(evidence.shipments, key=lambda each: each.worker):
        before = bytes(32)
        for number, shipment in enumerate(some, 1):
            told = shipped.pop((worker, shipment.n), [])
            before = _digest(before, told)
            if shipment.n != number:
                yield f"{worker}: shipment {shipment.n} where {number} was due"
            if len(told) != shipment.postings or before != shipment.hash:
                yield f"{worker}: shipment {shipment.n} is not what was told"
                before = shipment.hash
    for (worker, number), told in shipped.items():
        yield f"{worker}: {len(told)} postings of shipment {number}, which is not there"
    posted: Counter[str] = Counter()
    for each in evidence.postings:
        if each.kind == "charge":
            posted[each.attempt_id] += each.amount
    for log in evidence.logs:
        yield from _log(evidence, log.worker, posted)


def _log(evidence: Evidence, worker: str, posted: Mapping[str, int]) -> Iterator[str]:
    log = next(each for each in evidence.logs if each.worker == worker)
    if not log.is_whole:
        yield f"log of {worker}: damaged, or a segment is missing"
    numbers = [record.seq for record in log.records]
    for before, after in pairwise(numbers):
        if after <= before or (after != before + 1 and not evidence.was_full):
            yield f"log of {worker}: number {after} follows {before}"
    if numbers and numbers[0] != 1:
        yield f"log of {worker}: begins with number {numbers[0]}"
    for record in log.records:
        if record.kind == SETTLE:
            due = sum(charged for _, _, charged in read_settle(record).charges)
            amount = posted.get(record.attempt_id, 0)
            if amount != due:
                yield f"{record.attempt_id}: settled {due}, posted {amount}"
    entered = sum(record.kind == ENTRY for record in log.records)
    if entered > len(evidence.entries):
        yield f"log of {worker}: {entered} entries, the store has {len(evidence.entries)}"


def _digest(before: bytes, told: list[PostingRow]) -> bytes:
    """The chain's next link, as the schema states it; our own hand, not the product's."""
    digest = sha256(before)
    for each in sorted(told, key=lambda row: (row.attempt_id, row.account)):
        name = each.attempt_id.encode()
        digest.update(pack(">H", len(name)) + name + each.kind.encode())
        digest.update(pack(">qd", each.account, each.start))
        digest.update(pack(">qbd", each.amount, each.exact, each.at))
        digest.update(pack(">qq", each.lease, each.seq))
    return digest.digest()


def faces(evidence: Evidence) -> Iterator[str]:
    """I12: whatever shows the sum shows that of the ledger's rows."""
    due = sum(attempt.cost_nano or 0 for attempt in evidence.attempts)
    due += sum(each.amount_nano for each in evidence.adjustments)
    for each in evidence.said:
        if each.nano != due:
            yield f"{each.source}: {each.nano}, the ledger's rows {due}"


LAWS: Mapping[str, Callable[[Evidence], Iterator[str]]] = {
    "I1": bounds,
    "I2": conservation,
    "I3": completeness,
    "I4": no_phantoms,
    "I5": exactness,
    "I6": pessimism,
    "I7": agreement,
    "I8": no_leaks,
    "I9": counters,
    "I10": requests,
    "I11": chains,
    "I12": faces,
}
