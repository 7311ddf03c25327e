"""A15: clients hang up in the middle of a stream; the provider is told, the books are right."""

from __future__ import annotations

import asyncio
import re

from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.load import percentile
from chaos.world import World, deployments
from pointsman.testing import Answer as Say
from pointsman.testing import JournalEntry, Rule, Slow

LEAVERS = 500
AT_ONCE = 40
TOKENS = 60
TOKENS_PER_S = 40.0
TEXT = " abc" * TOKENS
"""A token of the provider's is four bytes here, which is also what Pointsman estimates one by:
so the two books can be compared to the token."""


async def leavers(world: World, findings: Findings) -> None:
    provider = await world.provider()
    provider.set_rules(Rule((Slow(first_token_s=0.02, tokens_per_second=TOKENS_PER_S), Say(TEXT))))
    gateway = await world.gateway(deployments([provider]))
    count = max(20, int(LEAVERS * world.scale))
    room = asyncio.Semaphore(AT_ONCE)
    plan = [(world.rng.randint(1, TOKENS - 15), world.rng.random() < 0.5) for _ in range(count)]
    files = gateway.open_files()

    async def one(number: int, after: int, by_reset: bool) -> Answer:
        async with room:
            return await gateway.client.ask(
                "/v1/chat/completions",
                chat(f"case {number}.", stream=True),
                leave_after=after,
                leave_by_reset=by_reset,
            )

    answers = await asyncio.gather(*(one(number, *planned) for number, planned in enumerate(plan)))
    entries = await gateway.settled(count)
    await provider.journal.settled(count)
    is_quiet = await gateway.quiet()
    seen = {_case(call): call for call in provider.journal.calls}
    cancels = [
        (seen[number].cancelled_at or float("inf")) - answer.left_at
        for number, answer in enumerate(answers)
    ]
    generated = sum(call.generated for call in seen.values())
    written = sum(int(entry["output"]) for entry in entries)
    received = sum(after for after, _ in plan)
    strange = [a.error for a in answers if a.error != "left"]
    outcomes = {str(entry["outcome"]) for entry in entries}
    p99_ms = percentile(cancels, 0.99) * 1e3
    findings.note("clients that left", count)
    findings.note("provider told, p50 ms", percentile(cancels, 0.5) * 1e3)
    findings.note("provider told, p99 ms", p99_ms)
    findings.note("output tokens the clients had read", received)
    findings.note("output tokens in the ledger", written)
    findings.note("output tokens the provider billed", generated)
    findings.note("ledger entries", len(entries))
    findings.expect(not strange, f"clients that could not leave: {strange[:3]}")
    findings.expect(p99_ms <= 250, f"the provider hears of it after {p99_ms:.0f} ms")
    findings.expect(len(entries) == count, f"{len(entries)} ledger entries of {count}")
    findings.expect(outcomes == {"abandoned"}, f"outcomes {outcomes}")
    # What the provider made after the last piece we read is not ours to know.
    findings.expect(
        received <= written <= generated,
        f"the ledger has {written} tokens, clients read {received}, billed were {generated}",
    )
    findings.expect(
        written >= 0.98 * generated,
        f"{written / generated:.3f} of what was billed is in the ledger",
    )
    findings.expect(is_quiet, "attempts are still in flight")
    # The pool may keep a connection; those that were left must be gone.
    findings.expect(
        gateway.open_files() <= files + 2 + AT_ONCE,
        f"{gateway.open_files()} descriptors, {files} before",
    )
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


def _case(call: JournalEntry) -> int:
    found = re.search(rb"case (\d+)", call.body)
    assert found is not None
    return int(found[1])


CHECKS = (
    Check(
        "A15",
        "500 clients hang up at random chunks, by FIN or RST",
        "cancelled upstream within 250 ms (p99), 500 entries `abandoned`, tokens as billed",
        leavers,
        15,
    ),
)
