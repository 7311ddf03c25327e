"""A1 and A2: what Pointsman adds when nothing is wrong, whole and streamed, many at once.

What is added is the difference to the same requests sent straight to the provider at the same
time by the same generator, so that a slow generator does not pass for a slow gateway.
"""

from __future__ import annotations

import asyncio
import re
import time

from chaos.check import Check, Findings
from chaos.checks_life import content
from chaos.client import Answer, Client, chat
from chaos.load import Measured, open_loop, p50_ms, p99_ms, percentile
from chaos.raw import counted_stream
from chaos.world import World, deployments

RATES = (1000.0, 800.0, 600.0, 400.0)
DIRECT = 0.1
"""Direct requests for each through the gateway."""
LATE_MS = 15.0
"""A generator that is later than this at the 99th percentile measures itself."""
STREAMS = 1000
PIECES = 50
TICK_S = 0.2
ARRIVE_S = 8.0
"""In which all streams begin; each lasts ten seconds, so that all are open at once."""


async def steady(world: World, findings: Findings) -> None:
    provider = await world.raw(delay_s=0.005)
    gateway = await world.gateway(deployments([provider]), workers=2)
    await world.warm(gateway, 400)
    direct = Client(provider.port)
    asked = 400

    async def through(due: float) -> Answer:
        nonlocal asked
        asked += 1
        return await gateway.client.ask("/v1/chat/completions", chat(), due=due)

    async def straight(due: float) -> Answer:
        return await direct.ask("/v1/chat/completions", chat(), due=due)

    async def both(rate: float, seconds: float) -> tuple[Measured, Measured]:
        return await asyncio.gather(
            open_loop(through, rate, seconds, world.rng),
            open_loop(straight, rate * DIRECT, seconds, world.rng),
        )

    held = RATES[-1]
    for rate in RATES:  # what this machine's generator can send
        trial, _ = await both(rate, 2.0)
        if percentile(trial.late, 0.99) * 1e3 <= LATE_MS:
            held = rate
            break
    measured, plain = await both(held, 36.0 * world.scale)
    direct.close()
    entries = await gateway.settled(asked)
    failed = [f"{a.status} {a.code} {a.error}" for a in measured.answers if not a.ok]
    added_p50 = p50_ms(measured.answers) - p50_ms(plain.answers)
    added_p99 = p99_ms(measured.answers) - p99_ms(plain.answers)
    findings.note("requests a second", held)
    findings.note("requests", len(measured.answers))
    findings.note("failed", len(failed))
    findings.note("p50 ms, straight", p50_ms(plain.answers))
    findings.note("p50 ms, through", p50_ms(measured.answers))
    findings.note("p99 ms, straight", p99_ms(plain.answers))
    findings.note("p99 ms, through", p99_ms(measured.answers))
    findings.note("added p50 ms", added_p50)
    findings.note("added p99 ms", added_p99)
    findings.note("generator late p99 ms", percentile(measured.late, 0.99) * 1e3)
    findings.note("ledger entries", len(entries))
    findings.expect(not failed, f"{len(failed)} failed: {sorted(set(failed))[:3]}")
    findings.expect(held == RATES[0], f"the generator here sends {held:.0f}/s in time, no more")
    findings.expect(added_p50 <= 3, f"p50 is {added_p50:.1f} ms more")
    findings.expect(added_p99 <= 25, f"p99 is {added_p99:.1f} ms more")
    findings.expect(len(entries) == asked, f"{len(entries)} ledger entries of {asked}")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


def _mark(body: bytes) -> str:
    found = re.search(rb"stream (\d+)\.", body)
    return f"s{found[1].decode()}" if found else "s"


async def streams(world: World, findings: Findings) -> None:
    provider = await world.raw(
        tick_s=TICK_S, pieces=lambda body: counted_stream(_mark(body), PIECES)
    )
    gateway = await world.gateway(deployments([provider]), workers=2)
    await world.warm(gateway, 200)
    direct = Client(provider.port)
    count = max(50, int(STREAMS * world.scale))
    most = 0
    start = time.monotonic() + 0.1

    async def one(client: Client, number: int) -> Answer:
        nonlocal most
        due = start + ARRIVE_S * number / count
        await asyncio.sleep(due - time.monotonic())
        answer = await client.ask(
            "/v1/chat/completions",
            chat(f"stream {number}.", stream=True),
            due=due,
            timeout_s=60,
        )
        most = max(most, len(provider.streams))
        return answer

    through = asyncio.gather(*(one(gateway.client, number) for number in range(count)))
    straight = asyncio.gather(*(one(direct, number) for number in range(0, count, 10)))
    answers, plain = await through, await straight
    direct.close()
    wrong = []
    for number, answer in enumerate(answers):
        told = "".join(f"s{number}.{n} " for n in range(PIECES))
        if not answer.ok:
            wrong.append(f"stream {number}: {answer.status} {answer.error}")
        elif content(answer) != told:
            wrong.append(f"stream {number} has other content: {content(answer)[:80]!r}")
        elif answer.body.count(b"data: [DONE]") != 1:
            wrong.append(f"stream {number} has no proper end")
    entries = await gateway.settled(200 + count)
    added = p99_ms(answers, first=True) - p99_ms(plain, first=True)
    findings.note("streams", count)
    findings.note("open at once, at most", most)
    findings.note("pieces", count * PIECES)
    findings.note("wrong streams", len(wrong))
    findings.note("first content p50 ms, straight", p50_ms(plain, first=True))
    findings.note("first content p50 ms, through", p50_ms(answers, first=True))
    findings.note("first content p99 ms, straight", p99_ms(plain, first=True))
    findings.note("first content p99 ms, through", p99_ms(answers, first=True))
    findings.note("added p99 ms", added)
    findings.note("ledger entries", len(entries))
    findings.expect(not wrong, f"{len(wrong)} wrong: {wrong[:3]}")
    findings.expect(most >= count, f"only {most} streams were open at once")
    findings.expect(added <= 60, f"p99 to first content is {added:.0f} ms more")
    findings.expect(len(entries) == 200 + count, f"{len(entries)} ledger entries")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


CHECKS = (
    Check(
        "A1",
        "1,000/s whole answers, keys and ledger on, two workers",
        "0 failed, added p50 <= 3 ms and p99 <= 25 ms, one ledger entry a request",
        steady,
        45,
    ),
    Check(
        "A2",
        "1,000 streams of 50 pieces at once, two workers",
        "no piece lost, reordered or another's; first content p99 <= 60 ms more",
        streams,
        24,
    ),
)
