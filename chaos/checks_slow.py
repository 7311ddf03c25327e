"""A14: two thousand that send byte by byte, two hundred that read nothing, beside good traffic."""

from __future__ import annotations

import asyncio

from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.crowd import Crowd
from chaos.load import Measured, open_loop, p50_ms, p99_ms, percentile, success
from chaos.raw import endless_stream
from chaos.world import KEY, World, deployments

RATE = 200.0
SENDERS = 2000
READERS = 200
TIMEOUT_S = 10.0
"""`header_timeout_s` as it is by default; `stall_s`, by default 60, is lowered to it here."""


async def slow_clients(world: World, findings: Findings) -> None:
    provider = await world.raw(delay_s=0.01, pieces=lambda body: endless_stream(12_000))
    timeout_s = max(2.0, TIMEOUT_S * world.scale)
    most_s = timeout_s + 5.0
    gateway = await world.gateway(
        {
            "server": {
                "keys": [{"key": "env:CHAOS_KEY", "app": "chaos"}],
                "header_timeout_s": timeout_s,
                "stall_s": timeout_s,
            },
            **deployments([provider]),
        }
    )
    await world.warm(gateway, 200)
    crowd = Crowd(gateway.port, KEY)

    async def ask(due: float) -> Answer:
        return await gateway.client.ask("/v1/chat/completions", chat(), due=due)

    async def good(seconds: float) -> Measured:
        return await open_loop(ask, RATE, seconds, world.rng)

    quarter = max(2.0, 8.0 * world.scale)
    base = await good(quarter)
    before_mb = gateway.rss_mb()
    highest_mb = 0.0

    async def attack() -> None:
        count = int(SENDERS * world.scale / 2)
        await crowd.open("reader", int(READERS * world.scale), READERS / 4)
        await crowd.open("head", count, SENDERS / 2)
        await crowd.open("body", count, SENDERS / 2)

    async def watch(seconds: float) -> None:
        nonlocal highest_mb
        for _ in range(int(seconds / 0.5)):
            highest_mb = max(highest_mb, gateway.rss_mb())
            await asyncio.sleep(0.5)

    span = most_s + 4.0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(attack())
        tasks.create_task(crowd.run(span))
        tasks.create_task(watch(span))
        beside = await good(span)
    crowd.close()
    after = await good(quarter)
    is_quiet = await gateway.quiet()
    open_after = (await gateway.metrics())["pointsman_connections"]
    usual = [*base.answers, *after.answers]
    ratio = p99_ms(beside.answers) / p99_ms(usual)
    grown = highest_mb - before_mb
    findings.note("slow senders", sum(p.kind != "reader" for p in crowd.pests))
    findings.note("slow readers", sum(p.kind == "reader" for p in crowd.pests))
    findings.note("not connected", crowd.failed)
    for kind in ("head", "body", "reader"):
        findings.note(f"last slow {kind} cut after, s", crowd.slowest_cut_s(kind))
        findings.expect(
            crowd.slowest_cut_s(kind) <= most_s,
            f"a slow {kind} was borne for {crowd.slowest_cut_s(kind):.1f} s",
        )
    findings.note("good p50 ms, alone", p50_ms(usual))
    findings.note("good p50 ms, beside them", p50_ms(beside.answers))
    findings.note("good p99 ms, alone", p99_ms(usual))
    findings.note("good p99 ms, beside them", p99_ms(beside.answers))
    findings.note("generator late p99 ms", percentile(beside.late, 0.99) * 1e3)
    findings.note("memory, MiB more", grown)
    findings.expect(success(beside.answers) == 1.0, f"good success {success(beside.answers):.4f}")
    findings.expect(ratio <= 2.0, f"good p99 is {ratio:.2f} times the base")
    findings.expect(grown <= 100, f"{grown:.0f} MiB more memory")
    findings.expect(is_quiet, "attempts are still in flight")
    findings.note("connections left", open_after)
    findings.expect(
        open_after <= gateway.client.connections + 1, f"{open_after:.0f} connections are left"
    )
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


CHECKS = (
    Check(
        "A14",
        "2,000 slow senders and 200 slow readers beside 200/s",
        "good p99 <= 2 x base, slow cut <= 15 s (stall_s lowered to 10), memory <= +100 MiB",
        slow_clients,
        40,
    ),
)
