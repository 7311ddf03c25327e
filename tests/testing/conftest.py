"""A raw socket client: it shows what is on the wire, byte for byte, and how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from pointsman.testing import FakeClock, FaultProvider

ENOUGH_S = 0.03
"""How long the raw client waits, twice, for a byte that should not come."""
PATIENCE_S = 3.0
"""How long it waits for a byte or an end that should come."""

Ending = Literal["fin", "rst", "open"]


@dataclass(frozen=True, slots=True)
class Seen:
    """The bytes that came, and whether the connection was then finished, reset or still open."""

    wire: bytes
    ending: Ending

    @property
    def head(self) -> bytes:
        return self.wire.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }

    @property
    def payload(self) -> bytes:
        """What follows the head, still in its framing."""
        return self.wire.partition(b"\r\n\r\n")[2]

    @property
    def body(self) -> bytes:
        """The body; of a chunked one what came, whether it came to its end or not."""
        if self.headers.get("transfer-encoding") != "chunked":
            return self.payload
        return self.chunks[0]

    @property
    def is_whole(self) -> bool:
        """The framing says that the body came to its end, and nothing came after it."""
        if self.headers.get("transfer-encoding") == "chunked":
            return self.chunks[1]
        return len(self.payload) == int(self.headers["content-length"])

    @property
    def chunks(self) -> tuple[bytes, bool]:
        left, body = self.payload, b""
        while left:
            size, _, left = left.partition(b"\r\n")
            length = int(size, 16)
            if length == 0:
                return body, left == b"\r\n"
            body += left[:length]
            if left[length : length + 2] != b"\r\n":
                return body, False
            left = left[length + 2 :]
        return body, False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        """The whole events: (name, parsed data); `[DONE]` as text."""
        found: list[tuple[str | None, Any]] = []
        for block in self.body.decode().split("\n\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in block.split("\n") if line[:1] != ":")
            if "data" in lines:
                data = lines["data"]
                parsed = data if data == "[DONE]" else json.loads(data)
                found.append((lines.get("event"), parsed))
        return found

    @property
    def text(self) -> str:
        """The text of a stream in either dialect."""
        parts: list[str] = []
        for _, event in self.events:
            if isinstance(event, dict):
                choices = event.get("choices", [])
                parts.extend(choice["delta"].get("content") or "" for choice in choices)
                parts.append(event.get("delta", {}).get("text", ""))
        return "".join(parts)


class Raw:
    """Send requests to one provider, one connection each."""

    def __init__(self, provider: FaultProvider) -> None:
        self.provider = provider

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.provider.port)

    @staticmethod
    def request(
        fields: Mapping[str, Any] | bytes,
        path: str = "/v1/chat/completions",
        *,
        method: str = "POST",
        close: bool = True,
        **headers: str,
    ) -> bytes:
        body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: provider", f"content-length: {len(body)}"]
        if close:
            lines.append("connection: close")
        lines.extend(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    async def send(
        self, fields: Mapping[str, Any] | bytes, path: str = "/v1/chat/completions", **more: Any
    ) -> Seen:
        """Send one request and read until the end, or until nothing more comes."""
        reader, writer = await self.open()
        try:
            writer.write(self.request(fields, path, **more))
            return await self.read(reader)
        finally:
            writer.close()

    async def read(self, reader: asyncio.StreamReader, *, kept: bool = False) -> Seen:
        """Read until the end, or until nothing more comes although the provider still works on
        a request (or, on a `kept` connection, waits for the next one)."""
        wire = b""
        quiet = 0
        while quiet * ENOUGH_S < PATIENCE_S:
            try:
                async with asyncio.timeout(ENOUGH_S):
                    data = await reader.read(65536)
            except TimeoutError:
                quiet += 1
                is_stuck = kept or self.provider.is_deaf or self.provider.journal.open
                if quiet >= 2 and is_stuck:
                    break
                continue
            except ConnectionResetError:
                return Seen(wire, "rst")
            if not data:
                return Seen(wire, "fin")
            wire += data
            quiet = 0
        return Seen(wire, "open")

    async def chat(self, text: str = "one two three", **fields: Any) -> Seen:
        """Ask OpenAI's way; streams by default."""
        asked = {
            "model": "m",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": text}],
            **fields,
        }
        return await self.send(asked)

    async def message(self, text: str = "one two three", **fields: Any) -> Seen:
        """Ask Anthropic's way; streams by default."""
        asked = {
            "model": "m",
            "stream": True,
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": text}],
            **fields,
        }
        return await self.send(asked, "/v1/messages", anthropic_version="2023-06-01")


@pytest.fixture
async def provider() -> AsyncIterator[FaultProvider]:
    """A provider whose clock stands still: nothing in an answer depends on when it was made."""
    async with FaultProvider(clock=FakeClock()) as running:
        yield running


@pytest.fixture
def raw(provider: FaultProvider) -> Raw:
    return Raw(provider)


@pytest.fixture
def raw_of() -> type[Raw]:
    """The raw client, for a provider that a test made itself."""
    return Raw
