"""What happens in the demo: quiet traffic, then the workhorse's provider fails, then it is well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import aiohttp

from pointsman.demo.client import Answered, Client
from pointsman.demo.prompts import AFTER, PROBE, QUIET, ROUGH, Prompt
from pointsman.demo.show import Scene, Show
from pointsman.demo.world import WORKHORSE, World
from pointsman.domain.money import from_usd
from pointsman.testing.director import Rule
from pointsman.testing.plays import Fail

AT_ONCE = 4
"""Requests under way at a time: a small shop's traffic, and enough to keep one core busy."""
POLL_S = 0.2
BACK_WITHIN_S = 20.0

OUTAGE = Rule((Fail(503),), "outage")


async def play(world: World, scene: Scene, show: Show) -> list[Answered]:
    """Send everything; return the answers in the order of the prompts."""
    client = Client(world.session, world.gateway_url, world.key)
    numbers = count(1)
    provider = world.providers[WORKHORSE]
    async with _watching(client, scene, show):
        show.say(f"quiet: {len(QUIET)} requests, {AT_ONCE} at once, every provider is well")
        answers = await send_all(client, QUIET, numbers, show.answered)
        provider.set_rules(OUTAGE)
        show.say(f"outage: the provider of {WORKHORSE} now answers 503 to everything")
        answers += await send_all(client, ROUGH, numbers, show.answered)
        provider.heal()
        show.say(f"well again: the provider of {WORKHORSE} answers; its breaker lets a probe by")
        await _reopened(client, scene)
        answers += await send_all(client, (PROBE,), numbers, show.answered)
        answers += await send_all(client, AFTER, numbers, show.answered)
    return answers


async def send_all(
    client: Client,
    prompts: Sequence[Prompt],
    numbers: Iterator[int],
    tell: Callable[[Answered], None],
) -> list[Answered]:
    """Send the prompts, `AT_ONCE` at a time; tell each answer as it comes."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, prompt: Prompt) -> Answered:
        async with free:
            answer = await client.send(number, prompt)
        tell(answer)
        return answer

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(next(numbers), prompt)) for prompt in prompts]
    return [task.result() for task in tasks]


@asynccontextmanager
async def _watching(client: Client, scene: Scene, show: Show) -> AsyncIterator[None]:
    """Keep the scene true while the body runs."""

    async def watch() -> None:
        while True:
            await look(client, scene)
            show.moved()
            await asyncio.sleep(POLL_S)

    task = asyncio.create_task(watch())
    try:
        yield
        await look(client, scene)
    finally:
        task.cancel()
        try:
            await task
        except (asyncio.CancelledError, aiohttp.ClientError):
            pass


async def look(client: Client, scene: Scene) -> None:
    """Read the scene from the gateway's metrics and health."""
    samples = await client.metrics()

    def total(name: str) -> float:
        return sum(value for found, _, value in samples if found == name)

    scene.breakers = await client.breakers()
    scene.cost_nano = from_usd(total("pointsman_cost_usd_total"))
    scene.baseline_nano = from_usd(total("pointsman_baseline_usd_total"))
    scene.fallbacks = int(total("pointsman_fallbacks_total"))


async def _reopened(client: Client, scene: Scene) -> None:
    """Wait until the workhorse may be tried again: its breaker's own time, a few seconds."""
    try:
        async with asyncio.timeout(BACK_WITHIN_S):
            while scene.breakers.get(WORKHORSE) == "open":
                await asyncio.sleep(POLL_S)
                await look(client, scene)
    except TimeoutError:
        return  # The audit tells what did not come back.
