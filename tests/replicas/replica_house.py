"""Three gateways, each as on a machine of its own, over one store: processes, logs and ports apart.

They share a PostgreSQL, a provider that the test directs, and a Valkey where there is one. What is
true of the fleet is read at the ends that nobody can talk round: what the provider says it billed,
and what the store says was booked.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from pointsman.budgets.check import check
from pointsman.clock import SystemClock
from pointsman.domain.usage import Price, Rates
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing import FaultProvider
from pointsman.testing.servers import free_port

T = TypeVar("T")

REPLICAS = 3
PATIENCE_S = 40.0
TOKEN = "adm-replicas-0123456789abcdef01"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
PRICE = Price(Rates.of(1_000_000_000, 2_000_000_000), version="file")
SLOTS = 6
CONFIG = """\
server: {{port: 0, drain_s: 10}}
admin: {{port: {port}, tokens: [{{token: "env:ADMIN_TOKEN", name: olga, role: owner}}]}}
ledger: {{url: "env:DATABASE_URL", log_dir: logs}}
{redis}
providers:
  oa: {{url: "{url}", dialect: openai, key: none}}
deployments:
  - name: quick
    provider: oa
    model: quick
    tier: workhorse
    price: {{input_usd: 1, output_usd: 2}}
  - name: slow
    provider: oa
    model: slow
    tier: workhorse
    price: {{input_usd: 1, output_usd: 2}}
routes:
  - {{name: auto, deployments: [quick]}}
  - {{name: kept, deployments: [quick], cache: exact}}
budgets:
  - {{name: house, scope: everyone, limit_usd: 1000, window: total}}
rates:
  - {{name: slots, scope: team, match: [slots], max_in_flight: {slots}}}
"""
REDIS = 'redis: {url: "env:REDIS_URL"}\ncache: {mode: "off", store: redis}'

_numbers = itertools.count()


def new_text(words: int = 3) -> str:
    """What nobody has asked yet."""
    return " ".join(f"w{next(_numbers)}" for _ in range(words))


@dataclass
class Told:
    """An answer to a client."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def error(self) -> Any:
        return json.loads(self.body)["error"]

    @property
    def worker(self) -> str:
        """Which process it was: ids of requests are a process' own beginning and a number."""
        return self.headers["x-pointsman-request-id"][:-8]


@dataclass
class Replica:
    """One `pointsman serve` with a folder of its own."""

    folder: Path
    workers: int
    environment: Mapping[str, str]
    client: aiohttp.ClientSession
    admin_port: int
    lines: list[str] = field(default_factory=list)
    url: str = ""
    process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    async def start(self) -> None:
        """Start it, new or with the log that it had, and wait until it is ready."""
        self.lines.clear()
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pointsman", "serve", "-c", "pointsman.yaml"),
            *("--workers", str(self.workers), "--log-level", "WARNING"),
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
            cwd=self.folder,
        )
        self._reading = asyncio.create_task(self._read(self.process))
        self.url = (await self.said(r"^listening on")).split()[2]
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_ready():
                await asyncio.sleep(0.02)

    async def _is_ready(self) -> bool:
        try:
            async with self.client.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.lines.append(line.decode().rstrip())

    async def said(self, pattern: str) -> str:
        """Wait for a line that matches, and give it."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for line in self.lines:
                    if re.search(pattern, line):
                        return line
                assert self.process.returncode is None, "\n".join(self.lines)
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """SIGKILL, supervisor and workers at once: a machine that is gone."""
        assert self.process is not None
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        # The parent first, and all at once: it would start another, they would end in order.
        for pid in (parent, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        await self._gone()

    async def stop(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self._gone()

    async def _gone(self) -> None:
        assert self.process is not None and self._reading is not None
        async with asyncio.timeout(PATIENCE_S):
            await self.process.wait()
            await self._reading

    async def chat(
        self, key: str, text: str = "hello", *, headers: Mapping[str, str] = {}, **more: Any
    ) -> Told:
        """Ask; status 0 where nobody answers. Each on a connection of its own: any worker."""
        message = {"role": "user", "content": text}
        body = {"model": "auto", "messages": [message], "max_tokens": 20, **more}
        sent = {"authorization": f"Bearer {key}", "connection": "close", **headers}
        url = f"{self.url}/v1/chat/completions"
        began = time.monotonic()
        try:
            async with self.client.post(url, json=body, headers=sent) as response:
                raw = await response.read()
                took_s = time.monotonic() - began
                return Told(response.status, response.headers, raw, took_s)
        except (aiohttp.ClientError, TimeoutError):
            return Told(0, {}, b"", time.monotonic() - began)

    async def admin(self, method: str, path: str, body: object = None) -> Any:
        url = f"http://127.0.0.1:{self.admin_port}/admin/v1/{path}"
        async with self.client.request(method, url, json=body, headers=ADMIN) as response:
            assert response.status in (200, 201), await response.text()
            return await response.json()


@dataclass
class Fleet:
    """The replicas, and both ends."""

    replicas: Sequence[Replica]
    provider: FaultProvider
    place: str

    async def new_key(self, **more: Any) -> str:
        """Make a key on the first replica and wait until all let it in."""
        made = await self.replicas[0].admin("POST", "keys", {"name": f"k{next(_numbers)}", **more})
        key: str = made["key"]
        await self.until(key, lambda status: status not in (401, 429, 503))
        return key

    async def until(self, key: str, is_it: Callable[[int], bool], model: str = "none") -> float:
        """Ask, for a model that is not there, until every worker says what is waited for; return
        the seconds that took. Nobody but a good key is told of models, or of limits."""
        began = time.monotonic()
        said: dict[str, bool] = {}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = await asyncio.gather(
                    *(each.chat(key, model=model) for each in self.replicas for _ in range(3))
                )
                said.update((one.worker, is_it(one.status)) for one in told)
                if len(said) == self.workers and all(said.values()):
                    return time.monotonic() - began
                await asyncio.sleep(0.03)

    @property
    def workers(self) -> int:
        return sum(each.workers for each in self.replicas)

    async def burst(
        self, key: str, count: int, at_once: int = 24, words: int = 3, **more: Any
    ) -> list[Told]:
        """Ask the replicas in turn, so many at once."""
        turns = itertools.cycle(self.replicas)
        left = iter(range(count))

        async def client() -> list[Told]:
            return [await next(turns).chat(key, new_text(words), **more) for _ in left]

        told = await asyncio.gather(*(client() for _ in range(at_once)))
        return [one for some in told for one in some]

    @asynccontextmanager
    async def under_load(
        self, key: str, per_s: float, among: Sequence[Replica] = (), **more: Any
    ) -> AsyncIterator[list[Told]]:
        """Ask in turn, whether or not earlier requests were answered, while the block runs; what
        was told is all there after it."""
        told: list[Told] = []
        turns = itertools.cycle(among or self.replicas)

        async def one(replica: Replica) -> None:
            told.append(await replica.chat(key, new_text(), **more))

        async def run() -> None:
            async with asyncio.TaskGroup() as asking:
                while not is_over.is_set():
                    asking.create_task(one(next(turns)))
                    await asyncio.sleep(1 / per_s)

        is_over = asyncio.Event()
        running = asyncio.create_task(run())
        try:
            yield told
        finally:
            is_over.set()
            await running

    def billed(self, since: int = 0) -> int:
        """What the provider billed for calls from the `since`-th on, in nano-USD."""
        return sum(PRICE.cost(call.billed) for call in self.provider.journal.calls[since:])

    @property
    def calls(self) -> int:
        return len(self.provider.journal.calls)

    async def in_store(self, what: Callable[[Database], T]) -> T:
        def work() -> T:
            database = Store.of(self.place, SystemClock()).open()
            try:
                return what(database)
            finally:
                database.close()

        return await asyncio.to_thread(work)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await self.in_store(lambda database: database.rows(sql))

    async def verified(self, *, quiet: bool = False) -> None:
        """Wait until every attempt that the provider knows is booked; each at what it was billed,
        or, where nobody could know that, at no less. Nothing in the store's books is wrong."""
        await self.provider.journal.settled()
        billed = {call.attempt_id: PRICE.cost(call.billed) for call in self.provider.journal.calls}
        assert len(billed) == len(self.provider.journal.calls)
        booked: dict[str, tuple[int, bool]] = {}
        async with asyncio.timeout(PATIENCE_S):
            while not billed.keys() <= booked.keys():
                await asyncio.sleep(0.1)
                booked = {
                    name: (int(amount), bool(is_exact))
                    for name, amount, is_exact in await self.rows(_BOOKED)
                }
        for name, (amount, is_exact) in booked.items():
            cost = billed.get(name, 0)
            assert amount == cost if is_exact else amount >= cost, (name, amount, cost)
        found = await self.in_store(lambda database: check(database, quiet=quiet))
        # What was leased of rates beside a Valkey that was away leaves its window by itself.
        found = [each for each in found if each.invariant != "I8" or "-rates:" not in each.what]
        assert found == [], found[:3]


_BOOKED = (
    "SELECT p.attempt_id, p.amount, p.exact FROM posting p JOIN budget_account a"
    " ON a.id = p.account WHERE a.budget = 'house'"
)


def statuses(told: Sequence[Told]) -> Counter[int]:
    return Counter(one.status for one in told)


@asynccontextmanager
async def fleet_of(folder: Path, place: str, redis_url: str | None) -> AsyncIterator[Fleet]:
    """Start all replicas; at the end stop them in order, and check that nothing is left over."""
    environment = {
        **os.environ,
        "DATABASE_URL": place,
        "ADMIN_TOKEN": TOKEN,
        "REDIS_URL": redis_url or "",
        "POINTSMAN_LINGER_S": "0",
    }
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FaultProvider())
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=30)
        client = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=timeout)
        )
        replicas = []
        for number in range(REPLICAS):
            home = folder / f"replica{number}"
            home.mkdir()
            port = free_port()
            redis = REDIS if redis_url else ""
            config = CONFIG.format(url=provider.base_url, slots=SLOTS, redis=redis, port=port)
            (home / "pointsman.yaml").write_text(config)
            # One of them with two workers: what holds over machines holds over both kinds.
            replicas.append(Replica(home, 2 if number == 0 else 1, environment, client, port))
        fleet = Fleet(replicas, provider, place)
        try:
            await asyncio.gather(*(each.start() for each in replicas))
            yield fleet
            await asyncio.gather(*(each.stop() for each in replicas))
            await fleet.verified(quiet=True)
        finally:
            for each in replicas:
                if each.process is not None and each.process.returncode is None:
                    await each.kill()
