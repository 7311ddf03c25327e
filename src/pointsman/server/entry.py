"""`serve`: bind once, then run one worker in this process, or a supervisor over several."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pointsman.clock import SystemClock
from pointsman.config.discover import discover, probe_http
from pointsman.config.load import load
from pointsman.config.settings import Settings
from pointsman.config.source import Source
from pointsman.errors import ConfigError
from pointsman.gateway import METRICS_DIRECTORY_VARIABLE
from pointsman.observe.logs import setup_logs
from pointsman.server.child import Launch
from pointsman.server.supervisor import Supervisor
from pointsman.server.worker import run_worker

_log = logging.getLogger("pointsman")

BACKLOG = 2048
"""Connections that may wait in the kernel to be accepted."""


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


def open_source(config: str | None, ledger: str | None) -> tuple[Source, Settings]:
    """A source that can be read again, and what it says now. Raises ConfigError."""
    source = Source(config, ledger, os.environ, probe_http)
    with ThreadPoolExecutor(1) as thread:  # the caller's thread may have a running loop
        return source, thread.submit(source.read).result()


OF_SERVER = "--host and --port (server.host, server.port)"
OF_ADMIN = "admin.host and admin.port"


def listen(host: str, port: int, said_by: str = OF_SERVER) -> socket.socket:
    """Open a listening socket. Raises ConfigError where that cannot be; `said_by` is what says
    the address."""
    try:
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
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what listens there, or choose "
            f"another address with {said_by}"
        ) from error
    return listener


def serve(
    listener: socket.socket,
    workers: int,
    *,
    source: Source,
    settings: Settings,
    config: str | None,
    ledger: str | None,
    log_level: str,
) -> int:
    """Serve until SIGTERM or SIGINT. Returns an exit status."""
    setup_logs(log_level)
    admin = _admin_listener(settings)
    try:
        if workers == 1:
            run_worker(source, settings, [listener], admin=admin)
            return 0
        with tempfile.TemporaryDirectory(prefix="pointsman-metrics-") as directory:
            os.environ[METRICS_DIRECTORY_VARIABLE] = directory
            launch = Launch(config, ledger, log_level, [listener], settings.server.drain_s, admin)
            return asyncio.run(Supervisor(launch, workers, SystemClock()).run())
    finally:
        if admin is not None:
            admin.close()


def _admin_listener(settings: Settings) -> socket.socket | None:
    """The admin API's socket, which all workers share; without tokens there is none."""
    if not settings.admin.tokens:
        return None
    listener = listen(settings.admin.host, settings.admin.port, OF_ADMIN)
    host, port = listener.getsockname()[:2]
    _log.info("admin.listening address=http://%s:%d", host, port)
    return listener
