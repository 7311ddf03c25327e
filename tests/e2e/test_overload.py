"""More than there is room for, over real sockets: who is told what, and what it costs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.server.app import App
from pointsman.server.http import HttpServer
from pointsman.testing import FaultProvider, Hang

KEYS = {"SHOP": "sk-shop-0123456789", "BATCH": "sk-batch-0123456789", "VIP": "sk-vip-0123456789"}


class Town:
    """One place to be served in, and three keys."""

    def __init__(
        self, provider: FaultProvider, app: App, url: str, client: aiohttp.ClientSession
    ) -> None:
        self.provider, self.app, self.url, self.client = provider, app, url, client
        assert isinstance(app.gateway.ledger, MemoryLedger)
        self.ledger = app.gateway.ledger
        self.leave: Callable[[], object] = lambda: None
        """Has whoever occupies the place hang up."""

    async def ask(
        self, key: str, text: str = "a b c", **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
        sent = {"authorization": f"Bearer {KEYS[key]}", **headers}
        url = f"{self.url}/v1/chat/completions"
        data = BytesIO(json.dumps(body).encode())
        async with self.client.post(url, data=data, headers=sent) as answer:
            return answer.status, await answer.json(), answer.headers

    async def metric(self, line: str) -> float:
        async with self.client.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        return next((float(x.split()[-1]) for x in text.splitlines() if x.startswith(line)), 0.0)

    @asynccontextmanager
    async def occupied(self, key: str = "SHOP") -> AsyncIterator[None]:
        """Somebody is being served for as long as this lasts."""
        self.provider.script((Hang(),))
        asking = asyncio.create_task(self.ask(key))
        self.leave = asking.cancel
        await until(lambda: self.app.gate.in_flight == 1)
        yield
        asking.cancel()
        await until(lambda: self.app.gate.in_flight == 0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.002)


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FaultProvider())
        gateway = Gateway.from_config(
            {
                "server": {
                    "max_in_flight": 1,
                    "max_queued": 4,
                    "queue_wait_s": 0.02,
                    "bodies_mb": 1,
                    "keys": [
                        {"key": "env:SHOP", "name": "shop"},
                        {"key": "env:BATCH", "name": "batch", "max_in_flight": 1},
                        {"key": "env:VIP", "name": "vip", "criticality": "critical"},
                    ],
                },
                "providers": {"p": {"url": provider.base_url, "dialect": "openai"}},
                "deployments": [
                    {
                        "name": "only",
                        "provider": "p",
                        "model": "m",
                        "tier": "workhorse",
                        "price": {"input_usd": 1, "output_usd": 2},
                    }
                ],
            },
            env=KEYS,
            ledger=MemoryLedger(),
        )
        await stack.enter_async_context(gateway)
        app = App(gateway)
        server = HttpServer(app, gateway.settings.server, counting=gateway.metrics)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        await server.start([listener])
        stack.push_async_callback(server.close)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Town(provider, app, url, client)


async def test_no_place_in_time_is_503_and_the_next_one_is_served_again(town: Town) -> None:
    async with town.occupied():
        status, body, headers = await town.ask("VIP")
        assert (status, body["error"]["code"]) == (503, "overloaded")
        assert "server.max_in_flight" in body["error"]["message"]
        assert headers["x-should-retry"] == "true"
        assert int(headers["retry-after"]) >= 1
        assert await town.metric("pointsman_server_in_flight") == 1
    assert (await town.ask("VIP"))[0] == 200
    refused = 'pointsman_shed_total{criticality="critical",reason="queue_wait"}'
    assert await town.metric(refused) == 1
    assert [entry.caller.key for entry in town.ledger.entries if entry.status == 200] == ["vip"]
    assert len(town.ledger.entries) == 2, "what is turned away is not in the ledger"


async def test_a_place_that_comes_free_in_time_is_taken(town: Town) -> None:
    patient = dataclasses.replace(town.app.gateway.settings.server, queue_wait_s=30.0)
    town.app.gate.reconfigure(patient)
    async with town.occupied():
        asking = asyncio.create_task(town.ask("VIP"))
        await until(lambda: town.app.gate.waiting == 1)
        assert await town.metric("pointsman_queue_waiting") == 1
        town.leave()
        assert (await asking)[0] == 200
    assert town.app.gate.waiting == 0


async def test_a_keys_own_bound_is_429_and_names_it(town: Town) -> None:
    async with town.occupied("BATCH"):
        status, body, headers = await town.ask("BATCH")
    assert (status, body["error"]["code"]) == (429, "rate_limited")
    assert "'batch' has 1 requests under way" in body["error"]["message"]
    assert body["error"]["type"] == "rate_limit_error"
    assert headers["x-should-retry"] == "true"
    assert int(headers["retry-after"]) >= 1


async def test_it_is_refused_before_its_body_has_come(town: Town) -> None:
    host, port = town.url.removeprefix("http://").split(":")
    async with town.occupied():
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n"
            b"authorization: Bearer " + KEYS["SHOP"].encode() + b"\r\n\r\n"
        )
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        writer.close()


async def test_a_late_worker_turns_away_and_says_that_it_is_not_ready(town: Town) -> None:
    town.app.lag.now_s = 0.25
    status, body, _ = await town.ask("SHOP")
    assert (status, body["error"]["code"]) == (503, "overloaded")
    assert "0.25 s late" in body["error"]["message"]
    assert (await town.ask("VIP"))[0] == 200
    lowered = {"x-pointsman-criticality": "default"}
    assert (await town.ask("VIP", **lowered))[0] == 503
    town.app.lag.now_s = 0.5
    async with town.client.get(f"{town.url}/readyz") as answer:
        assert answer.status == 503
        assert "gate: lets nobody in" in await answer.text()
    async with town.client.get(f"{town.url}/livez") as answer:
        assert answer.status == 200


async def test_a_large_body_is_read_beside_the_loop_with_the_same_result(town: Town) -> None:
    text = "word " * 60_000
    status, body, _ = await town.ask("SHOP", text)
    assert (status, body["choices"][0]["message"]["role"]) == (200, "assistant")
    assert json.loads(town.provider.journal.calls[-1].body)["messages"][0]["content"] == text
    assert any(each.name.startswith("read body") for each in threading.enumerate())
    sent = {"authorization": f"Bearer {KEYS['SHOP']}"}
    broken = b'{"model": "auto", "messages": [' + b'"x",' * 100_000
    async with town.client.post(
        f"{town.url}/v1/chat/completions", data=broken, headers=sent
    ) as answer:
        assert answer.status == 400
        assert "not valid JSON" in await answer.text()


async def test_more_bytes_of_bodies_than_the_worker_holds_are_refused_and_counted(
    town: Town,
) -> None:
    status, body, _ = await town.ask(
        "SHOP", "x" * 1_500_000, **{"x-pointsman-criticality": "sheddable"}
    )
    assert (status, body["error"]["code"]) == (503, "overloaded")
    assert "server.bodies_mb" in body["error"]["message"]
    refused = 'pointsman_shed_total{criticality="sheddable",reason="bodies"}'
    assert await town.metric(refused) == 1
