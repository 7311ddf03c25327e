"""A16: one tenant sends twenty times as much as each of nine others, beyond what can be served.

Twice: where the worker's places are short (`max_in_flight` against a slow provider), and where
its core is (large bodies), so that only the lateness of its event loop tells.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from bench.procfs import cpu_seconds

from chaos.check import Check, Findings
from chaos.client import Answer
from chaos.load import Measured, open_loop, p50_ms, p99_ms, percentile, success
from chaos.world import Gateway, World, deployments, summed

OTHERS = 9
TIMES = 20
OVERLOAD = 1.5


@dataclass(frozen=True, slots=True)
class Squeeze:
    """What is short, and what each of the nine sends."""

    what: str
    server: dict[str, Any]
    provider_s: tuple[float, float]
    """Between which its times lie: were they all alike, places would come free in bunches."""
    rate: float
    """Requests a second of each of the nine; 0 makes all ten together `OVERLOAD` times what the
    worker can serve here and now."""
    messages: int
    """In each request: what costs the worker, and the generator next to nothing."""
    seconds: float


PLACES = Squeeze("places", {"max_in_flight": 24}, (0.03, 0.07), 20.0, 1, 10.0)
CORE = Squeeze("core", {}, (0.15, 0.25), 0.0, 400, 10.0)


async def _squeezed(world: World, findings: Findings, squeeze: Squeeze) -> None:
    keys = {f"KEY_{n}": f"sk-chaos-tenant-{n:08d}" for n in range(OTHERS + 1)}
    provider = await world.raw(delay_s=lambda: world.rng.uniform(*squeeze.provider_s))
    gateway = await world.gateway(
        {
            "server": {
                "keys": [
                    {"key": "env:CHAOS_KEY", "app": "chaos"},
                    *({"key": f"env:KEY_{n}", "tenant": f"tenant-{n}"} for n in range(OTHERS + 1)),
                ],
                **squeeze.server,
            },
            **deployments([provider]),
        },
        env=keys,
    )
    await world.warm(gateway, 20)
    messages = [{"role": "user", "content": f"all is well {n}"} for n in range(squeeze.messages)]
    body = gateway.client.render_body({"model": "auto", "messages": messages})
    rate = squeeze.rate or OVERLOAD * await _served(world, gateway, body) / (OTHERS + TIMES)

    async def load(number: int, rate: float, seconds: float) -> Measured:
        header = {"authorization": f"Bearer {keys[f'KEY_{number}']}"}

        async def ask(due: float) -> Answer:
            return await gateway.client.ask("/v1/chat/completions", body, due=due, headers=header)

        return await open_loop(ask, rate, seconds, world.rng)

    async def others(seconds: float) -> list[Measured]:
        return list(await asyncio.gather(*(load(n, rate, seconds) for n in range(1, OTHERS + 1))))

    base: list[Answer] = []
    beside: list[Answer] = []
    greedy: list[Answer] = []
    late: list[float] = []
    busy_s = 0.0
    unit = squeeze.seconds * world.scale / 2
    for _ in range(2):  # base and load of the same minute, twice each
        base += [a for each in await others(unit) for a in each.answers]
        cpu = cpu_seconds(gateway.pid)
        hog = asyncio.create_task(load(0, TIMES * rate, unit))
        beside_now = await others(unit)
        beside += [a for each in beside_now for a in each.answers]
        late += [late_s for each in beside_now for late_s in each.late]
        greedy += (await hog).answers
        busy_s += cpu_seconds(gateway.pid) - cpu
        await gateway.quiet()
    findings.note(f"{squeeze.what}: each of the nine sends a second", rate)
    findings.note(f"{squeeze.what}: the worker's core in use", busy_s / (2 * unit))
    _judge(findings, squeeze.what, base, beside, greedy, late)
    await _tell_the_gate(findings, squeeze.what, gateway)
    await gateway.end()


async def _served(world: World, gateway: Gateway, body: bytes) -> float:
    """Requests of these a second that keep the worker's core busy, from what some of them cost."""

    async def ask(due: float) -> Answer:
        return await gateway.client.ask("/v1/chat/completions", body, due=due)

    used = cpu_seconds(gateway.pid)
    measured = await open_loop(ask, 100.0, 2.0, world.rng)
    return len(measured.answers) / max(cpu_seconds(gateway.pid) - used, 0.01)


def _judge(
    findings: Findings,
    what: str,
    base: list[Answer],
    beside: list[Answer],
    greedy: list[Answer],
    late: list[float],
) -> None:
    refusals = [a for a in greedy if a.status == 503]
    ratio = p99_ms(beside) / p99_ms(base)
    findings.note(f"{what}: the nine, success", success(beside))
    findings.note(f"{what}: the nine, p50 ms alone", p50_ms(base))
    findings.note(f"{what}: the nine, p50 ms beside it", p50_ms(beside))
    findings.note(f"{what}: the nine, p99 ms alone", p99_ms(base))
    findings.note(f"{what}: the nine, p99 ms beside it", p99_ms(beside))
    findings.note(f"{what}: the one, success", success(greedy))
    findings.note(f"{what}: the one, p99 ms of refusals", _p99_ms(refusals))
    findings.note(f"{what}: generator late p99 ms", percentile(late, 0.99) * 1e3)
    failed = Counter(f"{a.status} {a.code} {a.error}" for a in beside if not a.ok)
    if failed:
        findings.note(f"{what}: the nine, not served", str(dict(failed)))
    strange = {f"{a.status} {a.error}" for a in greedy if not a.ok and a.status != 503}
    findings.expect(not strange, f"{what}: the one was told {strange}")
    findings.expect(success(beside) >= 0.999, f"{what}: success of the nine {success(beside):.4f}")
    findings.expect(ratio <= 1.5, f"{what}: p99 of the nine is {ratio:.2f} times the base")
    findings.expect(
        success(greedy) < 0.95, f"{what}: no overload, {success(greedy):.3f} of the one was served"
    )


def _p99_ms(answers: list[Answer]) -> float:
    return percentile([a.seconds for a in answers], 0.99) * 1e3


async def _tell_the_gate(findings: Findings, what: str, gateway: Gateway) -> None:
    shed = await gateway.metrics()
    by_reason = {
        name.split('reason="')[1].split('"')[0]: int(value)
        for name, value in shed.items()
        if name.startswith("pointsman_shed_total{") and value
    }
    findings.note(f"{what}: turned away", str(by_reason))
    findings.expect(
        summed(shed, "pointsman_server_in_flight") <= 1, f"{what}: requests are still under way"
    )
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


async def one_of_ten(world: World, findings: Findings) -> None:
    for squeeze in (PLACES, CORE):
        await _squeezed(world, findings, squeeze)


CHECKS = (
    Check(
        "A16",
        "one tenant sends 20 times as much as each of nine, beyond places and beyond the core",
        "the nine: success >= 99.9 %, p99 <= 1.5 x base",
        one_of_ten,
        36,
    ),
)
