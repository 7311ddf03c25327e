"""What a server process runs: one worker, and `serve`, which starts as many as are wanted.

One worker runs in this process. Several are started anew and share one listening socket; each
loads the same file, which the parent has already checked.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import uvloop

from pointsman.config.discover import discover, probe_http
from pointsman.config.load import load
from pointsman.config.settings import Settings
from pointsman.errors import ConfigError
from pointsman.gateway import METRICS_DIRECTORY_VARIABLE, Gateway
from pointsman.observe.logs import setup_logs
from pointsman.server.app import App
from pointsman.server.http import HttpServer

BACKLOG = 2048
"""Connections that may wait in the kernel to be accepted."""

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


def run_worker(settings: Settings, listeners: Sequence[socket.socket]) -> None:
    """Serve in this process until SIGTERM or SIGINT; the listeners stay the caller's."""
    use_all_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, listeners))


async def _work(settings: Settings, listeners: Sequence[socket.socket]) -> None:
    app = build_app(settings)
    gateway = app.gateway
    server = HttpServer(app, settings.server, counting=gateway.metrics)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await gateway.start()
    try:
        await server.start(listeners)
        await told.wait()
        server.drain()
        server.stop_accepting()
        await server.finish(settings.server.drain_s)
    finally:
        await server.close()
        await gateway.close()


def use_all_descriptors() -> None:
    """Raise the soft limit of file descriptors to the hard one: each connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _worker(
    config: str | None, ledger: str | None, log_level: str, listeners: Sequence[socket.socket]
) -> None:
    """One of several workers: a new process that reads the configuration for itself."""
    setup_logs(log_level)
    settings, _ = read_settings(config, ledger)
    run_worker(settings, listeners)


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
    with listen(host, port) as listener:
        if workers == 1:
            setup_logs(log_level)
            run_worker(settings, [listener])
            return
        with tempfile.TemporaryDirectory(prefix="pointsman-metrics-") as directory:
            os.environ[METRICS_DIRECTORY_VARIABLE] = directory
            _share(workers, (config, ledger, log_level, [listener]))


def _share(workers: int, what: tuple[object, ...]) -> None:
    """Run several workers on one listening socket until SIGTERM or SIGINT."""
    spawning = multiprocessing.get_context("spawn")
    children = [spawning.Process(target=_worker, args=what) for _ in range(workers)]

    def stop(number: int, frame: object) -> None:
        for child in children:
            child.terminate()

    for each in children:
        each.start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for each in children:
        each.join()
