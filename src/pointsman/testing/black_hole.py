"""An address that neither accepts nor refuses: for connect timeouts."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

_FILLERS = 4


class BlackHole:
    """A loopback port whose queue of connections is full: on Linux a further connect just waits.

    Nobody accepts. The few connections that the kernel still queues are our own.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._fillers: list[socket.socket] = []

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    def __enter__(self) -> Self:
        self._listener.bind((self._host, 0))
        self._listener.listen(0)
        for _ in range(_FILLERS):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex((self._host, self.port))
            self._fillers.append(filler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._listener.close()
