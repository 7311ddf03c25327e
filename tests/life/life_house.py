"""`pointsman serve` as a process of its own, with a provider that the test directs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from pointsman.testing import FaultProvider

PATIENCE_S = 40.0
"""For anything to happen; two busy cores may start two interpreters."""

BODY: Mapping[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "a b c d"}]}


def config(url: str, more: str = "", reload_s: float = 0, chain: str = "") -> str:
    return f"""\
server: {{port: 0, reload_s: {reload_s}, drain_s: 10}}
providers:
  oa: {{url: "{url}", dialect: openai{chain and f", keys: {chain}"}}}
deployments:
  - {{name: first, provider: oa, model: m, tier: workhorse, price: {{input_usd: 1, output_usd: 2}}}}
{more}"""


@dataclass
class Served:
    """A running gateway; `lines` are what it has said."""

    process: asyncio.subprocess.Process
    client: aiohttp.ClientSession
    provider: FaultProvider
    path: Path
    lines: list[str] = field(default_factory=list)
    url: str = ""

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                await asyncio.sleep(0.01)

    async def said(self, pattern: str, times: int = 1) -> list[str]:
        """Wait for lines that match, and give them."""
        found: list[str] = []

        def happened() -> bool:
            found[:] = [line for line in self.lines if re.search(pattern, line)]
            return len(found) >= times or self.process.returncode is not None

        await self.until(happened)
        assert len(found) >= times, "\n".join(self.lines)
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def chat(self, **fields: object) -> int:
        url = f"{self.url}/v1/chat/completions"
        async with self.client.post(url, json={**BODY, **fields}) as response:
            await response.read()
            return response.status

    async def stream(self) -> bytes:
        url = f"{self.url}/v1/chat/completions"
        async with self.client.post(url, json={**BODY, "stream": True}) as response:
            return await response.read()

    async def readyz(self) -> tuple[int, Any]:
        async with self.client.get(f"{self.url}/readyz") as response:
            return response.status, await response.json()

    async def under_way(self, streams: int) -> None:
        """Wait until the provider is answering so many."""
        await self.until(lambda: len(self.provider.journal.open) >= streams)

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())


@asynccontextmanager
async def serving(
    tmp_path: Path,
    *options: str,
    linger_s: float = 0,
    keys: Sequence[str] | None = None,
    **more: Any,
) -> AsyncIterator[Served]:
    """`keys` are the only ones that the provider takes; `more` is what `config` takes."""
    path = tmp_path / "pointsman.yaml"
    async with FaultProvider(keys=keys) as provider, aiohttp.ClientSession() as client:
        path.write_text(config(provider.base_url, **more))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pointsman", "serve", "-c", str(path), *options),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "POINTSMAN_LINGER_S": str(linger_s)},
        )
        served = Served(process, client, provider, path)
        reading = asyncio.create_task(served._read())
        try:
            line = (await served.said(r"^listening on"))[0]
            served.url = line.split()[2]
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        if (await served.readyz())[0] == 200:
                            break
                    except aiohttp.ClientError:
                        pass
                    await asyncio.sleep(0.02)
            yield served
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await reading
