"""Clients that only cost: heads and bodies that come byte by byte, readers that read nothing.

Plain non-blocking sockets, so that two thousand of them leave the core to the good traffic.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field
from typing import Literal

from chaos.client import chat

Kind = Literal["head", "body", "reader"]
_ESTABLISHED = 1


@dataclass(slots=True)
class Pest:
    """One of them. Times are the loop's seconds."""

    kind: Kind
    plug: socket.socket
    begun: float
    cut_at: float = 0.0

    def is_cut(self) -> bool:
        """Whether the other side has ended it: TCP_INFO begins with the state."""
        info = self.plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
        return info[0] != _ESTABLISHED

    def drip(self) -> None:
        if self.kind != "reader":
            try:
                self.plug.send(b"a")
            except OSError:
                pass  # cut; the next look sees it


@dataclass(slots=True)
class Crowd:
    """Open them with `open`, then let `run` drip and watch until all are cut or time is over."""

    port: int
    key: str
    pests: list[Pest] = field(default_factory=list)
    failed: int = 0
    """Connections that were not to be had."""

    async def open(self, kind: Kind, count: int, a_second: float, model: str = "auto") -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(count):
            if (wait := start + number / a_second - loop.time()) > 0:
                await asyncio.sleep(wait)
            plug = socket.socket()
            plug.setblocking(False)
            if kind == "reader":
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                await loop.sock_connect(plug, ("127.0.0.1", self.port))
                await loop.sock_sendall(plug, self._first(kind, model))
            except OSError:
                self.failed += 1
                plug.close()
            else:
                self.pests.append(Pest(kind, plug, loop.time()))

    def _first(self, kind: Kind, model: str) -> bytes:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\n"
        )
        if kind == "head":
            return (head + "x-slow: ").encode()
        body = json.dumps(chat(model=model, stream=True)).encode()
        if kind == "body":
            return f'{head}content-length: 100000\r\n\r\n{{"model":"'.encode()
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def run(self, seconds: float) -> None:
        """A byte a second from each, in twenty parts; stop watching those that are cut."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        part = 0
        while loop.time() < deadline:
            await asyncio.sleep(0.05)
            part = (part + 1) % 20
            now = loop.time()
            for pest in self.pests[part::20]:
                if pest.cut_at:
                    continue
                if pest.is_cut():
                    pest.cut_at = now
                else:
                    pest.drip()

    def slowest_cut_s(self, kind: Kind) -> float:
        """The longest that one of them was borne; infinite where one still is."""
        spans = [
            pest.cut_at - pest.begun if pest.cut_at else float("inf")
            for pest in self.pests
            if pest.kind == kind
        ]
        return max(spans, default=0.0)

    def close(self) -> None:
        for pest in self.pests:
            pest.plug.close()
