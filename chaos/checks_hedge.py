"""A21: a few calls are ten times as slow; a second attempt beside them, at a bounded price."""

from __future__ import annotations

from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.load import open_loop, p50_ms, p99_ms, success
from chaos.world import World, deployments
from pointsman.testing import Answer as Say
from pointsman.testing import Persona, Rule, Slow

RATE = 160.0
USUAL_S = 0.06
SLOW_S = 0.6
SLOW_SHARE = 0.015
TEXT = "All trains run on time today, and the points are set for the main line."


async def hedged_and_not(world: World, findings: Findings) -> None:
    """Two routes over the same deployments, asked in turns; only one of them hedges."""
    persona = Persona("usual", first_token_s=USUAL_S, jitter=0.25)
    providers = [await world.provider(persona=persona, seed=world.seed + n) for n in range(3)]
    for provider in providers:
        provider.set_rules(
            Rule((Slow(first_token_s=SLOW_S), Say(TEXT)), name="slow", probability=SLOW_SHARE),
            Rule((Say(TEXT),)),
        )
    gateway = await world.gateway(
        {
            **deployments(providers),
            "routes": [
                {"name": "plain", "strategy": "round_robin"},
                {
                    "name": "hedged",
                    "strategy": "round_robin",
                    # Shares are the defaults; a second would be ten times what is usual here.
                    "hedge": {"enabled": True, "min_s": 0.1},
                },
            ],
        }
    )
    asked = 0

    async def ask(due: float) -> Answer:
        nonlocal asked
        asked += 1
        route = "hedged" if asked % 2 else "plain"
        answer = await gateway.client.ask(
            "/v1/chat/completions", chat(model=route, stream=True), due=due
        )
        answer.headers["route"] = route
        return answer

    seconds = 30.0 * world.scale
    warm_s = 3.0
    measured = await open_loop(ask, RATE, warm_s + seconds, world.rng)
    answers = measured.between(warm_s, warm_s + seconds)
    by_route = {
        name: [a for a in answers if a.headers["route"] == name] for name in ("plain", "hedged")
    }
    await gateway.settled(asked)
    for provider in providers:
        await provider.journal.settled()
    attempts = [a for a in gateway.attempts() if a["route"] == "hedged"]
    hedges = sum(a["hedge"] for a in attempts)
    # Where there was a hedge, one of two was called off.
    raced = {a["entry"] for a in attempts if a["hedge"]}
    losers = [a for a in attempts if a["entry"] in raced and a["outcome"] == "abandoned"]
    spent = sum(a["cost_nano"] for a in attempts)
    extra = sum(a["cost_nano"] for a in losers)
    calls = [call for provider in providers for call in provider.journal.calls]
    called_off = [call for call in calls if call.ended == "client_left"]
    p99 = {name: p99_ms(found, first=True) for name, found in by_route.items()}
    gain = 1 - p99["hedged"] / p99["plain"]
    findings.note("requests of each route", len(by_route["plain"]))
    findings.note("slow calls", sum(call.rule == "slow" for call in calls))
    for name, found in by_route.items():
        findings.note(f"{name}: first content p50 ms", p50_ms(found, first=True))
        findings.note(f"{name}: first content p99 ms", p99[name])
    findings.note("gain", gain)
    findings.note("hedges", hedges)
    findings.note("calls more", hedges / len({a["entry"] for a in attempts}))
    findings.note("spend more", extra / (spent - extra))
    findings.note("losers in the ledger", len(losers))
    findings.note("calls the providers saw called off", len(called_off))
    findings.expect(success(answers) == 1.0, f"success {success(answers):.4f}")
    findings.expect(gain >= 0.5, f"p99 to first content is only {gain:.0%} less")
    findings.expect(extra / (spent - extra) <= 0.02, f"spend {extra / (spent - extra):.2%} more")
    findings.expect(hedges <= 0.03 * asked / 2 + 1, f"{hedges} hedges of {asked // 2}")
    findings.expect(len(losers) == hedges, f"{len(losers)} losers of {hedges} in the ledger")
    findings.expect(
        len(called_off) == hedges, f"providers saw {len(called_off)} of {hedges} called off"
    )
    findings.expect(len(calls) == asked + hedges, f"{len(calls)} calls, {asked} + {hedges} known")
    findings.expect(await gateway.quiet(), "attempts are still in flight")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


CHECKS = (
    Check(
        "A21",
        "1.5 % of calls are ten times as slow: a route that hedges beside one that does not",
        "p99 to first content 50 % less, spend <= 2 % more, losers cancelled and in the ledger",
        hedged_and_not,
        36,
    ),
)
