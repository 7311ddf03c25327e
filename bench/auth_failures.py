"""What failures to show a good key cost everybody else: `python -m bench.auth_failures [SECONDS]`.

Two measurements, as JSON. *fire*: one real worker; a good client asks for the list of models 100
times a second, at first alone, then beside clients who show 500 bad keys a second; its p99 may at
most double, and the bad ones are told 429 after ten. *timing*: over one connection, how
long a wrong secret takes with a known id and with an unknown one, in turns; a t-test over
2,000 pairs of answers may not tell them apart (|t| < 2.58, p > 0.01).
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pointsman.access import tokens
from pointsman.access.directory import Directory
from pointsman.access.failures import Failures
from pointsman.access.house import House
from pointsman.access.keys import make_key
from pointsman.access.pepper import settled_pepper
from pointsman.access.principal import OPERATOR
from pointsman.access.records import NewKey
from pointsman.access.tokens import mint
from pointsman.clock import SystemClock
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.server.app import App
from pointsman.server.http import HttpServer
from pointsman.store.open import Store

GOOD_PER_S = 100
BAD_PER_S = 500
BAD_CLIENTS = 10
ROUNDS = 3
SAMPLES = 2000
CONFIG = """
server: {{port: {port}, keys: [{{key: "env:BENCH_KEY", name: good}}]}}
ledger: {{path: {ledger}}}
deployments: [{{model: ollama/m, context_tokens: 1000}}]
"""
Told = tuple[int, float]
"""A status, and seconds after the question was due."""

KEY = "sk-bench-0123456789abcdef"


class Asker:
    """One connection, kept open."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Asker:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    async def status(self, key: str) -> int:
        """Ask for the list of models; return the status."""
        head = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n"
        self._writer.write(head.encode())
        told = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(told.partition("content-length: ")[2].partition("\r\n")[0])
        await self._reader.readexactly(length)
        return int(told.split()[1])


async def paced(port: int, keys: Iterable[str], per_s: float, seconds: float) -> list[Told]:
    """Ask in an open loop: late answers do not delay the next question's due time."""
    told: list[Told] = []
    async with Asker(port) as asker:
        began = time.perf_counter()
        for at, key in enumerate(keys):
            due = began + at / per_s
            if due - began > seconds:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            told.append((await asker.status(key), time.perf_counter() - due))
    return told


def bad_keys() -> Iterable[str]:
    while True:
        yield mint().text


def good_keys() -> Iterable[str]:
    while True:
        yield KEY


def p99_ms(told: list[Told]) -> float:
    return round(statistics.quantiles((late for _, late in told), n=100)[98] * 1000, 2)


async def fire(seconds: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        path = Path(folder) / "p.yaml"
        path.write_text(CONFIG.format(port=port, ledger=Path(folder) / "l.db"))
        server = subprocess.Popen(
            [sys.executable, "-m", "pointsman", "serve", "-c", str(path), "--log-level", "ERROR"],
            env={**os.environ, "BENCH_KEY": KEY, "POINTSMAN_LINGER_S": "0"},
            stderr=subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(30):
                while True:
                    try:
                        await paced(port, good_keys(), GOOD_PER_S, 0.5)
                        break
                    except OSError:
                        await asyncio.sleep(0.1)
            alone: list[float] = []
            beside: list[float] = []
            good: Counter[int] = Counter()
            bad: Counter[str] = Counter()
            for _ in range(ROUNDS):
                told = await paced(port, good_keys(), GOOD_PER_S, seconds)
                alone.append(p99_ms(told))
                failing = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "bench.auth_failures", "--bad", str(port)),
                    str(seconds + 1),
                    stdout=subprocess.PIPE,
                )
                await asyncio.sleep(1.0)  # so that it has begun
                told = await paced(port, good_keys(), GOOD_PER_S, seconds)
                beside.append(p99_ms(told))
                good.update(status for status, _ in told)
                bad.update(json.loads((await failing.communicate())[0]))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
    return {
        "good_p99_ms_alone": alone,
        "good_p99_ms_beside": beside,
        "ratio_of_medians": round(statistics.median(beside) / statistics.median(alone), 2),
        "good_statuses": good,
        "bad_statuses": bad,
    }


async def failing(port: int, seconds: float) -> None:
    """Show bad keys, in a process of its own, and print how often which status was told."""
    each = BAD_PER_S / BAD_CLIENTS
    tasks = [paced(port, bad_keys(), each, seconds) for _ in range(BAD_CLIENTS)]
    print(json.dumps(Counter(s for told in await asyncio.gather(*tasks) for s, _ in told)))


async def timing() -> dict[str, object]:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.of(Path(folder) / "l.db", clock)
        # As many known ids as unknown ones, shown as often: what is asked is the id, not its age.
        known = [text[:11] for text in made(store)]
        unknown = [mint().text[:11] for _ in known]
        directory = Directory(store, clock)
        config = {"deployments": [{"model": "ollama/m", "context_tokens": 1000}]}
        gateway = Gateway.from_config(config, ledger=MemoryLedger())
        app = App(gateway, directory)
        app.failures = Failures(clock, per_minute=1e12, all_per_minute=1e12)
        gateway.follow(app._follow)
        await directory.look()
        server = HttpServer(app, gateway.settings.server)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await server.start([listener])
            async with Asker(listener.getsockname()[1]) as asker:
                found = await in_turns(asker, known, unknown)
            await server.close()
        await directory.close()
        await gateway.close()
    t = paired_t(*found)
    means = [round(statistics.fmean(each) * 1e6, 2) for each in found]
    return {
        "known_mean_us": means[0],
        "unknown_mean_us": means[1],
        "t": round(t, 2),
        "told_apart": abs(t) > 2.58,
    }


def made(store: Store) -> list[str]:
    database = store.open()
    pepper = settled_pepper(database, None)
    house = House({}, ())
    texts = [
        make_key(database, OPERATOR, NewKey(name=f"k{n}"), house, pepper)[1] for n in range(100)
    ]
    database.close()
    return texts


async def in_turns(asker: Asker, *prefixes: list[str]) -> list[list[float]]:
    """The seconds that each kind of wrong keys takes to be refused, asked in turns."""
    found: list[list[float]] = [[] for _ in prefixes]
    for n in range(SAMPLES):
        for kind in range(len(prefixes)) if n % 2 else reversed(range(len(prefixes))):
            key = wrong(prefixes[kind][n % len(prefixes[kind])])
            began = time.perf_counter()
            assert await asker.status(key) == 401
            found[kind].append(time.perf_counter() - began)
    return found


def wrong(prefix: str) -> str:
    """A well-formed key with this public id that is not the right one."""
    body = prefix + mint().text[len(prefix) : -6]
    text = body + tokens._check(body.encode())
    assert tokens.public_id(text.encode()) == prefix[3:]
    return text


def paired_t(one: list[float], two: list[float]) -> float:
    """The t of the differences within each turn, without the outer twentieths: those are
    interruptions, and a busy machine slows neighbours down alike."""
    every = sorted(a - b for a, b in zip(one, two, strict=True))
    cut = len(every) // 20
    kept = every[cut:-cut]
    return statistics.fmean(kept) / math.sqrt(statistics.variance(kept) / len(kept))


async def main() -> None:
    if sys.argv[1:2] == ["--bad"]:
        await failing(int(sys.argv[2]), float(sys.argv[3]))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    found = {"fire": await fire(seconds), "timing": await timing()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
