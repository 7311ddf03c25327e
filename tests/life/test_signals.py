"""What a serving process does with signals: real processes, bounded, ended by their ids."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from life_house import BODY, Served, config, serving

from pointsman.cli.main import main
from pointsman.testing import Slow

pytestmark = [pytest.mark.slow, pytest.mark.real]

DONE = b"data: [DONE]\n\n"


def slow(served: Served, streams: int, tokens_per_second: float = 4.0) -> None:
    """Have the next streams take about a second."""
    served.provider.script(*[(Slow(tokens_per_second=tokens_per_second),)] * streams)


@pytest.mark.parametrize("text", ["deployments: [", "deployments: [{model: nobody/m}]\n"])
def test_a_bad_file_at_boot_is_78_and_says_where(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    got = CliRunner().invoke(main, ["serve", "-c", str(path)])
    assert got.exit_code == 78
    assert re.search(rf"{path}:[12]: ", got.output)


async def test_sigterm_is_unready_at_once_accepts_a_while_and_ends_streams_well(
    tmp_path: Path,
) -> None:
    ledger = tmp_path / "l.db"
    async with serving(tmp_path, "--ledger", str(ledger), linger_s=1.0) as served:
        slow(served, 1, 2.0)
        streaming = asyncio.create_task(served.stream())
        await served.under_way(1)
        served.signal(signal.SIGTERM)
        await served.said("worker.drains how=stop")
        status, told = await served.readyz()
        assert status == 503
        assert "draining" in told["reasons"]
        async with served.client.get(f"{served.url}/livez") as alive:
            assert alive.status == 200
            assert alive.headers["connection"].lower() == "close"
        assert await served.chat() == 200  # still let in
        assert (await streaming).endswith(DONE)
        assert await served.end() == 0
    with closing(sqlite3.connect(ledger)) as kept:
        rows = kept.execute("select outcome from entry").fetchall()
    assert rows == [("ok",), ("ok",)]


async def test_a_second_sigterm_ends_at_once_and_says_so_in_the_stream(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        slow(served, 1, 0.5)
        streaming = asyncio.create_task(served.stream())
        await served.under_way(1)
        served.signal(signal.SIGTERM)
        await served.said("worker.drains")
        served.signal(signal.SIGTERM)
        assert await served.end() == 0
        said = await streaming
        assert b'"code":"draining"' in said
        assert not said.endswith(DONE)


async def test_ctrl_c_does_not_linger(tmp_path: Path) -> None:
    async with serving(tmp_path, linger_s=3600) as served:
        served.signal(signal.SIGINT)
        assert await served.end() == 0


async def test_what_takes_longer_than_the_drain_is_ended_with_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.path.write_text(
            config(served.provider.base_url).replace("drain_s: 10", "drain_s: 0.3")
        )
        served.signal(signal.SIGHUP)
        await served.said("config.loaded")
        slow(served, 1, 0.5)
        streaming = asyncio.create_task(served.stream())
        await served.under_way(1)
        served.signal(signal.SIGTERM)
        assert b'"code":"draining"' in await streaming
        assert await served.end() == 0


async def test_one_worker_says_that_it_cannot_roll(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.signal(signal.SIGUSR2)
        await served.said("restart.refused .*--workers 2")
        assert await served.chat() == 200
        served.signal(signal.SIGINT)
        assert await served.end() == 0


def pids(served: Served) -> list[int]:
    """Of the workers that were started, oldest first."""
    found = (re.search(r"worker\.started .*pid=(\d+)", line) for line in served.lines)
    return [int(match[1]) for match in found if match]


def is_there(pid: int) -> bool:
    """Is it running? One that has ended and was not waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_worker_that_dies_is_replaced_and_the_other_serves_on(tmp_path: Path) -> None:
    async with serving(tmp_path, "--workers", "2") as served:
        await served.said("worker.started", 2)
        await served.said("worker.ready", 2)
        os.kill(pids(served)[0], signal.SIGKILL)
        await served.said("worker.died .*status=-9")
        assert await served.chat() == 200
        await served.said("worker.ready", 3)
        served.signal(signal.SIGTERM)
        assert await served.end() == 0
        assert not any(is_there(pid) for pid in pids(served))


async def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    async with serving(tmp_path, "--workers", "2") as served:
        await served.said("worker.ready", 2)
        served.signal(signal.SIGKILL)
        await served.end()
        await served.until(lambda: not any(is_there(pid) for pid in pids(served)))


async def test_a_rolling_restart_fails_no_request_and_cuts_no_stream(tmp_path: Path) -> None:
    async with serving(tmp_path, "--workers", "2") as served:
        await served.said("worker.ready", 2)
        failed: list[object] = []
        answered = 0
        stop = asyncio.Event()

        async def traffic() -> None:
            nonlocal answered
            while not stop.is_set():
                try:
                    if (status := await served.chat()) != 200:
                        failed.append(status)
                    answered += 1
                except aiohttp.ClientError as error:
                    failed.append(error)
                await asyncio.sleep(0.01)

        slow(served, 8, 2.0)
        streams = [asyncio.create_task(served.stream()) for _ in range(8)]
        await served.under_way(8)
        callers = [asyncio.create_task(traffic()) for _ in range(4)]
        served.signal(signal.SIGUSR2)
        await served.said("restart.done workers=2")
        stop.set()
        await asyncio.gather(*callers)
        assert failed == []
        assert answered > 20
        assert all(said.endswith(DONE) for said in await asyncio.gather(*streams))
        old, new = pids(served)[:2], pids(served)[2:]
        assert len(new) == 2
        assert not any(is_there(pid) for pid in old)
        assert (await served.readyz())[0] == 200
        served.signal(signal.SIGTERM)
        assert await served.end() == 0


async def test_a_rolling_restart_into_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, "--workers", "2") as served:
        await served.said("worker.ready", 2)
        served.path.write_text("deployments: [")
        served.signal(signal.SIGUSR2)
        await served.said("restart.aborted")
        (said,) = await served.said("config.rejected")
        assert re.search(rf"{served.path}:[12]:", said)
        assert await served.chat() == 200
        assert all(is_there(pid) for pid in pids(served)[:2])
        served.signal(signal.SIGINT)
        assert await served.end() == 0


async def test_a_sighup_reaches_every_worker(tmp_path: Path) -> None:
    async with serving(tmp_path, "--workers", "2") as served:
        await served.said("worker.ready", 2)
        served.path.write_text(
            config(served.provider.base_url, "routes: [{name: other, deployments: [first]}]\n")
        )
        served.signal(signal.SIGHUP)
        await served.said("config.loaded", 2)
        for _ in range(8):
            async with aiohttp.ClientSession() as fresh:  # of any of the workers
                url = f"{served.url}/v1/chat/completions"
                async with fresh.post(url, json={**BODY, "model": "other"}) as response:
                    assert response.status == 200
        served.signal(signal.SIGTERM)
        assert await served.end() == 0
