"""What money costs: `python -m bench.money [--rounds N] [--seconds S] [--no-postgresql]`.

Each pair is the same gateway over the same store, twice: *without* a key, a budget and a
write-ahead log, and *with* a key, strict budgets over four scopes and the log synced to the disk.
One core for the gateway, another for load, mock and PostgreSQL, which syncs as in production.
Rounds are interleaved, so that a busy minute of the machine falls on both; a ratio is of one round,
and the median of the rounds is told. The goals: 0.8 of the requests a second of the gateway's CPU
(on the wall's clock neighbours weigh more than we do), and at 200 requests a second (open loop) a
p99 at most 5 ms higher. Exit status 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.canned import request_body
from bench.load import Job, Result
from bench.targets import (
    BUDGETS,
    BenchError,
    Load,
    Mock,
    Plan,
    Running,
    cores,
    end,
    pinned,
    start,
)
from pointsman.testing.servers import PostgresServer

SERVERS: Final = Path(__file__).parent.parent / ".venvs" / "servers"
LEAST_SHARE: Final = 0.8
MOST_ADDED_MS: Final = 5.0
RATE: Final = 200.0
AT_ONCE: Final = 64
DEPLOYMENTS: Final = 10


@dataclass(slots=True)
class Seen:
    """One gateway's rounds."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


def plan(folder: Path, name: str, url: str, key: str, store: str | None, *, money: bool) -> Plan:
    """A gateway with ten deployments; `store` is a PostgreSQL's URL, None for a SQLite file."""
    ledger: dict[str, Any] = {"log": money, "log_dir": f"{name}-logs"}
    ledger |= {"path": f"{name}.db"} if store is None else {"url": "env:BENCH_STORE"}
    price = {"input_usd": 1, "output_usd": 2}
    config: dict[str, Any] = {
        "ledger": ledger,
        "providers": {"mock": {"dialect": "openai", "url": url, "key": "none"}},
        "deployments": [
            {
                "name": f"m{number}",
                "provider": "mock",
                "model": f"m{number}",
                "tier": "workhorse",
                "price": price,
            }
            for number in range(DEPLOYMENTS)
        ],
        "routes": [{"name": "auto", "strategy": "tiers"}],
    }
    if money:
        config["server"] = {"keys": [{"key": "env:BENCH_KEY", "app": "bench", "team": "bench"}]}
        config["budgets"] = list(BUDGETS)
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    words = ["-m", "pointsman", "serve", "--config", str(path), "--log-level", "ERROR", "--port"]
    return Plan(
        lambda port: [sys.executable, *words, str(port)],
        env={"BENCH_KEY": key, "BENCH_STORE": store or ""},
        model="auto",
    )


def run(arguments: argparse.Namespace) -> dict[str, Seen]:
    gateway_core, load_core = cores()
    key = secrets.token_hex(16)
    seen: dict[str, Seen] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-money-")))
        mock = Mock(load_core)
        stack.callback(mock.end)
        load = Load(load_core)
        stack.callback(load.end)
        stores: dict[str, tuple[str | None, str | None]] = {"sqlite": (None, None)}
        if arguments.postgresql:
            with pinned(load_core):
                server = stack.enter_context(PostgresServer(SERVERS, durable=True))
            # Each has a database of its own: what one writes is not in the other's way.
            stores["postgresql"] = (server.url_of("postgres"), server.url_of("template1"))
        targets: list[Running] = []
        for store, urls in stores.items():
            for money in (False, True):
                name = f"{store} {'with' if money else 'without'}"
                url = f"http://127.0.0.1:{mock.port}/v1"
                made = plan(folder, name.replace(" ", "-"), url, key, urls[money], money=money)
                running = start(name, made, key, gateway_core, folder)
                if running.process is not None:
                    stack.callback(end, running.process)
                targets.append(running)
                seen[name] = Seen()
        for number in range(arguments.rounds):
            # In turns, or the second of a pair would always come after a warmer one.
            for target in targets if number % 2 == 0 else reversed(targets):
                measure(load, target, seen[target.name], arguments.seconds)
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    return seen


def measure(load: Load, target: Running, seen: Seen, seconds: float) -> None:
    body = request_body(target.model, stream=False).decode()

    def asked(kind: str) -> Result:
        job = Job(kind, target.port, target.pid, target.key, body, seconds, AT_ONCE, RATE)  # type: ignore[arg-type]
        result = load.run(job)
        if result.errors:
            raise BenchError(f"{target.name}: {result.errors} errors: {result.example[:300]}")
        return result

    closed = asked("unary")
    seen.per_s.append(closed.done / closed.wall_s)
    seen.per_cpu_s.append(closed.done / closed.cpu_s)
    times = sorted(asked("open").times_ms)
    seen.p50_ms.append(times[len(times) // 2])
    seen.p99_ms.append(times[int(len(times) * 0.99)])


def compared(without: Seen, with_money: Seen) -> dict[str, float]:
    def of_rounds(name: str, how: Callable[[float, float], float]) -> float:
        pairs = zip(getattr(with_money, name), getattr(without, name), strict=True)
        return round(statistics.median([how(a, b) for a, b in pairs]), 3)

    return {
        "share_of_requests_per_s": of_rounds("per_s", lambda a, b: a / b),
        "share_per_cpu_s": of_rounds("per_cpu_s", lambda a, b: a / b),
        "added_p50_ms": of_rounds("p50_ms", lambda a, b: a - b),
        "added_p99_ms": of_rounds("p99_ms", lambda a, b: a - b),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.money", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--no-postgresql", dest="postgresql", action="store_false")
    arguments = parser.parse_args()
    try:
        seen = run(arguments)
    except BenchError as error:
        print(f"bench.money: {error}", file=sys.stderr)
        return 1
    found: dict[str, Any] = {}
    is_met = True
    for store in dict.fromkeys(name.split()[0] for name in seen):
        pair = seen[f"{store} without"], seen[f"{store} with"]
        told = compared(*pair)
        for name, one in zip(("without", "with"), pair, strict=True):
            for what in Seen.__dataclass_fields__:
                told[f"{name}_{what}"] = round(statistics.median(getattr(one, what)), 2)
        is_met = is_met and told["share_per_cpu_s"] >= LEAST_SHARE
        is_met = is_met and told["added_p99_ms"] <= MOST_ADDED_MS
        found[store] = told
    print(json.dumps({**found, "is_met": is_met}, indent=1))
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
