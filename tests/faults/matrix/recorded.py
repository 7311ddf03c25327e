"""Good answers as a provider gives them, and a provider that says whatever bytes it is given."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import Any, Self

import aiohttp

from matrix.fault import WIRES, Wire
from pointsman.testing import Answer, FaultProvider

PATHS: dict[Wire, str] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
TOOL = {"name": "look", "description": "Look.", "schema": {"type": "object", "properties": {}}}
ANSWERS = {
    "text": Answer(text='Grüße – "one" two\nthree 🚂 four five six seven.'),
    "thought": Answer(text="So it is.", thinking="Let me see what is asked here."),
    "call": Answer(text="", calls=(("look", '{"at":"the – 🚂","far":true}'),)),
}


def request_fields(
    wire: Wire, streamed: bool, text: str, model: str, tools: bool
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 400,
        "stream": streamed,
    }
    if streamed and wire == "openai":
        fields["stream_options"] = {"include_usage": True}
    if tools and wire == "openai":
        function = {k: TOOL[k] for k in ("name", "description")}
        fields["tools"] = [
            {"type": "function", "function": {**function, "parameters": TOOL["schema"]}}
        ]
    elif tools:
        fields["tools"] = [{"name": "look", "description": "Look.", "input_schema": TOOL["schema"]}]
    return fields


async def record() -> dict[tuple[Wire, bool, str], bytes]:
    """Ask for good answers: (dialect, streamed, kind) -> body."""
    found: dict[tuple[Wire, bool, str], bytes] = {}
    async with FaultProvider() as provider, aiohttp.ClientSession() as session:
        for wire in WIRES:
            for streamed in (False, True):
                for kind, answer in ANSWERS.items():
                    provider.script(answer)
                    fields = request_fields(wire, streamed, "record", "m", kind == "call")
                    async with session.post(
                        provider.url + PATHS[wire],
                        data=BytesIO(json.dumps(fields).encode()),
                        headers={"anthropic-version": "2023-06-01"},
                    ) as response:
                        found[wire, streamed, kind] = await response.read()
    return found


@dataclass
class Parrot:
    """Says what was laid down for a case, which a request names in its text (`case 17`)."""

    said: dict[int, tuple[str, list[bytes]]] = field(default_factory=dict)
    url: str = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(found[1]) if found else 0)
            case = re.search(rb"case (\d+)", body)
            kind, pieces = self.said[int(case[1]) if case else -1]
            writer.write(
                f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n"
                "transfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode()
            )
            for piece in pieces:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
