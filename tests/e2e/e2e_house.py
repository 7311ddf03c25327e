"""A gateway on a real socket between a client and two fault providers, in one process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest

from pointsman.gateway import Gateway
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.memory import MemoryLedger
from pointsman.server.app import App
from pointsman.server.http import HttpServer
from pointsman.testing import FaultProvider
from pointsman.testing.provider import CancelBilling

KEY = "sk-e2e-0123456789abcdef"
ABLE = ["chat", "tools", "parallel_tools", "vision", "json", "json_schema", "reasoning"]


@dataclass
class Got:
    """An answer as a client sees it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]

    def events(self) -> list[Any]:
        """The `data:` of a stream's events, parsed; "[DONE]" as it is."""
        found: list[Any] = []
        for line in self.body.decode().splitlines():
            if line.startswith("data:"):
                data = line[5:].strip()
                found.append(data if data == "[DONE]" else json.loads(data))
        return found


@dataclass
class House:
    """`openai` and `claude` are the providers; `url` is the gateway's."""

    openai: FaultProvider
    claude: FaultProvider
    gateway: Gateway
    ledger: MemoryLedger
    url: str
    client: aiohttp.ClientSession
    server: HttpServer
    auth: dict[str, str] = field(default_factory=lambda: {"authorization": f"Bearer {KEY}"})

    async def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Got:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**self.auth, "content-type": "application/json", **(headers or {})}
        async with self.client.post(self.url + path, data=BytesIO(data), headers=sent) as response:
            return Got(response.status, response.headers, await response.read())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Got:
        sent = {**self.auth, **(headers or {})}
        async with self.client.get(self.url + path, headers=sent) as response:
            return Got(response.status, response.headers, await response.read())

    async def chat(self, text: str = "hi", model: str = "auto", **fields: object) -> Got:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return await self.post("/v1/chat/completions", body)

    async def message(self, text: str = "hi", model: str = "auto", **fields: object) -> Got:
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "max_tokens": 200, "messages": messages, **fields}
        return await self.post("/v1/messages", body)

    async def told(self, count: int = 1) -> list[LedgerEntry]:
        """Wait until the ledger has `count` entries."""
        async with asyncio.timeout(5):
            while len(self.ledger.entries) < count:
                await asyncio.sleep(0.002)
        return list(self.ledger.entries)

    def asked(self) -> dict[str, int]:
        """How many calls each provider has seen end."""
        return {"openai": len(self.openai.journal.calls), "claude": len(self.claude.journal.calls)}


def configuration(openai: FaultProvider, claude: FaultProvider) -> dict[str, Any]:
    return {
        "server": {"keys": [{"key": "env:E2E_KEY", "app": "tests"}], "body_mb": 1},
        "providers": {
            "oa": {"url": openai.base_url, "dialect": "openai", "key": "env:PROVIDER_KEY"},
            "an": {"url": claude.url, "dialect": "anthropic", "key": "env:PROVIDER_KEY"},
        },
        "deployments": [
            {
                "name": "first",
                "provider": "oa",
                "model": "gpt-test",
                "tier": "workhorse",
                "price": {"input_usd": 1, "output_usd": 2, "cached_input_usd": 0.5},
                "context_tokens": 20000,
                "capabilities": ABLE,
            },
            {
                "name": "second",
                "provider": "an",
                "model": "claude-test",
                "tier": "frontier",
                "price": {"input_usd": 3, "output_usd": 15},
                "context_tokens": 100000,
                "capabilities": ABLE,
            },
            {
                "name": "vectors",
                "provider": "oa",
                "model": "embed-test",
                "tier": "workhorse",
                "price": {"input_usd": 0.1, "output_usd": 0},
                "capabilities": ["embeddings"],
            },
        ],
        "routes": [
            {
                "name": "auto",
                "deployments": ["first", "second"],
                "strategy": "static",
                "order": ["first", "second"],
                "timeouts": {"first_content_s": 0.4, "idle_s": 0.4, "whole_s": 0.4, "total_s": 3},
            },
            {"name": "solo", "deployments": ["first"], "fallback": {"enabled": False}},
            {"name": "embed", "deployments": ["vectors"]},
        ],
    }


@asynccontextmanager
async def open_house(
    change: Callable[[dict[str, Any]], None] = lambda config: None,
    kept: str | None = None,
    cancel_billing: CancelBilling = "generated",
) -> AsyncIterator[House]:
    """A house whose configuration `change` has had its way with. kept: the ledger's file or data
    base, with budgets and a log; without it all of them are in memory. cancel_billing: what the
    first provider bills of a stream that is left."""
    async with AsyncExitStack() as stack:
        openai = await stack.enter_async_context(FaultProvider(cancel_billing=cancel_billing))
        claude = await stack.enter_async_context(FaultProvider())
        ledger = MemoryLedger()
        config = configuration(openai, claude)
        change(config)
        env = {"E2E_KEY": KEY, "PROVIDER_KEY": "sk-provider-canary-123456"}
        if kept is not None:
            env["LEDGER"] = kept
            where = {"url": "env:LEDGER"} if "://" in kept else {"path": kept}
            logs = stack.enter_context(TemporaryDirectory())
            config["ledger"] = {**where, "flush_s": 0.01, "log_dir": logs}
        gateway = Gateway.from_config(
            config,
            env=env,
            ledger=ledger if kept is None else None,
            observers=() if kept is None else (ledger.append,),
        )
        await stack.enter_async_context(gateway)
        server = HttpServer(App(gateway), gateway.settings.server, counting=gateway.metrics)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await server.start([listener])
        stack.push_async_callback(server.close)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield House(openai, claude, gateway, ledger, url, client, server)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as house:
        yield house
