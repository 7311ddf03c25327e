"""The ASGI application: a closed table of routes, each with who may use it.

No framework on the data path (see docs/adr): a dict look-up, an API key, an endpoint. A path or
method that is not in the table does not exist.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from pointsman.dialects.registry import DIALECTS
from pointsman.domain.call import ANONYMOUS, Caller
from pointsman.errors import NotFound, Overloaded, PointsmanError
from pointsman.gateway import Gateway
from pointsman.server.auth import KeyRing
from pointsman.server.endpoints import Endpoints, error_headers
from pointsman.server.exchange import ClientGone, Exchange, Receive, Scope, Send

_log = logging.getLogger("pointsman")

Endpoint = Callable[[Exchange, Caller, "object"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """`access` is declared here and nowhere else; there is no default. The dialect "either" is
    Anthropic's where an `anthropic-version` header is sent, else OpenAI's."""

    method: Literal["GET", "POST"]
    dialect: str
    access: Literal["key", "open"]
    endpoint: Callable[..., Awaitable[None]]


HEAD = ("GET", "HEAD")


class App:
    def __init__(self, gateway: Gateway) -> None:
        server = gateway.settings.server
        self.gateway = gateway
        self._keys = KeyRing(server.keys)
        self._most_in_flight = server.max_in_flight
        self._in_flight = 0
        self._prefix = f"req_{secrets.token_hex(6)}"
        self._count = itertools.count(1)
        data = Endpoints(gateway, DIALECTS, server.body_bytes, server.json_depth)
        self.table: Mapping[str, RouteEntry] = {
            "/v1/chat/completions": RouteEntry("POST", "openai", "key", data.chat),
            "/v1/messages": RouteEntry("POST", "anthropic", "key", data.chat),
            "/v1/messages/count_tokens": RouteEntry("POST", "anthropic", "key", data.count_tokens),
            "/v1/embeddings": RouteEntry("POST", "openai", "key", data.embeddings),
            "/v1/models": RouteEntry("GET", "either", "key", data.models),
            "/v1/route:explain": RouteEntry("POST", "either", "key", data.explain),
            "/livez": RouteEntry("GET", "openai", "open", self._livez),
            "/readyz": RouteEntry("GET", "openai", "open", self._readyz),
            "/metrics": RouteEntry("GET", "openai", "open", self._metrics),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, f"{self._prefix}{next(self._count):08x}")
        entry = self.table.get(exchange.path)
        dialect = DIALECTS[_dialect_of(exchange, entry)]
        headers: list[tuple[bytes, bytes]] = []
        self._in_flight += 1
        try:
            if entry is None:
                raise NotFound(
                    f"{exchange.path[:200]} does not exist; there are {', '.join(self.table)}"
                )
            # HEAD is GET without the body, which the server leaves out.
            if entry.method != scope["method"] and (entry.method, scope["method"]) != HEAD:
                headers.append((b"allow", entry.method.encode()))
                raise NotFound(
                    f"{exchange.path} takes {entry.method}",
                    status=405,
                    code="method_not_allowed",
                )
            caller = ANONYMOUS
            if entry.access == "key":
                caller = self._keys.caller(exchange.headers)
                if self._in_flight > self._most_in_flight:
                    raise Overloaded(
                        f"{self._most_in_flight} requests are under way (server.max_in_flight)",
                        retry_after_s=1.0,
                    )
            await entry.endpoint(exchange, caller, dialect)
        except ClientGone:
            return
        except PointsmanError as error:
            if exchange.started:
                raise
            body = dialect.render_error(error, exchange.id)
            await exchange.respond(error.status, body, [*headers, *error_headers(error)])
        except Exception:
            # The outermost edge: what gets here is our mistake. It is told and logged.
            _log.exception("request.crashed id=%s path=%r", exchange.id, exchange.path[:200])
            if exchange.started:
                raise
            fault = PointsmanError("an internal error; the log has it under this request id")
            body = dialect.render_error(fault, exchange.id)
            await exchange.respond(500, body, error_headers(fault))
        finally:
            self._in_flight -= 1

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.gateway.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _livez(self, exchange: Exchange, caller: Caller, dialect: object) -> None:
        await exchange.respond(200, b'{"status":"alive"}')

    async def _readyz(self, exchange: Exchange, caller: Caller, dialect: object) -> None:
        health = self.gateway.health()
        status = 200 if health["ready"] else 503
        await exchange.respond(status, orjson.dumps(health))

    async def _metrics(self, exchange: Exchange, caller: Caller, dialect: object) -> None:
        text = self.gateway.metrics.exposition()
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        await exchange.respond(200, text, content_type=kind)


def _dialect_of(exchange: Exchange, entry: RouteEntry | None) -> str:
    """Say in whose shape errors are told, also where nothing is found."""
    if entry is not None and entry.dialect != "either":
        return entry.dialect
    is_anthropic = exchange.header(b"anthropic-version") is not None
    if is_anthropic or exchange.path.startswith("/v1/messages/"):
        return "anthropic"
    return "openai"
