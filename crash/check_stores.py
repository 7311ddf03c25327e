"""A8 and A9: Redis dies, PostgreSQL hangs, the disk of the log is full."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.load import Measured, open_loop, p99_ms
from chaos.world import World

from crash.house import SERVERS, House, Replica, key_of
from crash.invariants import check
from crash.runs import Traffic, recount
from pointsman.testing.servers import ValkeyServer
from pointsman.wal.segment import files_of

RATE = 200.0
LARGE: Sequence[dict[str, object]] = (
    {"name": "all", "scope": "everyone", "limit_usd": 5000, "window": "month"},
    {"name": "teams", "scope": "team", "limit_usd": 5000, "window": "month"},
    {"name": "apps", "scope": "app", "limit_usd": 5000, "window": "month"},
    {"name": "keys", "scope": "key", "limit_usd": 5000, "window": "month"},
)
RATES = [{"name": "pace", "scope": "key", "requests_per_minute": 1_000_000}]


def told(answers: Sequence[Answer]) -> str:
    words = Counter(a.error.partition(":")[0] or str(a.status) for a in answers)
    return " ".join(f"{word}:{count}" for word, count in sorted(words.items()))


async def a8(world: World, findings: Findings) -> None:
    hang_s = max(4.0, 20 * world.scale)
    valkey = ValkeyServer(SERVERS)
    await asyncio.to_thread(valkey.start)
    try:
        async with House(
            world.folder,
            seed=world.seed,
            replicas=2,
            budgets=LARGE,
            settings={"rates": RATES, "redis": {"url": "env:CRASH_REDIS"}},
            env={"CRASH_REDIS": valkey.url},
        ) as house:
            await house.start_all()
            house.watch()
            traffic = Traffic(house, world.rng)
            await open_loop(traffic.ask, RATE, 2, world.rng)
            calm = await open_loop(traffic.ask, RATE, max(3.0, 8 * world.scale), world.rng)
            await asyncio.to_thread(valkey.kill)
            alone = await open_loop(traffic.ask, RATE, max(3.0, 8 * world.scale), world.rng)
            await asyncio.to_thread(valkey.start)
            await asyncio.sleep(2)
            assert house.postgres is not None
            house.postgres.freeze()
            try:
                hung = await open_loop(traffic.ask, RATE, hang_s, world.rng)
            finally:
                house.postgres.thaw()
            after = await open_loop(traffic.ask, RATE, 2, world.rng)
            evidence = await recount(house)
    finally:
        await asyncio.to_thread(valkey.close)
    _note(findings, calm=calm, redis_dead=alone, postgres_hung=hung, after=after)
    findings.expect(alone.success == 1.0, f"without Redis: {told(alone.answers)}")
    slower = p99_ms(alone.answers) - p99_ms(calm.answers)
    findings.expect(slower <= 100, f"without Redis p99 is {slower:.0f} ms at the worse")
    findings.expect(hung.success >= 0.99, f"without PostgreSQL: {told(hung.answers)}")
    denied = sum(a.status in (401, 403) for each in (alone, hung) for a in each.answers)
    findings.expect(denied == 0, f"{denied} told 401 or 403")
    for each in check(evidence).violations:
        findings.failures.append(str(each))


def _note(findings: Findings, **phases: Measured) -> None:
    for name, phase in phases.items():
        findings.note(name, told(phase.answers))
        findings.note(f"{name}_p99_ms", p99_ms(phase.answers))


async def a9(world: World, findings: Findings) -> None:
    """The kernel refuses to let the log's file grow: a write fails in the middle, as on a disk
    that is full. The store is elsewhere."""
    async with House(
        world.folder,
        seed=world.seed,
        replicas=1,
        budgets=LARGE,
    ) as house:
        await house.start_all()
        house.watch()
        replica = house.replicas[0]
        pid = replica.pid
        await asyncio.gather(*(_chat(replica) for _ in range(40)))
        slow = [asyncio.create_task(_chat(replica, stream=True)) for _ in range(10)]
        await asyncio.sleep(0.02)
        (segment,) = [path for folder in house.root.iterdir() for path in files_of(folder)]
        size = segment.stat().st_size + 100
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        await asyncio.gather(*slow)
        await _chat(replica)  # This one may still find room.
        asked = sum(provider.journal.arrived for provider in house.providers)
        full = []
        for _ in range(40):
            full.append(await _chat(replica))
            await asyncio.sleep(0.02)
        leaked = sum(provider.journal.arrived for provider in house.providers) - asked
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        freed = time.monotonic()
        while not (answer := await _chat(replica)).ok and time.monotonic() - freed < 10:
            await asyncio.sleep(0.02)
        back_s = time.monotonic() - freed
        findings.expect(answer.ok, "never came back")
        findings.expect(replica.is_alive and replica.pid == pid, "the process has ended")
        well = await asyncio.gather(*(_chat(replica) for _ in range(40)))
        evidence = await recount(house)
    codes = Counter(f"{a.status} {a.code}" for a in full)
    findings.note("while_full", " ".join(f"{word}:{count}" for word, count in codes.items()))
    findings.note("dispatched_while_full", leaked)
    findings.note("back_s", back_s)
    findings.expect(set(codes) == {"503 storage_unavailable"}, f"while full: {dict(codes)}")
    findings.expect(all(a.headers.get("retry-after") for a in full), "no Retry-After")
    findings.expect(leaked == 0, f"{leaked} dispatched and not logged")
    findings.expect(back_s <= 2.0, f"back after {back_s:.1f} s")
    findings.expect(all(a.ok for a in well), f"afterwards: {told(well)}")
    for each in check(replace(evidence, was_full=True)).violations:
        findings.failures.append(str(each))


async def _chat(replica: Replica, *, stream: bool = False) -> Answer:
    return await replica.ask(
        "/v1/chat/completions",
        chat("all is well", max_tokens=50, stream=stream),
        headers={"authorization": f"Bearer {key_of('rich')}"},
        timeout_s=10,
    )


CHECKS = (
    Check(
        "A8",
        "Redis killed, then PostgreSQL hung for 20 s, at 200 requests/s, two replicas",
        "Redis: no error, p99 at most 100 ms more; PostgreSQL: >= 99 % served, no 401/403, "
        "books agree afterwards",
        a8,
        60,
    ),
    Check(
        "A9",
        "the file of the log cannot grow, then it can",
        "nothing dispatched that is not logged; 503; alive; back within 2 s without a restart",
        a9,
        15,
    ),
)
