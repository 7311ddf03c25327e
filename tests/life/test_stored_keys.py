"""Keys of the store on two real workers: made, used, rotated, revoked, and requests made once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from life_house import BODY, Served, serving

pytestmark = [pytest.mark.real, pytest.mark.slow]

TOKEN = "adm-canary-0123456789abcdef0123"
MORE = """
ledger: {path: ledger.db}
admin: {port: 0, tokens: [{token: "file:token", name: olga, role: owner}]}
"""


REFUSED = (401, 429)
"""What a key that is no good is told: after ten failures, to slow down."""


class Manned:
    """A server of several workers, and its admin API."""

    def __init__(self, served: Served, admin: str) -> None:
        self.served = served
        self._admin = admin

    async def admin(self, method: str, path: str, body: object = None) -> Any:
        url = f"{self._admin}/admin/v1/{path}"
        head = {"authorization": f"Bearer {TOKEN}"}
        async with self.served.client.request(method, url, json=body, headers=head) as response:
            assert response.status in (200, 201), await response.text()
            return await response.json()

    async def chat(self, key: str, **headers: str) -> tuple[int, bytes]:
        url = f"{self.served.url}/v1/chat/completions"
        sent = {"authorization": f"Bearer {key}", "connection": "close"}  # any worker
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.served.client.post(url, json=BODY, headers=sent) as response:
            return response.status, await response.read()

    async def statuses(self, key: str, times: int = 12) -> set[int]:
        return {status for status, _ in [await self.chat(key) for _ in range(times)]}

    async def until(self, key: str, *statuses: int) -> float:
        """How long until all workers say nothing else, in seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(20):
            while not await self.statuses(key) <= set(statuses):
                pass
        return loop.time() - began


@asynccontextmanager
async def manned(tmp_path: Path) -> AsyncIterator[Manned]:
    (tmp_path / "token").write_text(TOKEN)
    async with serving(tmp_path, "--workers", "2", more=MORE) as served:
        (line,) = (await served.said("admin.listening"))[:1]
        yield Manned(served, line.rpartition("address=")[2].strip())


async def test_a_key_lives_and_dies_on_every_worker(tmp_path: Path) -> None:
    async with manned(tmp_path) as house:
        assert await house.statuses("sk-none", 4) == {401}
        made = await house.admin("POST", "keys", {"name": "web"})
        key = made["key"]
        assert await house.until(key, 200) < 2.5
        young = (await house.admin("POST", f"keys/{made['id']}/rotate", {"overlap_s": 600}))["key"]
        assert await house.until(young, 200) < 2.5
        assert await house.statuses(key) == {200}
        await house.admin("POST", f"keys/{made['id']}/revoke", {})
        for text in (key, young):
            assert await house.until(text, *REFUSED) < 2.5
        log = "\n".join(house.served.lines)
        for secret in (key, young, TOKEN):
            assert secret not in log and secret[11:] not in log


async def test_twenty_requests_five_times_each_are_twenty_calls(tmp_path: Path) -> None:
    async with manned(tmp_path) as house:
        key = (await house.admin("POST", "keys", {"name": "web"}))["key"]
        await house.until(key, 200)
        before = len(house.served.provider.journal.calls)
        told = await asyncio.gather(
            *(house.chat(key, idempotency_key=f"k{n % 20}") for n in range(100))
        )
        assert {status for status, _ in told} == {200}
        assert len(house.served.provider.journal.calls) - before == 20
        for n in range(20):
            assert len({told[at][1] for at in range(n, 100, 20)}) == 1


async def test_the_command_line_works_beside_the_server(tmp_path: Path) -> None:
    async with manned(tmp_path) as house:
        made = json.loads(await run(house.served.path, "keys", "create", "cli", "--json"))
        assert await house.until(made["key"], 200) < 2.5
        await run(house.served.path, "keys", "revoke", "cli")
        assert (await house.admin("GET", "keys/cli"))["state"] == "revoked"
        rows = (await house.admin("GET", "audit"))["rows"]
        assert [row["action"] for row in rows] == ["key.revoke", "key.create"]
        assert "sound" in await run(house.served.path, "budgets", "verify")


async def run(config: Path, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pointsman", *words, "-c", str(config)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_a_keys_own_limits_and_stored_ones_count(tmp_path: Path) -> None:
    async with manned(tmp_path) as house:
        poor = await house.admin("POST", "keys", {"name": "p", "limits": {"budget_usd": 0.0001}})
        slow = await house.admin(
            "POST", "keys", {"name": "s", "limits": {"requests_per_minute": 2}}
        )
        free = await house.admin("POST", "keys", {"name": "f", "team": "web"})
        assert await house.until(poor["key"], 402) < 2.5
        await house.until(slow["key"], 429)
        assert await house.until(free["key"], 200) < 2.5
        rule = {"scope": "team", "match": ["web"], "limit_usd": 0.0001}
        await house.admin("PUT", "rules/tight/budget", rule)
        assert await house.until(free["key"], 402) < 2.5
        await house.admin("DELETE", "rules/tight")
        assert await house.until(free["key"], 200) < 2.5
