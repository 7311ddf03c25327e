"""A4 and A5: one of three deployments dies and heals; all die under twice the load, and heal."""

from __future__ import annotations

import asyncio
import time

from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.load import open_loop, p99_ms, percentile, success
from chaos.world import World, deployments
from pointsman.testing import Answer as Say
from pointsman.testing import Fail, FaultProvider, Hang, Rule, Slow

RATE = 300.0
WINDOW_S = 2.0
"""In which a share of the traffic is counted."""
PROBES_PER_S = 1.0
"""What a deployment that is out may still be asked."""


def _steps(start: float, end: float) -> list[float]:
    """Moments half a second apart."""
    return [start + n / 2 for n in range(max(0, int((end - start) * 2) + 1))]


def healthy(provider: FaultProvider) -> None:
    provider.set_rules(Rule((Slow(first_byte_s=0.01), Say("fine"))))


async def one_of_three(world: World, findings: Findings) -> None:
    """Blackholed (accepts, never answers), then half of the calls fail, then healed."""
    providers = [await world.provider(seed=n) for n in range(3)]
    for provider in providers:
        healthy(provider)
    gateway = await world.gateway(
        {
            **deployments(providers),
            "routes": [
                {
                    "name": "auto",
                    "strategy": "load",
                    "timeouts": {"whole_s": 0.5, "first_content_s": 0.5, "total_s": 10},
                }
            ],
            "breaker": {"max_s": 4, "ramp_s": 5},
        }
    )
    await world.warm(gateway)
    loop = asyncio.get_running_loop()
    unit = 15.0 * world.scale
    sick = providers[0]
    before = [len(each.journal.calls) for each in providers]

    async def ask(due: float) -> Answer:
        return await gateway.client.ask("/v1/chat/completions", chat(), due=due)

    start, began = loop.time(), time.time()
    loop.call_at(start + unit, lambda: sick.set_rules(Rule((Hang(),))))
    loop.call_at(
        start + 2 * unit,
        lambda: sick.set_rules(Rule((Fail(500),), probability=0.5), Rule((Say("fine"),))),
    )
    loop.call_at(start + 3 * unit, lambda: healthy(sick))
    measured = await open_loop(ask, RATE, 4 * unit, world.rng)
    answers = measured.answers
    asked = sum(len(p.journal.calls) for p in providers) - sum(before)
    await sick.journal.settled()
    to_sick = [call.arrived_at - began for call in sick.journal.calls]
    dead_s = unit - 2.0
    probes = sum(unit + 2.0 <= at < 2 * unit for at in to_sick)
    slow = sum(a.seconds > 0.4 for a in measured.between(unit, 2 * unit))
    shares = [
        sum(at <= when < at + WINDOW_S for when in to_sick)
        / max(1, len(measured.between(at, at + WINDOW_S)) / 3)
        for at in _steps(3 * unit, 4 * unit - WINDOW_S)
    ]
    findings.note("requests", len(answers))
    findings.note("success", success(answers))
    findings.note("attempts per request", asked / len(answers))
    findings.note("slow answers while it is dead", slow)
    findings.note("calls a second to the dead one, 2 s after", probes / dead_s if dead_s > 0 else 0)
    findings.note("healed one's share of its fair part, at most", max(shares, default=0.0))
    findings.note("healed one's share of its fair part, at the end", shares[-1] if shares else 0.0)
    findings.note("p99 ms before", p99_ms(measured.between(0, unit)))
    findings.note("p99 ms with one dead", p99_ms(measured.between(unit + 2, 2 * unit)))
    findings.expect(success(answers) >= 0.999, f"success {success(answers):.4f} is below 0.999")
    findings.expect(
        probes <= max(1.0, dead_s * PROBES_PER_S), f"{probes} calls in {dead_s:.1f} s to a dead one"
    )
    findings.expect(
        max(shares, default=0.0) <= 1.3, f"healed, it got {max(shares, default=0):.2f} x its part"
    )
    findings.expect(asked / len(answers) <= 1.15, f"{asked / len(answers):.3f} attempts a request")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


async def all_of_them(world: World, findings: Findings) -> None:
    """Every deployment answers 503 under twice the usual load, then all heal."""
    providers = [await world.provider(seed=n) for n in range(3)]
    for provider in providers:
        healthy(provider)
    gateway = await world.gateway(
        {
            **deployments(providers),
            "routes": [{"name": "auto", "strategy": "load", "timeouts": {"total_s": 10}}],
        }
    )
    await world.warm(gateway)
    loop = asyncio.get_running_loop()
    unit = 12.0 * world.scale
    rate = 2 * RATE
    before = sum(len(p.journal.calls) for p in providers)

    async def ask(due: float) -> Answer:
        return await gateway.client.ask("/v1/chat/completions", chat(), due=due)

    for provider in providers:
        provider.set_rules(Rule((Fail(503),)))
    down = await open_loop(ask, rate, unit, world.rng)
    asked = sum(len(p.journal.calls) for p in providers) - before
    for provider in providers:
        healthy(provider)
    healed = loop.time()
    up = await open_loop(ask, rate / 2, 2 * unit, world.rng)
    floor = unit + 10  # one retry a second, and what had been saved up
    bound = 1.1 * len(down.answers) + floor
    reject_ms = percentile([a.seconds for a in down.answers if not a.ok], 0.99) * 1e3
    seconds = int(2 * unit)
    by_second = [success(up.between(n, n + 1)) for n in range(seconds)]
    bad = [n for n, share in enumerate(by_second) if share < 0.99]
    back_s = (max(bad) + 1 if bad else 0) + (up.start - healed)
    findings.note("requests during the outage", len(down.answers))
    findings.note("attempts during the outage", asked)
    findings.note("attempts allowed", bound)
    findings.note("reject p99 ms", reject_ms)
    findings.note("seconds until 99 % again", back_s)
    findings.expect(asked <= bound, f"{asked} attempts, {bound:.0f} allowed")
    findings.expect(reject_ms <= 50, f"refusals take {reject_ms:.0f} ms at the 99th percentile")
    findings.expect(back_s <= 15, f"99 % only {back_s:.0f} s after the healing")
    bad_codes = {a.status for a in down.answers} - {200, 429, 502, 503, 504}
    findings.expect(not bad_codes, f"statuses {bad_codes} during the outage")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


CHECKS = (
    Check(
        "A4",
        "one of three deployments dies, fails by half, heals, at 300/s",
        "success >= 99.9 %, only probes after 2 s, <= 1.15 attempts a request; healed: <= 1.3 x "
        "its part (breaker.max_s and ramp_s lowered)",
        one_of_three,
        62,
    ),
    Check(
        "A5",
        "all deployments answer 503 at 600/s, then heal",
        "attempts <= 1.1 x + floor, refusals p99 <= 50 ms, 99 % within 15 s",
        all_of_them,
        38,
    ),
)
