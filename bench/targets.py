"""What can be measured, and how each of it is started, pinned and ended."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Job, Result

_READY_S = 60.0
_END_S = 10.0
_ROOT = Path(__file__).parent.parent
_DEPLOYMENTS = 10


class BenchError(Exception):
    """A benchmark that cannot be run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start a target. `command` takes the port; `ready` is asked until it says 200."""

    command: Callable[[int], Sequence[str]]
    ready: str = "/readyz"
    env: Mapping[str, str] = field(default_factory=dict)
    model: str = "m0"
    rate: float = 200.0
    """Most requests a second of the open loop; beyond what a target can do it measures a queue."""


@dataclass(slots=True)
class Running:
    """A started target."""

    name: str
    pid: int
    port: int
    model: str
    key: str
    ready_s: float
    rate: float
    process: subprocess.Popen[bytes] | None = None


def cores() -> tuple[int, int]:
    """Return the core of the gateway and that of load and mock; the same one if there is one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Have the processes that are started inside run on one core, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "src")])
    return {**os.environ, "PYTHONPATH": path, "no_proxy": "127.0.0.1", **extra}


class Mock:
    """The provider that all targets forward to."""

    def __init__(self, core: int) -> None:
        with pinned(core):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.mock"], stdout=subprocess.PIPE, env=_environment({})
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the mock provider did not start; its message is above")
        self.port = int(line)
        self.pid = self._process.pid

    def end(self) -> None:
        end(self._process)


class Load:
    """The load generator, in its own process."""

    def __init__(self, core: int) -> None:
        with pinned(core):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.load"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment({}),
            )

    def run(self, job: Job) -> Result:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        words = {name: getattr(job, name) for name in Job.__dataclass_fields__}
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the load generator ended; its message is above")
        return Result(**json.loads(line))

    def end(self) -> None:
        end(self._process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started: asked first, then made."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def start(name: str, plan: Plan, key: str, core: int, folder: Path) -> Running:
    """Start a target on its core and wait until it is ready."""
    port = free_port()
    log = folder / f"{name}.log"
    with log.open("wb") as output, pinned(core):
        started = time.perf_counter()
        process = subprocess.Popen(
            plan.command(port),
            env=_environment(plan.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    while not _is_ready(port, plan.ready):
        waited = time.perf_counter() - started
        if process.poll() is not None or waited > _READY_S:
            end(process)
            tail = log.read_text(errors="replace")[-2000:]
            raise BenchError(f"{name} was not ready after {waited:.0f} s:\n{tail}")
        time.sleep(0.005)
    ready_s = time.perf_counter() - started
    return Running(name, process.pid, port, plan.model, key, ready_s, plan.rate, process)


def _is_ready(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def plans(mock_port: int, key: str, folder: Path) -> dict[str, Plan]:
    """Return every target by its name, in the order of the report."""
    url = f"http://127.0.0.1:{mock_port}/v1"
    found = {
        "passthrough": _passthrough("bare", url),
        "passthrough-aiohttp": _passthrough("aiohttp", url),
        "passthrough-lean": _passthrough("lean", url),
        "pointsman": _pointsman(url, key, "lean", folder),
        "pointsman-aiohttp": _pointsman(url, key, "aiohttp", folder),
        "pointsman-unlogged": _pointsman(url, key, "lean", folder, "unlogged", log=False),
        "pointsman-budgets": _pointsman(url, key, "lean", folder, "budgets", budgets=BUDGETS),
    }
    litellm = os.environ.get("BENCH_LITELLM_PYTHON")
    if litellm:
        found["litellm"] = _litellm(litellm, url, key, folder)
    return found


def _passthrough(client: str, url: str) -> Plan:
    return Plan(lambda port: [sys.executable, "-m", "bench.passthrough", client, str(port), url])


BUDGETS = tuple(
    {"name": f"{scope} month", "scope": scope, "limit_usd": 1_000_000}
    for scope in ("everyone", "team", "app", "key")
)
"""Strict ones, that are not used up: what they cost is that they are kept."""


def _pointsman(
    url: str,
    key: str,
    transport: str,
    folder: Path,
    name: str = "",
    *,
    log: bool = True,
    budgets: Sequence[Mapping[str, object]] = (),
) -> Plan:
    """Ten deployments on the mock, a key, the ledger on disk: as in production."""
    name = name or transport
    deployments = [
        {
            "name": f"m{number}",
            "provider": "mock",
            "model": f"m{number}",
            "tier": "workhorse",
            "price": {"input_usd": 1, "output_usd": 2},
        }
        for number in range(_DEPLOYMENTS)
    ]
    config = {
        "server": {
            "keys": [{"key": "env:BENCH_KEY", "app": "bench", "team": "bench"}],
            "transport": transport,
        },
        "ledger": {"path": f"{name}.db", "log": log},
        "budgets": list(budgets),
        "providers": {
            "mock": {"dialect": "openai", "url": url, "key": "env:BENCH_UPSTREAM_KEY"},
        },
        "deployments": deployments,
        "routes": [{"name": "auto", "strategy": "tiers"}],
    }
    path = folder / f"pointsman-{name}.yaml"
    path.write_text(json.dumps(config, indent=1))  # JSON is YAML
    arguments = ["--config", str(path), "--log-level", "ERROR", "--port"]
    return Plan(
        lambda port: [sys.executable, "-m", "pointsman", "serve", *arguments, str(port)],
        env={"BENCH_KEY": key, "BENCH_UPSTREAM_KEY": secrets.token_hex(16)},
        model="auto",
    )


def _litellm(python: str, url: str, key: str, folder: Path) -> Plan:
    """LiteLLM's proxy with a master key and the same ten deployments, without a database."""
    config = {
        "model_list": [
            {
                "model_name": "auto",
                "litellm_params": {
                    "model": f"openai/m{number}",
                    "api_base": url,
                    "api_key": "upstream-key",
                },
            }
            for number in range(_DEPLOYMENTS)
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"set_verbose": False},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(config, indent=1))
    run = "from litellm import run_server; run_server()"
    return Plan(
        lambda port: [python, "-c", run, "--config", str(path), "--port", str(port)],
        ready="/health/liveliness",
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        model="auto",
        rate=15.0,
    )
