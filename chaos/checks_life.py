"""A10 and A11: workers are replaced and configurations change, and no client notices."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from chaos.check import Check, Findings
from chaos.client import Answer, chat
from chaos.load import open_loop, p99_ms, percentile, success
from chaos.raw import counted_stream
from chaos.world import Gateway, World, deployments

RATE = 300.0
STREAMS = 200
PIECES = 20
TICK_S = 0.1
ROLLS = 3
BAD = 40
GOOD = 10


def whole_streams(answers: list[Answer]) -> list[str]:
    """Say what is wrong with streams of `PIECES` counted pieces."""
    wrong = []
    for answer in answers:
        if answer.error or answer.status != 200:
            wrong.append(f"{answer.status} {answer.error} after {len(answer.body)} bytes")
        elif (said := content(answer)) != "".join(f"s.{n} " for n in range(PIECES)):
            wrong.append(f"content {said[-40:]!r}")
        elif not answer.body.rstrip().endswith(b"data: [DONE]"):
            wrong.append(f"end {answer.body[-60:]!r}")
    return wrong


def content(answer: Answer) -> str:
    """All the text of a stream."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in answer.events()
        if isinstance(event, dict)
        for choice in event["choices"]
    )


async def rolling(world: World, findings: Findings) -> None:
    """SIGUSR2 three times under load; streams are begun all the time and outlive their worker."""
    provider = await world.raw(
        delay_s=0.01, tick_s=TICK_S, pieces=lambda body: counted_stream("s", PIECES)
    )
    gateway = await world.gateway(deployments([provider]), workers=2)
    await world.warm(gateway)
    streams: list[Answer] = []
    count = max(20, int(STREAMS * world.scale))
    rolls = max(1, round(ROLLS * world.scale))
    stopping = asyncio.Event()
    seconds: list[float] = []
    loop = asyncio.get_running_loop()

    async def stream(number: int) -> None:
        await asyncio.sleep(PIECES * TICK_S * number / count)
        while not stopping.is_set():
            streams.append(
                await gateway.client.ask("/v1/chat/completions", chat(stream=True), timeout_s=60)
            )

    async def roll() -> None:
        for _ in range(rolls):
            await asyncio.sleep(1)
            before = set(gateway.workers())
            begun = loop.time()
            gateway.send(signal.SIGUSR2)
            async with asyncio.timeout(60):
                while before & set(gateway.workers()) or len(gateway.workers()) < 2:
                    await asyncio.sleep(0.1)
            seconds.append(loop.time() - begun)
        await asyncio.sleep(1)
        stopping.set()

    answers: list[Answer] = []

    async def ask(due: float) -> Answer:
        return await gateway.client.ask("/v1/chat/completions", chat(), due=due)

    async def whole() -> None:
        while not stopping.is_set():
            answers.extend((await open_loop(ask, RATE, 1.0, world.rng)).answers)

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(stream(number))
        tasks.create_task(whole())
        tasks.create_task(roll())
    failed = [f"{a.status} {a.code} {a.error}" for a in answers if not a.ok]
    cut = whole_streams(streams)
    entries = await gateway.settled(len(answers) + len(streams))
    findings.note("rolling restarts", rolls)
    findings.note("seconds of each", str([round(each, 1) for each in seconds]))
    findings.note("whole answers", len(answers))
    findings.note("whole answers failed", len(failed))
    findings.note("whole answers, p99 ms", p99_ms(answers))
    findings.note("streams", len(streams))
    findings.note("streams cut", len(cut))
    findings.note("ledger entries more than asked", len(entries) - len(answers) - len(streams) - 50)
    findings.expect(not failed, f"{len(failed)} failed: {sorted(set(failed))[:3]}")
    findings.expect(not cut, f"{len(cut)} cut: {sorted(set(cut))[:3]}")
    findings.expect(
        len(entries) == len(answers) + len(streams) + 50,
        f"{len(entries)} ledger entries for {len(answers) + len(streams) + 50} requests",
    )
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


def _bad(good: dict[str, Any], number: int) -> tuple[bytes, str]:
    """A configuration that is no good, and a word that its refusal must have."""
    config = json.loads(json.dumps(good))
    kind = number % 8
    if kind == 0:
        return json.dumps(config).encode()[: 40 + number], ""
    if kind == 1:
        config["deployments"][0]["provider"] = f"nobody-{number}"
        return _dump(config), "deployments"
    if kind == 2:
        config["routes"][0]["strategy"] = f"magic-{number}"
        return _dump(config), "routes"
    if kind == 3:
        config["breaker"] = {"streak": -number}
        return _dump(config), "breaker"
    if kind == 4:
        config["server"]["keys"][0]["key"] = "env:NOT_THERE"
        return _dump(config), "NOT_THERE"
    if kind == 5:
        config["deployments"][0]["price"] = {"input_usd": f"cheap-{number}"}
        return _dump(config), "price"
    if kind == 6:
        config[f"sorver{number}"] = {}
        return _dump(config), f"sorver{number}"
    return b"\xff\xfe\x00not yaml: [", ""


def _dump(config: dict[str, Any]) -> bytes:
    return json.dumps(config).encode()


def _place(gateway: Gateway, content: bytes, *, whole: bool) -> None:
    """Put it in place: replaced in one step, or written over."""
    if whole:
        new = gateway.config.with_suffix(".new")
        new.write_bytes(content)
        os.replace(new, gateway.config)  # noqa: PTH105
    else:
        gateway.config.write_bytes(content)


async def reloads(world: World, findings: Findings) -> None:
    """Forty bad and ten good files, by replacement and SIGHUP, under load."""
    provider = await world.raw(
        delay_s=0.01, tick_s=TICK_S, pieces=lambda body: counted_stream("s", PIECES)
    )
    base = {
        "server": {"keys": [{"key": "env:CHAOS_KEY", "app": "chaos"}]},
        **deployments([provider]),
        "routes": [{"name": "auto", "strategy": "tiers"}],
    }
    gateway = await world.gateway(base)
    await world.warm(gateway)
    good_config = json.loads(gateway.config.read_text())
    stopping = asyncio.Event()
    answers: list[Answer] = []
    streams: list[Answer] = []
    wrong: list[str] = []
    told: list[float] = []
    found: list[float] = []
    """Seconds until a good file is live: after SIGHUP, and where nobody says that it changed."""
    loop = asyncio.get_running_loop()
    number_bad, number_good = (max(2, int(n * world.scale)) for n in (BAD, GOOD))
    plan = ["bad"] * number_bad + ["good"] * number_good
    world.rng.shuffle(plan)

    async def ask(due: float) -> Answer:
        return await gateway.client.ask("/v1/chat/completions", chat(), due=due)

    async def whole() -> None:
        while not stopping.is_set():
            answers.extend((await open_loop(ask, RATE, 1.0, world.rng)).answers)

    async def stream() -> None:
        while not stopping.is_set():
            streams.append(await gateway.client.ask("/v1/chat/completions", chat(stream=True)))

    async def readiness() -> dict[str, Any]:
        body: dict[str, Any] = json.loads((await gateway.client.ask("/readyz")).body)
        return body

    async def bad(number: int) -> None:
        before = await readiness()
        rejected = await _rejections(gateway)
        size = len(gateway.logged())
        data, word = _bad(good_config, number)
        _place(gateway, data, whole=number % 2 == 0)
        gateway.send(signal.SIGHUP)
        if not await _within(3.0, lambda: _more_rejections(gateway, rejected)):
            wrong.append(f"bad file {number} is not told as rejected")
        await asyncio.sleep(0.05)  # a thread writes the log
        log = gateway.logged()[size:]
        after = await readiness()
        if "config.rejected" not in log or gateway.config.name not in log or word not in log:
            wrong.append(f"the log of bad file {number} lacks path or {word!r}: {log[-300:]}")
        if after["generation"] != before["generation"] or not after["ready"]:
            wrong.append(f"bad file {number} changed what serves")
        if not after["config"]["rejected_since"]:
            wrong.append(f"/readyz does not tell of bad file {number}")

    async def good(number: int) -> None:
        before = str((await readiness())["generation"])
        good_config["deployments"][0]["tags"] = [f"try-{number}"]
        begun = loop.time()
        _place(gateway, _dump(good_config), whole=number % 2 == 0)
        if number % 3:
            gateway.send(signal.SIGHUP)

        async def changed() -> bool:
            answer = await gateway.client.ask("/v1/chat/completions", chat())
            return str(answer.headers.get("x-pointsman-generation", before)) != before

        if not await _within(5.0, changed):
            wrong.append(f"good file {number} is not live after 5 s")
        (told if number % 3 else found).append(loop.time() - begun)
        if (await readiness())["config"]["rejected_since"]:
            wrong.append(f"after good file {number} /readyz still tells of a bad one")

    async def change() -> None:
        for number, kind in enumerate(plan):
            await (bad(number) if kind == "bad" else good(number))
        stopping.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(stream())
        tasks.create_task(whole())
        tasks.create_task(change())
    failed = [f"{a.status} {a.code} {a.error}" for a in answers if not a.ok]
    cut = whole_streams(streams)
    findings.note("bad files", number_bad)
    findings.note("good files", number_good)
    findings.note("live after SIGHUP, s, p50", percentile(told, 0.5))
    findings.note("live after SIGHUP, s, at most", max(told, default=0.0))
    findings.note("live without SIGHUP, s, at most", max(found, default=0.0))
    findings.note("whole answers", len(answers))
    findings.note("success", success(answers))
    findings.note("whole answers, p99 ms", p99_ms(answers))
    findings.note("streams", len(streams))
    findings.expect(not failed, f"{len(failed)} failed: {sorted(set(failed))[:3]}")
    findings.expect(not cut, f"{len(cut)} streams cut: {sorted(set(cut))[:3]}")
    findings.expect(not wrong, f"{len(wrong)}: {wrong[:3]}")
    findings.expect(max(told, default=0) <= 1.0, f"live {max(told, default=0):.2f} s after SIGHUP")
    findings.expect(
        max(found, default=0) <= 2.0, f"live {max(found, default=0):.2f} s after it was written"
    )
    findings.expect(gateway.process.poll() is None, "the gateway ended")
    findings.expect(not gateway.crashes(), f"crashes: {gateway.crashes()[:3]}")


async def _rejections(gateway: Gateway) -> float:
    metrics = await gateway.metrics()
    return metrics.get('pointsman_config_reloads_total{result="rejected"}', 0.0)


async def _more_rejections(gateway: Gateway, before: float) -> bool:
    return await _rejections(gateway) > before


async def _within(seconds: float, condition: Callable[[], Awaitable[bool]]) -> bool:
    """Ask until it holds; tell whether it did in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        if await condition():
            return True
        await asyncio.sleep(0.02)
    return False


CHECKS = (
    Check(
        "A10",
        "three rolling restarts of two workers under 300/s and 200 streams",
        "0 failed, 0 cut",
        rolling,
        50,
    ),
    Check(
        "A11",
        "40 bad and 10 good configurations under 300/s and 20 streams",
        "0 crashes, 0 failed; bad ones refused with file and field; good ones live within 1 s of "
        "SIGHUP (and 2 s without: the file is looked at once a second)",
        reloads,
        25,
    ),
)
