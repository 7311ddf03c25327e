"""A listening socket: accepts a few at a time, and rests when file descriptors run out.

Accepting is ours and not the event loop's, because loops differ in what they do without free
descriptors: one spins, another accepts and hangs up. A door that rests leaves clients in the
kernel's queue, where they wait for a second instead of being turned away.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from pointsman.clock import Clock, Timer

BURST = 16
"""Connections taken in a row: other workers shall get some, and requests their turn."""
REST_S = 1.0

SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger("pointsman")


class Door:
    """`take` gets each accepted socket, not blocking, and its address; `short` is told when the
    machine has no descriptor or memory left for one."""

    def __init__(
        self,
        listener: socket.socket,
        clock: Clock,
        take: Callable[[socket.socket, object], None],
        short: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._take = take
        self._short = short
        self._rest: Timer | None = None
        self.is_open = False

    def open(self) -> None:
        self._listener.setblocking(False)
        self._rest = None
        self.is_open = True
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def shut(self) -> None:
        """Accept no more; who is in the kernel's queue waits for others, or for the close."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        elif self.is_open:
            asyncio.get_running_loop().remove_reader(self._listener)
        self.is_open = False

    def _accept(self) -> None:
        for _ in range(BURST):
            try:
                client, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in SHORT_OF:
                    _log.exception("accept.failed")
                self._short()
                asyncio.get_running_loop().remove_reader(self._listener)
                self._rest = self._clock.call_later(REST_S, self.open)
                return
            client.setblocking(False)
            self._take(client, address)

    def __repr__(self) -> str:
        state = "resting" if self._rest is not None else "open" if self.is_open else "shut"
        return f"Door({state})"
