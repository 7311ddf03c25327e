"""A7: sixty deaths under load. C0: the checker that judges them notices whatever is spoilt."""

from __future__ import annotations

import asyncio

from chaos.check import Check, Findings
from chaos.world import World

from crash.corruptions import CORRUPTIONS, missed
from crash.house import House
from crash.runs import BUDGETS, judge, kill_and_recount

LEASE_S = 5.0


async def a7(world: World, findings: Findings) -> None:
    """Four deaths at each point and 24 at random; then a data base that restarts and a replica
    that sleeps over its lease."""
    scale = world.scale
    each = max(1, round(4 * scale))
    async with House(
        world.folder,
        seed=world.seed,
        budgets=BUDGETS,
        settings={"ledger": {"lease_s": LEASE_S}},
    ) as house:
        evidence = await kill_and_recount(
            house,
            findings,
            each=each,
            at_random=max(2, round(24 * scale)),
            rate=200,
            seconds=90 * scale,
            lease_s=LEASE_S,
            pauses=2 if scale >= 0.5 else 1,
            restarts=1,
            spared=1,
        )
        await judge(house, evidence, findings)


async def c0(world: World, findings: Findings) -> None:
    """Sound books of a short run, spoilt in every way."""
    async with House(
        world.folder,
        seed=world.seed,
        replicas=2,
        is_postgres=False,
        budgets=BUDGETS,
        settings={"ledger": {"lease_s": LEASE_S}},
    ) as house:
        evidence = await kill_and_recount(
            house, findings, each=1, at_random=1, rate=60, seconds=2, lease_s=LEASE_S
        )
        base = await judge(house, evidence, findings)
        unseen = await asyncio.to_thread(missed, base, world.folder / "ledger.db", world.folder)
    findings.note("corruptions", len(CORRUPTIONS))
    findings.note("noticed", len(CORRUPTIONS) - len(unseen))
    for each in unseen:
        findings.failures.append(f"not noticed: {each}")


CHECKS = (
    Check(
        "C0",
        "sound books, spoilt in every way that we could think of",
        "the law that is broken notices each; sound books have nothing",
        c0,
        35,
    ),
    Check(
        "A7",
        "60 SIGKILLs (K0-K8 four times each, 24 at random) at 200 requests/s, whole and streamed, "
        "three replicas over PostgreSQL, one of which dies last; four strict scopes; shipments "
        "told twice, a data base that restarts, replicas stopped over their lease",
        "I1-I12 hold; recovery <= 5 s; ledger - journal = 0 after the invoice",
        a7,
        150,
    ),
)
