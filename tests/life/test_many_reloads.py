"""Fifty configurations under traffic: forty are refused with their line, ten are live at once."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
from pathlib import Path

import aiohttp
import pytest
from life_house import Served, config, serving

from pointsman.config.load import loads
from pointsman.errors import ConfigError
from pointsman.testing import Slow

SEED = 20261
BAD, GOOD = 40, 10
LIVE_S = 1.0

WORDS = ("zzz", "[", "{", ": :", "-", "null", "!!python/object:os.system", "&a *a", "9e999", "\t")


def good(url: str, number: int) -> str:
    """One that differs from the others by a route of its own."""
    return config(url, f"routes:\n  - {{name: route-{number}, deployments: [first]}}\n")


def mutants(url: str, rng: random.Random) -> list[str]:
    """Files that no longer hold, each by a few small changes to a good one."""
    found: list[str] = []
    while len(found) < BAD:
        text = good(url, 0)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            match rng.randrange(5):
                case 0:
                    text = text[:at]
                case 1:
                    text = text[:at] + rng.choice(WORDS) + text[at:]
                case 2:
                    text = text[:at] + text[at + rng.randint(1, 9) :]
                case 3:
                    words = re.findall(r"\w+", text) or ["x"]
                    text = text.replace(rng.choice(words), rng.choice(WORDS), 1)
                case _:
                    lines = text.splitlines(keepends=True) or [""]
                    text += rng.choice(lines)
        try:
            loads(text, "mutant", {}, Path.cwd())
        except ConfigError:
            found.append(text)
    return found


@pytest.mark.slow
@pytest.mark.real
async def test_bad_ones_are_refused_with_their_line_and_good_ones_are_live(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, "--log-level", "INFO") as served:
        rng = random.Random(SEED)
        url = served.provider.base_url
        plan = [("bad", text) for text in mutants(url, rng)]
        plan += [("good", str(number)) for number in range(1, GOOD + 1)]
        rng.shuffle(plan)
        stop = asyncio.Event()
        failed: list[object] = []
        answered = 0

        async def traffic() -> None:
            nonlocal answered
            while not stop.is_set():
                try:
                    if (status := await served.chat(model="first")) != 200:
                        failed.append(status)
                    answered += 1
                except aiohttp.ClientError as error:
                    failed.append(error)
                await asyncio.sleep(0.005)

        callers = [asyncio.create_task(traffic()) for _ in range(4)]
        live, rejected = 0, 0
        for kind, what in plan:
            if kind == "good":
                served.path.write_text(good(url, int(what)))
                served.signal(signal.SIGHUP)
                assert await _is_live(served, f"route-{what}")
                live += 1
            else:
                served.path.write_text(what)
                served.signal(signal.SIGHUP)
                rejected += 1
                counted = rejected
                await _counted(served, "rejected", counted)
                assert await served.chat(model="first") == 200
        stop.set()
        await asyncio.gather(*callers)
        assert failed == []
        assert answered > 50
        assert (live, rejected) == (GOOD, BAD)
        said = [line for line in served.lines if "config.rejected" in line]
        assert said and len(said) <= BAD
        place = re.compile(rf"error=['\"]{re.escape(str(served.path))}:\d+: ")
        assert all(place.search(line) for line in said), said
        assert (await served.readyz())[0] == 200
        served.signal(signal.SIGINT)
        assert await served.end() == 0


async def _is_live(served: Served, model: str) -> bool:
    until = time.monotonic() + LIVE_S
    while time.monotonic() < until:
        if await served.chat(model=model) == 200:
            return True
        await asyncio.sleep(0.01)
    return False


async def _counted(served: Served, result: str, number: int) -> None:
    wanted = f'pointsman_config_reloads_total{{result="{result}"}} {float(number)}'
    async with asyncio.timeout(10):
        while True:
            async with served.client.get(f"{served.url}/metrics") as response:
                if wanted in await response.text():
                    return
            await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.real
async def test_a_stream_survives_a_reload_that_removes_its_deployment(tmp_path: Path) -> None:
    async with serving(tmp_path, reload_s=0.1) as served:
        served.provider.script((Slow(tokens_per_second=4),))
        streaming = asyncio.create_task(served.stream())
        await served.under_way(1)
        text = config(served.provider.base_url, reload_s=0.1)
        served.path.write_text(text.replace("name: first", "name: other"))
        await served.said("config.loaded")
        assert await served.chat(model="first") == 404
        assert not streaming.done()
        assert (await streaming).endswith(b"data: [DONE]\n\n")
        served.signal(signal.SIGINT)
        assert await served.end() == 0


@pytest.mark.slow
@pytest.mark.real
async def test_callers_keys_come_and_go_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("sk-caller-one")
    (tmp_path / "two").write_text("sk-caller-two")
    keys = "keys: [{key: 'file:one'}, {key: 'file:two'}], "
    async with serving(tmp_path) as served:

        async def status(key: str) -> tuple[int, str]:
            headers = {"authorization": f"Bearer {key}"}
            url = f"{served.url}/v1/models"
            async with served.client.get(url, headers=headers) as response:
                return response.status, response.headers["x-pointsman-generation"]

        async def write(keys: str) -> None:
            before = len([line for line in served.lines if "config.loaded" in line])
            text = config(served.provider.base_url)
            served.path.write_text(text.replace("port: 0,", f"port: 0, {keys}"))
            served.signal(signal.SIGHUP)
            await served.said("config.loaded", before + 1)

        _, open_to_all = await status("anything")
        await write(keys)
        assert [(await status(f"sk-caller-{each}"))[0] for each in ("one", "two")] == [200, 200]
        assert (await status("anything"))[0] == 401
        await write("keys: [{key: 'file:two'}], ")
        assert [(await status(f"sk-caller-{each}"))[0] for each in ("one", "two")] == [401, 200]
        _, now = await status("sk-caller-two")
        assert now != open_to_all
        assert now == (await served.readyz())[1]["generation"]
        served.signal(signal.SIGINT)
        assert await served.end() == 0
        assert not any("sk-caller" in line for line in served.lines)


@pytest.mark.slow
@pytest.mark.real
async def test_a_provider_s_key_is_rotated_under_traffic_and_nobody_sees_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "new").write_text("sk-provider-first")
    (tmp_path / "old").write_text("sk-provider-spare")
    both = ["sk-provider-first", "sk-provider-spare"]
    chain = "['file:new', 'file:old']"
    async with serving(tmp_path, keys=both, reload_s=0.1, chain=chain) as served:
        taken = served.provider.keys
        assert taken is not None
        stop, statuses = asyncio.Event(), list[int]()

        async def traffic() -> None:
            while not stop.is_set():
                statuses.append(await served.chat())
                await asyncio.sleep(0.005)

        callers = [asyncio.create_task(traffic()) for _ in range(4)]
        taken.discard("sk-provider-first")  # 1. revoked too early: the spare one serves
        await served.said("key.refused provider=oa key=1 of=2 usable=1")
        (tmp_path / "new").write_text("sk-provider-second")
        taken.add("sk-provider-second")  # 2. its successor is in place
        await served.said("config.loaded")
        taken.discard("sk-provider-spare")  # 3. and the spare one may go
        so_far = len(statuses)
        await served.until(lambda: len(statuses) > so_far + 50)
        stop.set()
        await asyncio.gather(*callers)
        assert set(statuses) == {200}
        _, told = await served.readyz()
        assert told["breakers"] == {"first": "closed"}
        assert not any("sk-provider" in line for line in served.lines)
        served.signal(signal.SIGINT)
        assert await served.end() == 0
