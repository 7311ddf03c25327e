"""The world of one check: fault providers in this process, gateways as real processes.

Gateways run on the first core, this process (load and providers) on the last, so that a slow
generator does not pass for a slow gateway. Everything is on loopback, and what was started is
ended by its pid when the check ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.procfs import family, resident_mb

from chaos.client import Client, chat
from chaos.raw import RawProvider
from pointsman.testing import FaultProvider

KEY = "sk-chaos-0123456789abcdef"
ROOT = Path(__file__).resolve().parent.parent
READY_S = 20.0
END_S = 20.0


ALLOWED = frozenset(os.sched_getaffinity(0))
"""Before anything is pinned."""


def cores() -> tuple[int, int]:
    """The gateway's core, and that of load and providers."""
    return min(ALLOWED), max(ALLOWED)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass(slots=True)
class Gateway:
    """A `pointsman serve` that was started here."""

    port: int
    process: subprocess.Popen[bytes]
    config: Path
    log: Path
    ledger: Path
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.port, KEY)

    @property
    def pid(self) -> int:
        return self.process.pid

    def rss_mb(self) -> float:
        """Resident memory of it and its workers, in MiB."""
        return resident_mb(self.pid)

    def workers(self) -> list[int]:
        """The pids of its workers, where there are several."""
        return [pid for pid in family(self.pid) if pid != self.pid]

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def crashes(self) -> list[str]:
        """Lines of the log that tell of an exception nobody expected."""
        words = ("Traceback", ".crashed", "never retrieved", "Unhandled")
        return [line for line in self.logged().splitlines() if any(w in line for w in words)]

    def entries(self) -> list[dict[str, Any]]:
        """All ledger entries; the gateway writes them within its flush time."""
        return self._rows("select * from entry order by seq")

    def attempts(self) -> list[dict[str, Any]]:
        """All attempts, each with its entry's route."""
        return self._rows(
            "select attempt.*, entry.route from attempt join entry on entry.seq = attempt.entry"
        )

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query)]

    async def settled(self, count: int, within_s: float = 10.0) -> list[dict[str, Any]]:
        """Wait until the ledger has `count` entries, or time is over; return them all."""
        for _ in range(int(within_s / 0.1)):
            if len(entries := self.entries()) >= count:
                break
            await asyncio.sleep(0.1)
        return entries

    async def metrics(self) -> dict[str, float]:
        """The series of /metrics by name and labels, as written there."""
        text = (await self.client.ask("/metrics")).body.decode()
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in rows if name}

    async def quiet(self, within_s: float = 5.0) -> bool:
        """Wait until no attempt is under way; tell whether that came to be."""
        for _ in range(int(within_s / 0.05)):
            if not summed(await self.metrics(), "pointsman_in_flight"):
                return True
            await asyncio.sleep(0.05)
        return False

    async def ready(self, within_s: float = READY_S) -> None:
        async with asyncio.timeout(within_s):
            while not (await self.client.ask("/readyz", timeout_s=2)).ok:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the gateway ended:\n{self.logged()[-2000:]}")
                await asyncio.sleep(0.02)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return await asyncio.to_thread(self.process.wait, END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return await asyncio.to_thread(self.process.wait)


def summed(metrics: Mapping[str, float], name: str) -> float:
    """The sum over all labels of a metric."""
    return sum(v for k, v in metrics.items() if k == name or k.startswith(name + "{"))


class World:
    """`rng` makes every random choice of a check; `folder` is its own."""

    def __init__(self, folder: Path, seed: int, scale: float = 1.0) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.seed = seed
        self.scale = scale
        """How long, against the full form: 0.2 is a fifth of the seconds."""
        self._stack = AsyncExitStack()
        self._gateways: list[Gateway] = []

    async def __aenter__(self) -> Self:
        os.sched_setaffinity(0, {cores()[1]})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for gateway in self._gateways:
            await gateway.end(signal.SIGINT)
        await self._stack.aclose()
        os.sched_setaffinity(0, ALLOWED)

    async def provider(self, **settings: Any) -> FaultProvider:
        """Start a provider in this process."""
        return await self._stack.enter_async_context(FaultProvider(**settings))

    async def raw(self, **settings: Any) -> RawProvider:
        """Start a provider of canned bytes in this process."""
        return await self._stack.enter_async_context(RawProvider(**settings))

    async def gateway(
        self,
        config: Mapping[str, Any],
        *,
        workers: int = 1,
        core: int | None = None,
        port: int | None = None,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Gateway:
        """Start `pointsman serve` with this configuration, and wait until it is ready."""
        number = len(self._gateways)
        path = self.folder / f"gateway-{number}.yaml"
        ledger = self.folder / f"ledger-{number}.db"
        content = {
            "server": {"keys": [{"key": "env:CHAOS_KEY", "app": "chaos"}]},
            "ledger": {"path": str(ledger)},
            **config,
        }
        path.write_text(json.dumps(content))  # JSON is YAML.
        for old in self.folder.glob(f"{ledger.name}*"):
            old.unlink()  # of an earlier run that was kept
        log = self.folder / f"gateway-{number}.log"
        port = port or free_port()
        affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(
            0, {cores()[0] if core is None else core} if workers == 1 else set(cores())
        )
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "pointsman", "serve", "-c", str(path)),
                        *("--port", str(port), "--workers", str(workers)),
                        *("--log-level", "WARNING", *arguments),
                    ],
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "CHAOS_KEY": KEY, "PROVIDER_KEY": "sk-p", **(env or {})},
                )
        finally:
            os.sched_setaffinity(0, affinity)
        gateway = Gateway(port, process, path, log, ledger)
        self._gateways.append(gateway)
        await gateway.ready()
        return gateway

    async def warm(self, gateway: Gateway, requests: int = 50) -> None:
        for _ in range(requests):
            await gateway.client.ask("/v1/chat/completions", chat())


def deployments(
    providers: Sequence[FaultProvider | RawProvider], **fields: object
) -> dict[str, Any]:
    """The blocks for as many deployments of one model, each at a provider of its own."""
    return {
        "providers": {
            f"p{n}": {"url": each.base_url, "dialect": "openai", "key": "env:PROVIDER_KEY"}
            for n, each in enumerate(providers)
        },
        "deployments": [
            {
                "name": f"d{n}",
                "provider": f"p{n}",
                "model": "m",
                "tier": "workhorse",
                "price": {"input_usd": 1, "output_usd": 2},
                "capabilities": ["chat", "tools", "json"],
                **fields,
            }
            for n in range(len(providers))
        ],
    }
