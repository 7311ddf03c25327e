"""A12 and A13: hostile clients and hostile providers get one shaped answer, and nothing breaks."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

from chaos.borrowed import (
    PATHS,
    RAW_CASES,
    RAW_KEY,
    WIRES,
    Parrot,
    configuration,
    judged,
    mutated,
    pieces,
    record,
    request_fields,
)
from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.hostile import Hostile, hostile
from chaos.world import Gateway, World, deployments, summed

HOSTILE = 10_000
MUTATED = 3_000
AT_ONCE = 16
HONEST = {501, 503, 505}
"""What a client may be told in the 500s: not spoken here, no room, another version of HTTP."""


ABLE = ["chat", "tools", "parallel_tools", "vision", "documents", "audio", "json", "json_schema"]


def _misshaped(path: str, answer: Answer) -> str:
    """Say what is wrong with an error's body, "" for nothing."""
    try:
        body = json.loads(answer.body)
        error = body["error"]
        if not error["message"] or not error["type"]:
            return "an error without message or type"
        is_anthropic = path.startswith("/v1/messages")
        if is_anthropic and body.get("type") != "error":
            return "not Anthropic's shape"
        if not is_anthropic and "code" not in error:
            return "not OpenAI's shape"
    except (ValueError, KeyError, TypeError) as problem:
        return f"{type(problem).__name__}: {answer.body[:100]!r}"
    return ""


async def hostile_clients(world: World, findings: Findings) -> None:
    provider = await world.raw()
    gateway = await world.gateway(
        {
            "server": {
                "keys": [
                    {"key": "env:CHAOS_KEY", "app": "chaos"},
                    {"key": "env:RAW_KEY", "app": "raw"},
                ],
                "body_mb": 1,
            },
            **deployments([provider], capabilities=ABLE),
        },
        env={"RAW_KEY": RAW_KEY},
    )
    count = max(300, int(HOSTILE * world.scale))
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        request = hostile(random.Random(f"{world.seed}:{number}"))
        async with room:
            answer = await _asked(gateway, request)
        statuses[answer.status] += 1
        said = ""
        if answer.error:
            said = f"{answer.error} after {answer.seconds:.1f} s"
        elif answer.status >= 500 and answer.status not in HONEST:
            said = f"{answer.body[:200]!r}"
        elif answer.status >= 400:
            said = _misshaped(request.path, answer)
        if said:
            wrong.append(
                f"case {number} {request.path} {request.headers}: {answer.status} {said} "
                f"to {request.body[:200]!r}"
            )

    # First, since those without a key among them are told 401 only until too many had none.
    raw = [await _raw(gateway, name) for name in RAW_CASES]
    told = [said for said in raw if said]
    await asyncio.gather(*map(one, range(count, count + 300)))  # warm, and not counted below
    statuses.clear()
    before_mb = gateway.rss_mb()
    for start in range(0, count, 500):
        await asyncio.gather(*map(one, range(start, min(count, start + 500))))
    grown = gateway.rss_mb() - before_mb
    alive = await gateway.client.ask("/v1/chat/completions", chat())
    metrics = await gateway.metrics()
    findings.note("generated requests", count)
    findings.note("raw requests", len(raw))
    findings.note("statuses", str(dict(sorted(statuses.items()))))
    findings.note("wrong", len(wrong) + len(told))
    findings.note("memory, MiB more", grown)
    findings.expect(not wrong, f"{len(wrong)} of the generated: {wrong[:3]}")
    findings.expect(not told, f"{len(told)} of the raw: {told[:3]}")
    findings.expect(grown <= 20, f"{grown:.0f} MiB more memory")
    findings.expect(alive.ok, f"a good request is answered by {alive.status} {alive.error}")
    findings.expect(summed(metrics, "pointsman_server_in_flight") <= 1, "requests are under way")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


async def _asked(gateway: Gateway, request: Hostile) -> Answer:
    return await gateway.client.ask(
        request.path, request.body, headers=request.headers, timeout_s=10
    )


async def _raw(gateway: Gateway, name: str) -> str:
    """Send one of the hand-made lists' requests; say what is wrong with its answer."""
    data, status, is_closed = RAW_CASES[name]
    try:
        async with asyncio.timeout(8):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            try:
                writer.write(data)
                first = await reader.readuntil(b"\r\n")
                if int(first.split()[1]) != status:
                    return f"{name}: {first!r} instead of {status}"
                if is_closed:
                    await reader.read()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return f"{name}: {type(error).__name__}"
    return ""


async def hostile_providers(world: World, findings: Findings) -> None:
    good = await record()
    keys = sorted(good)
    count = max(100, int(MUTATED * world.scale))
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    room = asyncio.Semaphore(AT_ONCE)
    async with Parrot() as parrot:
        gateway = await world.gateway(configuration(parrot.url))

        async def one(number: int) -> None:
            rng = random.Random(f"{world.seed}:{number}")
            upstream, streamed, kind = rng.choice(keys)
            data = mutated(good[upstream, streamed, kind], good[rng.choice(keys)], rng)
            content_type = "text/event-stream" if streamed else "application/json"
            parrot.said[number] = (content_type, pieces(data, rng))
            client = rng.choice(WIRES)
            fields = request_fields(client, streamed, f"case {number}", upstream, kind == "call")
            async with room:
                answer = await gateway.client.ask(PATHS[client], fields, timeout_s=15)
            statuses[answer.status] += 1
            said = judged(upstream, client, streamed, answer.status, answer.body, data)
            if answer.error:
                said.append(answer.error)
            wrong.extend(f"case {number} ({upstream} to {client}, {kind}): {each}" for each in said)

        for start in range(0, count, 500):
            await asyncio.gather(*map(one, range(start, min(count, start + 500))))
        entries = await gateway.settled(count)
        is_quiet = await gateway.quiet()
        alive = await gateway.client.ask("/livez")
        findings.note("answers", count)
        findings.note("statuses", str(dict(sorted(statuses.items()))))
        findings.note("wrong", len(wrong))
        findings.note("ledger entries", len(entries))
        findings.expect(not wrong, f"{len(wrong)}: {wrong[:3]}")
        findings.expect(len(entries) == count, f"{len(entries)} ledger entries of {count}")
        findings.expect(is_quiet, "attempts are still in flight")
        findings.expect(alive.ok, f"/livez says {alive.status} {alive.error}")
        findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


CHECKS = (
    Check(
        "A12",
        "10,000 generated hostile requests, and the hand-made list over raw sockets",
        "no 5xx but 501, 503, 505; no hang, no crash; errors shaped; memory <= +20 MiB",
        hostile_clients,
        40,
    ),
    Check(
        "A13",
        "3,000 mutated answers of providers",
        "a valid answer, a valid prefix and one error event, or an error status; no crash",
        hostile_providers,
        25,
    ),
)
