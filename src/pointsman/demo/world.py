"""The demo's world: a real local model, two simulated providers and the gateway.

Model and gateway are processes of their own. The simulated providers run in the demo's own
process, on real sockets: so the demo can look into their journals, bodies included, and prove
what they were never sent.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import aiohttp

from pointsman.testing.child import Child, ChildFailed
from pointsman.testing.local_model import LocalModel
from pointsman.testing.persona import PERSONAS
from pointsman.testing.provider import FaultProvider

WORKHORSE = "simulated/gpt-6.1-terra"
FRONTIER = "simulated/claude-opus-5-5"
LOCAL = "local/smollm2"
"""The deployments' names in pointsman.yaml."""

BURST = "burst"
"""The name of the second key there, and of its budget."""

SIMULATED = {
    WORKHORSE: ("openai", "gpt-6.1-terra"),
    FRONTIER: ("anthropic", "claude-opus-5-5"),
}
"""Whose model and list price each simulated provider bears."""

READY_WITHIN_S = 30.0
LEDGER_FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm")


@dataclass(frozen=True, slots=True)
class World:
    """Where everything is. `providers` holds the simulated ones, by deployment."""

    folder: Path
    gateway_url: str
    key: str
    burst_key: str
    providers: Mapping[str, FaultProvider]
    session: aiohttp.ClientSession

    @property
    def config(self) -> Path:
        return self.folder / "pointsman.yaml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"


@asynccontextmanager
async def world(
    folder: Path, say: Callable[[str], None], port: int | None = None
) -> AsyncIterator[World]:
    """Start everything, and end it again however the body ends. `say` is told each step.

    The gateway listens on `port`, None for a free one. `folder` is made and keeps the
    configuration and the ledger; an earlier run's are removed.
    Raises ChildFailed and LocalModelMissing.
    """
    config = clean(folder)
    async with AsyncExitStack() as stack:
        model = LocalModel()
        stack.callback(model.child.stop)
        model.child.begin()
        providers: dict[str, FaultProvider] = {}
        for name, persona in ((WORKHORSE, "workhorse"), (FRONTIER, "frontier")):
            provider = FaultProvider(persona=PERSONAS[persona])
            providers[name] = await stack.enter_async_context(provider)
        await asyncio.to_thread(model.child.wait_ready)
        say(f"local      {LOCAL}: the real model, by llama.cpp, {model.base_url}")
        for tier, name in (("workhorse", WORKHORSE), ("frontier ", FRONTIER)):
            say(
                f"{tier}  {name}: simulated, canned answers, list price, {providers[name].base_url}"
            )
        key, burst_key = (f"sk-demo-{secrets.token_hex(12)}" for _ in range(2))
        port = port or free_port()
        gateway = Child(
            "gateway",
            [
                *(sys.executable, "-m", "pointsman", "serve", "--with-parent"),
                *("--log-level", "WARNING"),
                *("--config", str(config), "--port", str(port)),
            ],
            ready="^listening on ",
            patience_s=READY_WITHIN_S,
            env={
                **os.environ,
                "POINTSMAN_DEMO_KEY": key,
                "POINTSMAN_DEMO_BURST_KEY": burst_key,
                "POINTSMAN_DEMO_PROVIDER_KEY": f"sk-simulated-{secrets.token_hex(8)}",
                "POINTSMAN_DEMO_LOCAL_URL": model.base_url,
                "POINTSMAN_DEMO_WORKHORSE_URL": providers[WORKHORSE].base_url,
                "POINTSMAN_DEMO_FRONTIER_URL": providers[FRONTIER].url,
            },
        )
        stack.callback(gateway.stop)
        await asyncio.to_thread(gateway.start)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{port}"
        await ready(session, f"{url}/readyz", gateway)
        say(f"gateway    {url}/v1 for OpenAI's clients, {url} for Anthropic's")
        yield World(folder, url, key, burst_key, providers, session)


def clean(folder: Path) -> Path:
    """Make `folder`, without an earlier run's ledger; return the path of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LEDGER_FILES:
        (folder / name).unlink(missing_ok=True)
    config = folder / "pointsman.yaml"
    config.write_bytes(files("pointsman.demo").joinpath("pointsman.yaml").read_bytes())
    return config


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def ready(session: aiohttp.ClientSession, url: str, child: Child) -> None:
    """Return when `url` answers 200. Raises ChildFailed when it does not in time."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while child.returncode is None:
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.03)
    except TimeoutError:
        pass
    said = "\n".join(f"  {line}" for line in list(child.lines)[-20:])
    raise ChildFailed(f"{child.name}: {url} did not answer; it said:\n{said}")
