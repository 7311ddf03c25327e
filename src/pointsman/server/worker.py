"""One worker: a gateway behind an HTTP server, from its start to its last answer.

It runs in the process of `pointsman serve`, or, one of several, in a process of its own, which a
supervisor starts with two pipes: one on which the worker says that it is ready, and one on which
it is told to retire, and whose end means that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

import uvloop

from pointsman.config.discover import probe_http
from pointsman.config.settings import Settings
from pointsman.config.source import Source
from pointsman.errors import ConfigError, PointsmanError
from pointsman.gateway import Gateway
from pointsman.generation import Generation
from pointsman.observe.logs import setup_logs
from pointsman.server.app import App
from pointsman.server.ending import Ending, linger_s
from pointsman.server.http import HttpServer
from pointsman.server.reload import Reloader
from pointsman.server.stored_keys import StoredKeys

BAD_CONFIG = 78
"""Exit status for a configuration that cannot be used (EX_CONFIG of sysexits.h)."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE_BYTES = 256 * 1024
"""Blocks of this size, such as large bodies, come from the system and go back to it."""
KEPT_BYTES = 4 * 1024 * 1024
"""Free memory at the end of the heap that is kept for what comes next."""

READY = b"ready\n"
RETIRE = b"r"

_log = logging.getLogger("pointsman")


class Supervision:
    """A worker's ends of the two pipes to its supervisor."""

    def __init__(self, orders: int, news: int) -> None:
        self._orders = orders
        self._news = news

    def obey(self, ending: Ending) -> None:
        asyncio.get_running_loop().add_reader(self._orders, self._read, ending)

    def _read(self, ending: Ending) -> None:
        if os.read(self._orders, 64):
            ending.ask("retire")
            return
        asyncio.get_running_loop().remove_reader(self._orders)
        _log.warning("worker.orphaned")
        ending.ask("quit")

    def say_ready(self) -> None:
        os.write(self._news, READY)


def run_worker(
    source: Source,
    settings: Settings,
    listeners: Sequence[socket.socket],
    supervision: Supervision | None = None,
    admin: socket.socket | None = None,
) -> None:
    """Serve in this process until it is told to end; the listeners stay the caller's."""
    _use_all_descriptors()
    _give_memory_back()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(source, settings, listeners, supervision, admin))


async def _work(
    source: Source,
    settings: Settings,
    listeners: Sequence[socket.socket],
    supervision: Supervision | None,
    admin: socket.socket | None,
) -> None:
    keys = StoredKeys.of(settings)
    app = _build_app(settings, keys)
    gateway = app.gateway
    server = HttpServer(app, settings.server, counting=gateway.metrics)
    ending = Ending(server, gateway.vitals, gateway.clock, linger_s())
    reloader = Reloader(gateway, source, gateway.clock)

    def follow(generation: Generation) -> None:
        # Connections are counted from the first one on: their bounds stay as they were then.
        fixed = ("max_connections", "max_connections_per_address")
        kept = {name: getattr(settings.server, name) for name in fixed}
        server.limits = replace(generation.settings.server, **kept)

    gateway.follow(follow)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: ending.ask("stop", insist=True))
    loop.add_signal_handler(signal.SIGINT, lambda: ending.ask("quit", insist=True))
    loop.add_signal_handler(signal.SIGHUP, reloader.hurry)
    loop.add_signal_handler(signal.SIGUSR2, _cannot_roll)
    if supervision is not None:
        supervision.obey(ending)
    reloading = loop.create_task(reloader.run())
    try:
        await gateway.start()
        await keys.start(gateway)
        app.lag.start()
        await server.start(listeners)
        if admin is not None:
            await keys.administer(gateway, admin)
        if supervision is not None:
            supervision.say_ready()
        await ending.asked()
        reloading.cancel()
        await ending.carry_out(gateway.settings.server.drain_s)
    finally:
        reloading.cancel()
        await server.close()
        app.lag.stop()
        await app.close()
        await keys.close()
        await gateway.close()


def _build_app(settings: Settings, keys: StoredKeys) -> App:
    app = App(Gateway(settings), keys.directory, keys.store)
    # What is built now lives as long as the process: keep the collector from walking it, and
    # let it run rarely; requests make few cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    return app


def _cannot_roll() -> None:
    _log.warning(
        "restart.refused reason='a single worker has nobody to take over: serve with --workers 2'"
    )


def _use_all_descriptors() -> None:
    """Raise the soft limit of file descriptors to the hard one: each connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _give_memory_back() -> None:
    """Have glibc return large blocks to the system when they are freed.

    By itself it learns from the first large body that is freed to keep such blocks, up to 32 MB
    each, in heaps that the next small block pins: memory then stays at the worst moment's.
    Elsewhere (musl, macOS) there is no `mallopt`, or it does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def main() -> None:
    """Run as one of several workers; how is in the first argument, as JSON."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    how = json.loads(sys.argv[1])
    setup_logs(how["log_level"])
    source = Source(how["config"], how["ledger"], os.environ, probe_http)
    listeners = [socket.socket(fileno=number) for number in how["listeners"]]
    try:
        settings = source.read()
    except ConfigError as error:
        _log.error("config.rejected error=%r", error.message)
        sys.exit(BAD_CONFIG)
    try:
        supervision = Supervision(how["orders"], how["news"])
        admin = next((socket.socket(fileno=number) for number in how["admin"]), None)
        run_worker(source, settings, listeners, supervision, admin)
    except PointsmanError as error:
        _log.error("worker.failed error=%r", error.message)
        sys.exit(1)
