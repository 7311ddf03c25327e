"""One of several workers, as its supervisor sees it: a process, and our ends of two pipes.

What we write tells it to retire, and our end is how it notices that we are gone. What it writes
says that it is ready.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pointsman.clock import Clock
from pointsman.server.worker import READY, RETIRE

BOOT = "import sys; sys.path[:] = {path!r}; from pointsman.server.worker import main; main()"

_log = logging.getLogger("pointsman")


@dataclass(frozen=True, slots=True)
class Launch:
    """What every worker is started with."""

    config: str | None
    ledger: str | None
    log_level: str
    listeners: Sequence[socket.socket]
    drain_s: float
    admin: socket.socket | None = None
    """Where the admin API listens."""


class Child:
    """A worker's process, and our ends of its pipes."""

    def __init__(
        self, process: asyncio.subprocess.Process, orders: int, news: int, started: float
    ) -> None:
        self.process = process
        self.started = started
        self.is_retired = False
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self._orders: int | None = orders
        self._news = news
        self._said = b""
        self._is_stale = False
        asyncio.get_running_loop().add_reader(news, self._read)

    @classmethod
    async def start(cls, launch: Launch, clock: Clock) -> Child:
        orders_read, orders_write = os.pipe()
        news_read, news_write = os.pipe()
        inherited = [each.fileno() for each in launch.listeners]
        admin = () if launch.admin is None else (launch.admin.fileno(),)
        how = {
            "config": launch.config,
            "ledger": launch.ledger,
            "log_level": launch.log_level,
            "listeners": inherited,
            "admin": admin,
            "orders": orders_read,
            "news": news_write,
        }
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                BOOT.format(path=sys.path),
                json.dumps(how),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(*inherited, *admin, orders_read, news_write),
                start_new_session=True,
            )
        except BaseException:
            os.close(orders_write)
            os.close(news_read)
            raise
        finally:
            os.close(orders_read)
            os.close(news_write)
        return cls(process, orders_write, news_read, clock.now())

    def _read(self) -> None:
        data = os.read(self._news, 64)
        self._said += data
        if READY in self._said and not self.ready.is_set():
            self.ready.set()
            _log.info("worker.ready pid=%d", self.process.pid)
            if self._is_stale:
                self.signal(signal.SIGHUP)
        if not data:
            asyncio.get_running_loop().remove_reader(self._news)

    def retire(self) -> None:
        self.is_retired = True
        if self._orders is not None:
            try:
                os.write(self._orders, RETIRE)
            except BrokenPipeError:
                pass  # it has ended by itself

    def reload(self) -> None:
        """Pass a SIGHUP on, once there is somebody to take it: it would end a starting one."""
        self._is_stale = True
        if self.ready.is_set():
            self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end, and close our ends of the pipes. Returns its exit status."""
        status = await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._news)
        os.close(self._news)
        if self._orders is not None:
            os.close(self._orders)
            self._orders = None
        self.ended.set()
        return status
