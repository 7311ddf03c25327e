"""The baseline: the least a Python proxy can do. `python -m bench.passthrough CLIENT PORT URL`.

uvicorn (uvloop, httptools) and one raw ASGI function that reads the body, posts the bytes
upstream and returns the answer's bytes: no parsing, no auth, no accounting, no retry. CLIENT:

- `bare`: aiohttp's ClientSession as its documentation shows it. This is the named baseline.
- `aiohttp`, `lean`: the same function over Pointsman's two transports.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import uvicorn

from pointsman.providers.aiohttp_transport import AiohttpTransport
from pointsman.providers.lean import LeanTransport
from pointsman.providers.transport import Endpoint, HttpRequest, Transport

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HEADERS = {"authorization": "Bearer upstream-key", "content-type": "application/json"}


class Answer(Protocol):
    status: int
    content_type: bytes

    async def read(self) -> bytes: ...
    async def read_some(self) -> bytes: ...


class BareAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("content-type", "").encode()

    async def read(self) -> bytes:
        return await self._response.read()

    async def read_some(self) -> bytes:
        return await self._response.content.readany()


class TransportAnswer:
    def __init__(self, response: Any) -> None:
        self.status: int = response.status
        self.content_type: bytes = response.headers.get("content-type", "").encode()
        self.read = response.read
        self.read_some = response.read_some


def app(client: str, url: str) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Return the ASGI function over the client of that name."""
    session: list[aiohttp.ClientSession] = []
    endpoint = Endpoint(url)
    transport: Transport = AiohttpTransport() if client == "aiohttp" else LeanTransport()

    @asynccontextmanager
    async def bare(body: bytes) -> AsyncIterator[Answer]:
        if not session:
            session.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        target = f"{url}/chat/completions"
        async with session[0].post(target, data=body, headers=_HEADERS) as response:
            yield BareAnswer(response)

    @asynccontextmanager
    async def over_transport(body: bytes) -> AsyncIterator[Answer]:
        request = HttpRequest(endpoint, "/chat/completions", body, _HEADERS)
        yield TransportAnswer(await transport.send(request))

    ask = bare if client == "bare" else over_transport

    async def forward(scope: Message, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["path"] == "/readyz":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        async with ask(body) as answer:
            headers = [(b"content-type", answer.content_type)]
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            if answer.content_type.startswith(b"text/event-stream"):
                await send(start)
                while some := await answer.read_some():
                    await send({"type": "http.response.body", "body": some, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            else:
                whole = await answer.read()
                headers.append((b"content-length", b"%d" % len(whole)))
                await send(start)
                await send({"type": "http.response.body", "body": whole})

    return forward


def main() -> None:
    client, port, url = sys.argv[1:]
    uvicorn.run(
        app(client, url),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
