"""What a server process runs: the factory that uvicorn calls in each worker, and `serve` itself.

One worker runs in this process. Several are started anew, so the configuration travels to them by
the environment: each loads the same file, which the parent has already checked.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from pointsman.config.discover import discover, probe_http
from pointsman.config.load import load
from pointsman.config.settings import Settings
from pointsman.errors import ConfigError
from pointsman.gateway import METRICS_DIRECTORY_VARIABLE, Gateway
from pointsman.observe.logs import setup_logs
from pointsman.server.app import App

CONFIG_VARIABLE = "POINTSMAN_CONFIG"
LEDGER_VARIABLE = "POINTSMAN_LEDGER"
LOG_VARIABLE = "POINTSMAN_LOG"

KEEP_ALIVE_S = 75
DRAIN_S = 120
"""Seconds that streams get to end after SIGTERM (docs/architecture.md, defaults)."""


async def read_settings_async(config: str | None, ledger: str | None) -> tuple[Settings, list[str]]:
    """Load the file, or discover where there is none: (settings, lines that tell what was found).

    Raises ConfigError.
    """
    if config:
        settings, found = load(Path(config), os.environ), [f"configuration {config}"]
    else:
        settings, found = await discover(os.environ, probe_http)
    if ledger:
        settings = replace(settings, ledger=replace(settings.ledger, path=Path(ledger)))
    return settings, found


def read_settings(config: str | None, ledger: str | None) -> tuple[Settings, list[str]]:
    """As `read_settings_async`, from outside and inside of a running loop (a worker's start)."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(read_settings_async(config, ledger))).result()


def build_app(settings: Settings) -> App:
    app = App(Gateway(settings))
    # What is built now lives as long as the process: keep the collector from walking it, and
    # let it run rarely; requests make few cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    return app


def create_app() -> App:
    """Build the application in one of several workers."""
    setup_logs(os.environ.get(LOG_VARIABLE, "INFO"))
    settings, _ = read_settings(os.environ.get(CONFIG_VARIABLE), os.environ.get(LEDGER_VARIABLE))
    return build_app(settings)


def check_address(host: str, port: int) -> None:
    """Raise ConfigError where nobody can listen there, before anyone is told that we do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what listens there, or choose "
            "another address with --host and --port (server.host, server.port)"
        ) from error


def serve(
    host: str,
    port: int,
    workers: int,
    *,
    settings: Settings,
    config: str | None,
    ledger: str | None,
    log_level: str,
) -> None:
    """Serve until SIGTERM or SIGINT; streams under way get `DRAIN_S` seconds to end."""
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": DRAIN_S,
        "backlog": 2048,
    }
    if workers == 1:
        # uvicorn raises the signal that stopped it once more when all is done; an orderly end
        # is no death by signal.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        setup_logs(log_level)
        uvicorn.run(build_app(settings), **options)
        return
    os.environ[LOG_VARIABLE] = log_level
    for variable, value in ((CONFIG_VARIABLE, config), (LEDGER_VARIABLE, ledger)):
        if value:
            os.environ[variable] = value
    with tempfile.TemporaryDirectory(prefix="pointsman-metrics-") as directory:
        os.environ[METRICS_DIRECTORY_VARIABLE] = directory
        uvicorn.run("pointsman.server.entry:create_app", factory=True, workers=workers, **options)
