"""A22: everything at once for a while, and nothing grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.hostile import hostile
from chaos.load import open_loop, success
from chaos.world import World, deployments, summed
from pointsman.testing import Answer as Say
from pointsman.testing import Cut, ErrorEvent, Fail, Hang, Rule, Slow, Truncate

RATE = 120.0
TEXT = " abc" * 12
WARM_SHARE = 0.35
"""Of the time, before memory is watched: caches and pools fill."""


def _rules() -> tuple[Rule, ...]:
    """One call in ten fails, in one of many ways."""
    plays = (Fail(500), Fail(429, {"retry-after": "0"}), Cut(), Truncate(3), ErrorEvent(2))
    bad = tuple(Rule((play,), probability=0.015) for play in plays)
    return (
        *bad,
        Rule((Hang(0.3), Say(TEXT)), probability=0.01),
        Rule((Slow(first_token_s=0.01, tokens_per_second=100), Say(TEXT)), stream=True),
        Rule((Slow(first_byte_s=0.01), Say(TEXT))),
    )


async def soak(world: World, findings: Findings) -> None:
    providers = [await world.provider(seed=world.seed + n) for n in range(3)]
    for provider in providers:
        provider.set_rules(*_rules())
    gateway = await world.gateway(
        {
            **deployments(providers),
            "routes": [
                {
                    "name": "auto",
                    "strategy": "load",
                    "hedge": {"enabled": True, "min_s": 0.1},
                    "timeouts": {"total_s": 10},
                }
            ],
        }
    )
    await world.warm(gateway)
    seconds = 75.0 * world.scale
    start = time.monotonic()
    sizes: list[tuple[float, float]] = []
    rng = world.rng

    async def ask(due: float) -> Answer:
        """Whole answers, streams, clients that leave, hostile ones."""
        roll = rng.random()
        client = gateway.client
        if roll < 0.5:
            return await client.ask("/v1/chat/completions", chat(), due=due)
        if roll < 0.75:
            return await client.ask("/v1/chat/completions", chat(stream=True), due=due)
        if roll < 0.85:
            return await client.ask(
                "/v1/chat/completions",
                chat(stream=True),
                due=due,
                leave_after=rng.randint(1, 10),
                leave_by_reset=rng.random() < 0.5,
            )
        if roll < 0.9:
            body = {"model": "auto", "max_tokens": 50, "messages": chat("hi " * 3000)["messages"]}
            return await client.ask("/v1/messages", body, due=due)
        request = hostile(rng)
        return await client.ask(request.path, request.body, due=due, headers=request.headers)

    async def watch() -> None:
        while (now := time.monotonic() - start) < seconds:
            sizes.append((now, gateway.rss_mb()))
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        files, measured = gateway.open_files() - gateway.client.connections, None
        for provider in providers:
            files -= provider.connections
        measured = await open_loop(ask, RATE, seconds, rng)
        provider_calls = sum(provider.journal.arrived for provider in providers)
    metrics = await gateway.metrics()
    for provider in providers:
        provider.heal()
    is_quiet = await gateway.quiet()
    for provider in providers:
        await provider.journal.settled()
    left = gateway.open_files() - gateway.client.connections
    left -= sum(provider.connections for provider in providers)
    slope = _slope_a_minute([each for each in sizes if each[0] >= WARM_SHARE * seconds])
    lag_ms = _quantile_ms(metrics, "pointsman_loop_lag_seconds", 0.99)
    statuses = sorted({answer.status for answer in measured.answers})
    findings.note("requests", len(measured.answers))
    findings.note("calls to providers", provider_calls)
    findings.note("statuses", str(statuses))
    findings.note("served", success(measured.answers))
    findings.note("memory at the end, MiB", sizes[-1][1])
    findings.note("memory, MiB a minute", slope)
    findings.note("descriptors beyond connections, before and after", f"{files}, {left}")
    findings.note("loop lag p99, at most ms", lag_ms)
    findings.expect(slope <= 1.0, f"memory grows by {slope:.1f} MiB a minute")
    findings.expect(abs(left - files) <= 2, f"{files} descriptors before, {left} after")
    findings.expect(lag_ms <= 50, f"the loop is {lag_ms:.0f} ms late at the 99th percentile")
    findings.expect(is_quiet, "attempts are still in flight")
    findings.expect(
        summed(await gateway.metrics(), "pointsman_server_in_flight") <= 1,
        "requests are still under way",
    )
    findings.expect(not set(statuses) & {0, 500}, f"statuses {statuses}")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


def _slope_a_minute(points: list[tuple[float, float]]) -> float:
    """The least squares' slope of (seconds, MiB), in MiB a minute."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 60 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def _quantile_ms(metrics: Mapping[str, float], name: str, share: float) -> float:
    """The upper bound of the bucket in which this share of all is reached."""
    total = metrics[f"{name}_count"]
    for series, count in metrics.items():
        if series.startswith(f"{name}_bucket{{") and count >= share * total:
            return float(series.split('le="')[1].split('"')[0]) * 1e3
    return float("inf")


CHECKS = (
    Check(
        "A22",
        "everything at once at 120/s: whole, streamed, left, hostile, one call in ten fails",
        "memory <= +1 MiB a minute after warming up, descriptors back +-2, loop lag p99 <= 50 ms",
        soak,
        80,
    ),
)
