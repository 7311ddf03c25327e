"""Replicas of a gateway over one store, two fault providers, and whoever looks on.

Replicas are processes of their own on fixed ports; whatever dies is started again by the check.
Everything is on loopback, and what is ended is ended by the pid that was started here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaos.client import Answer, Client
from chaos.world import END_S, ROOT, free_port

from crash.evidence import Keeper
from crash.sampler import Sampler
from pointsman.clock import SystemClock
from pointsman.config.load import load
from pointsman.config.settings import Settings
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing import FaultProvider
from pointsman.testing.journal import JournalEntry
from pointsman.testing.persona import Persona
from pointsman.testing.servers import PostgresServer

SERVERS = ROOT / ".venvs" / "servers"
START_S = 30.0
LEFT_S = 0.25
"""An answer that was whole so shortly before a death may be in no log yet."""
MODELS: Mapping[str, tuple[int, int]] = {"m0": (1_000, 2_000), "m1": (1_500, 3_000)}
"""Prices, in nano-USD a token in and out."""
WHO: Mapping[str, Mapping[str, str]] = {
    "rich": {"app": "web", "team": "large"},
    "other": {"app": "batch", "team": "large"},
    "small": {"app": "batch", "team": "small"},
    "poor": {"app": "web", "team": "small"},
}
PERSONA = Persona(first_token_s=0.015, tokens_per_second=400.0, jitter=0.3)


def key_of(name: str) -> str:
    return f"sk-crash-{name}-0123456789"


@dataclass(slots=True)
class Replica:
    """A gateway at a port; `process` is the one that runs now, or ran last."""

    number: int
    port: int
    client: Client
    log: Path
    process: subprocess.Popen[bytes] | None = None
    is_ready: bool = False
    deaths: int = 0
    under_way: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def in_flight(self) -> int:
        """Requests that may be under way at this moment, those just answered too."""
        now = time.monotonic()
        self.ended = {n: at for n, at in self.ended.items() if now - at < LEFT_S}
        return len(self.under_way) + len(self.ended)

    async def ask(self, path: str, body: object, **more: Any) -> Answer:
        number = id(more)
        while number in self.under_way:
            number += 1
        self.under_way[number] = time.monotonic()
        try:
            return await self.client.ask(path, body, **more)
        finally:
            self.ended[number] = time.monotonic()
            del self.under_way[number]

    async def died(self, within_s: float) -> bool:
        """Wait until its process has ended."""
        until = time.monotonic() + within_s
        while self.is_alive:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.005)
        return True

    async def wait_ready(self) -> None:
        async with asyncio.timeout(START_S):
            while not (await self.client.ask("/readyz", timeout_s=1)).ok:
                if not self.is_alive:
                    return
                await asyncio.sleep(0.03)
        self.is_ready = True

    async def end(self) -> int:
        """Ask it to end in order; its exit code."""
        self.is_ready = False
        process = self.process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(process.wait, END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)


class House:
    """is_postgres: the ledger is in a server of its own, else in a file. settings: further blocks
    of the configuration. who: keys by name; prices: models by name, in nano-USD a token."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        replicas: int = 3,
        is_postgres: bool = True,
        budgets: Sequence[Mapping[str, object]] = (),
        settings: Mapping[str, Any] | None = None,
        persona: Persona = PERSONA,
        env: Mapping[str, str] | None = None,
        who: Mapping[str, Mapping[str, str]] = WHO,
        prices: Mapping[str, tuple[int, int]] = MODELS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.who = who
        self.prices = prices
        self.seed = seed
        self.root = folder / "logs"
        self.kept = folder / "kept"
        for old in (self.root, self.kept):  # of an earlier run that was kept
            shutil.rmtree(old, ignore_errors=True)
        self.keeper = Keeper(self.root, self.kept)
        self.mark = folder / "points"
        for path in (self.mark, *folder.glob("ledger.db*")):
            path.unlink(missing_ok=True)
        self.postgres: PostgresServer | None = None
        self.place: Path | str = folder / "ledger.db"
        self.providers: list[FaultProvider] = []
        self.replicas = [self._replica(n) for n in range(replicas)]
        self.recoveries: list[float] = []
        """How long each dead worker's log waited, in seconds."""
        self.lost_recoveries: list[float] = []
        """When replicas died while they recovered another's log; its recovery begins anew."""
        self.in_flight = 0
        self._is_postgres = is_postgres
        self._budgets = budgets
        self._more = dict(settings or {})
        self._persona = persona
        self._env = dict(env or {})
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._config = folder / "crash.yaml"
        self.sampler: Sampler | None = None

    def _replica(self, number: int) -> Replica:
        port = free_port()
        return Replica(number, port, Client(port), self.folder / f"replica-{number}.log")

    # Its life.

    async def __aenter__(self) -> Self:
        if self._is_postgres:
            server = PostgresServer(SERVERS)
            self.postgres = await asyncio.to_thread(server.__enter__)
            self._stack.callback(server.close)
            self.place = self.postgres.url
        for n in range(len(self.prices)):
            provider = FaultProvider(seed=self.seed + n, persona=self._persona)
            self.providers.append(await self._stack.enter_async_context(provider))
        self._config.write_text(json.dumps(self._configuration()))  # JSON is YAML.
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.sampler is not None:
            await asyncio.to_thread(self.sampler.close)
        for replica in self.replicas:
            replica.client.close()
        await asyncio.gather(*(replica.end() for replica in self.replicas))
        await self._stack.aclose()

    def watch(self) -> None:
        """Begin to keep logs aside, and to sample the store."""
        self._begin(self._keep())
        self.sampler = Sampler(self.open)

    def _begin(self, what: Any) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self) -> None:
        while True:
            self.keeper.look()
            await asyncio.sleep(0.03)

    def _configuration(self) -> dict[str, Any]:
        ledger = {"url": "env:CRASH_LEDGER"} if self._is_postgres else {"path": "ledger.db"}
        more = dict(self._more)
        return {
            "server": {
                "keys": [
                    {"key": f"env:CRASH_{name.upper()}", "name": name, **who}
                    for name, who in self.who.items()
                ],
                "drain_s": 10,
                **more.pop("server", {}),
            },
            "ledger": {"flush_s": 0.05, "log_dir": "logs", **ledger, **more.pop("ledger", {})},
            "providers": {
                f"p{n}": {"url": each.base_url, "dialect": "openai", "key": "env:PROVIDER_KEY"}
                for n, each in enumerate(self.providers)
            },
            "deployments": [
                {
                    "name": f"d{n}",
                    "provider": f"p{n}",
                    "model": model,
                    "tier": "workhorse",
                    "price": {"input_usd": price[0] / 1e3, "output_usd": price[1] / 1e3},
                    "capabilities": ["chat"],
                }
                for n, (model, price) in enumerate(self.prices.items())
            ],
            "budgets": list(self._budgets),
            **more,
        }

    def environment(self) -> dict[str, str]:
        return {
            **{f"CRASH_{name.upper()}": key_of(name) for name in self.who},
            "CRASH_LEDGER": str(self.place),
            "PROVIDER_KEY": "sk-p-0123456789",
            "POINTSMAN_LINGER_S": "0",
            **self._env,
        }

    # Replicas.

    async def start(
        self, replica: Replica, point: str = "", nth: int = 1, *, repeats: bool = True
    ) -> None:
        """Start a replica that will die at a point, or at none, and wait until it is ready."""
        dying = {"CRASH_POINT": point, "CRASH_NTH": str(nth), "CRASH_MARK": str(self.mark)}
        if repeats:
            dying["CRASH_REPEAT"] = "1"
        with replica.log.open("ab") as output:
            replica.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "crash.child", "serve", "-c", str(self._config)),
                    *("--port", str(replica.port), "--log-level", "WARNING"),
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    **self.environment(),
                    **dying,
                },
            )
        await replica.wait_ready()

    async def start_all(self) -> None:
        await self.start(self.replicas[0])  # makes the tables
        await asyncio.gather(*(self.start(replica) for replica in self.replicas[1:]))

    def mourn(self, replica: Replica, point: str = "") -> None:
        """Take down that it has died just now, and watch for its log's recovery."""
        if point == "K7":
            self.lost_recoveries.append(time.monotonic())
        replica.is_ready = False
        replica.deaths += 1
        self.in_flight += replica.in_flight()
        self.keeper.look()
        self._begin(self._recovered(replica.pid, time.monotonic()))

    async def _recovered(self, pid: int, died: float) -> None:
        """Take down how long its log waits: from its death, or from when there was a process again
        that could recover it, be it still starting."""
        while self.root.exists() and list(self.root.glob(f"*-{pid}-*")):
            is_lonely = not any(replica.is_alive for replica in self.replicas)
            if is_lonely or self._died_recovering(died):
                died = time.monotonic()
            await asyncio.sleep(0.02)
        self.recoveries.append(time.monotonic() - died)

    def _died_recovering(self, since: float) -> bool:
        """Whether a replica that was to recover something has died at that (K7)."""
        return any(at > since for at in self.lost_recoveries)

    @property
    def ready(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.is_ready]

    def crashes(self) -> list[str]:
        """Lines of the logs that tell of an exception nobody expected."""
        words = ("Traceback", ".crashed", "never retrieved", "Unhandled", "refused request_id")
        return [
            line
            for replica in self.replicas
            for line in replica.log.read_text(errors="replace").splitlines()
            if any(word in line for word in words)
        ]

    # Books.

    def open(self) -> Database:
        return Store.of(self.place, SystemClock()).open()

    def settings(self) -> Settings:
        return load(self._config, self.environment())

    def journal(self) -> list[JournalEntry]:
        return [entry for provider in self.providers for entry in provider.journal.entries]

    def points(self) -> list[str]:
        """Where replicas have killed themselves."""
        return self.mark.read_text().split() if self.mark.exists() else []

    async def shown(self) -> float:
        """What a replica's metrics say of the budget of all, in USD."""
        replica = self.replicas[0]
        await self.start(replica)
        async with asyncio.timeout(20):
            while True:
                text = (await replica.client.ask("/metrics")).body.decode()
                found = re.search(r'^pointsman_budget_spent_usd\{budget="all"\} (\S+)$', text, re.M)
                if found is not None:
                    break
                await asyncio.sleep(0.1)
        await replica.end()
        return float(found[1])

    async def quiet(self) -> None:
        """End all replicas in order; what dead ones have left is recovered by one that is new."""
        for provider in self.providers:
            await provider.journal.settled(within_s=20)
        await asyncio.gather(*(replica.end() for replica in self.replicas))
        last = self.replicas[0]
        await self.start(last)
        async with asyncio.timeout(20):
            while len(list(self.root.iterdir())) > 1:
                await asyncio.sleep(0.05)
        self.keeper.look()
        if await last.end() != 0:
            raise RuntimeError(f"{last.log.read_text(errors='replace')[-2000:]}")
