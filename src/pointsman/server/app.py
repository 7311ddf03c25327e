"""The application: a closed table of routes, each with who may use it.

No framework on the data path (see docs/adr): a dict look-up, an API key, an endpoint. A path or
method that is not in the table does not exist.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from pointsman.access.directory import Directory
from pointsman.access.failures import Failures
from pointsman.dialects.dialect import Dialect
from pointsman.dialects.registry import DIALECTS
from pointsman.domain.call import ANONYMOUS, Caller
from pointsman.errors import ConfigError, InvalidRequest, NotFound, Overloaded, PointsmanError
from pointsman.gateway import METRICS_DIRECTORY_VARIABLE, Gateway
from pointsman.generation import Generation
from pointsman.observe.lag import LoopLag
from pointsman.observe.logs import lines_lost
from pointsman.server.auth import KeyRing
from pointsman.server.endpoints import Endpoints, error_headers
from pointsman.server.exchange import ClientGone, Exchange, TooManyBodies
from pointsman.server.gate import Gate
from pointsman.server.idempotency import HEADER, Idempotency
from pointsman.server.openapi import document
from pointsman.server.options import criticality_of
from pointsman.store.open import Store

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
    is_billed: bool = False
    """It may cost money: a repetition with the same Idempotency-Key is not made again."""


def check_table(table: Mapping[str, RouteEntry]) -> None:
    """Raise ConfigError for a route that does not say who may use it."""
    for path, entry in table.items():
        if entry.access not in ("key", "open"):
            raise ConfigError(f"{path}: access {entry.access!r} is neither `key` nor `open`")


HEAD = ("GET", "HEAD")


class WrongMethod(NotFound):
    """A path that is there, asked in a way that it does not take."""

    def __init__(self, path: str, taken: str) -> None:
        super().__init__(f"{path} takes {taken}", status=405, code="method_not_allowed")
        self.headers = ((b"allow", taken.encode()),)


class App:
    """directory: the keys of the store, which whoever made it starts and closes; None where there
    are the configuration's only."""

    def __init__(
        self,
        gateway: Gateway,
        directory: Directory | None = None,
        store: Store | None = None,
    ) -> None:
        server = gateway.settings.server
        self.gateway = gateway
        self.directory = directory
        self.failures = Failures(gateway.clock)
        self._store = store
        self._once: Idempotency | None = None
        if directory is not None:
            gateway.vitals.checks["keys"] = directory.complaint
        metrics = gateway.metrics
        self.lag = LoopLag(
            gateway.clock, lambda late: metrics.observe("pointsman_loop_lag_seconds", late)
        )
        self.gate = Gate(
            server,
            gateway.clock,
            random.Random(),
            self.lag,
            lambda *why: metrics.count("pointsman_shed_total", *why),
        )
        gateway.vitals.checks["gate"] = self.gate.complaint
        metrics.watch("pointsman_server_in_flight", lambda: {(): self.gate.in_flight})
        metrics.watch("pointsman_queue_waiting", lambda: {(): self.gate.waiting})
        metrics.watch("pointsman_auth_failures_total", lambda: {(): self.failures.counted})
        if directory is not None:
            metrics.watch("pointsman_keys_age_seconds", lambda: {(): directory.age_s})
        metrics.watch("pointsman_log_lines_lost_total", lambda: {(): lines_lost()})
        self._prefix = f"req_{secrets.token_hex(6)}"
        self._count = itertools.count(1)
        self._stamped = ""
        self._stamp = b""
        data = self._data = Endpoints(gateway, DIALECTS, server.body_bytes, server.json_depth)
        self.table: Mapping[str, RouteEntry] = {
            "/v1/chat/completions": RouteEntry("POST", "openai", "key", data.chat, True),
            "/v1/messages": RouteEntry("POST", "anthropic", "key", data.chat, True),
            "/v1/messages/count_tokens": RouteEntry("POST", "anthropic", "key", data.count_tokens),
            "/v1/embeddings": RouteEntry("POST", "openai", "key", data.embeddings, True),
            "/v1/models": RouteEntry("GET", "either", "key", data.models),
            "/v1/route:explain": RouteEntry("POST", "either", "key", data.explain),
            "/livez": RouteEntry("GET", "openai", "open", self._livez),
            "/readyz": RouteEntry("GET", "openai", "open", self._readyz),
            "/metrics": RouteEntry("GET", "openai", "open", self._metrics),
            "/openapi.json": RouteEntry("GET", "openai", "open", self._openapi),
        }
        check_table(self.table)
        gateway.follow(self._follow)

    def _follow(self, generation: Generation) -> None:
        """Let in whom a new configuration knows, as far as it says."""
        server = generation.settings.server
        self._keys = KeyRing(
            server.keys,
            self.gateway.clock,
            self.failures,
            self.directory,
            is_guarded=bool(generation.settings.admin.tokens),
        )
        self.gate.reconfigure(server)
        self._data.body_bytes, self._data.json_depth = server.body_bytes, server.json_depth

    @property
    def stamp(self) -> bytes:
        """Header lines of every answer: which configuration is served."""
        generation = self.gateway.generation
        if generation is not self._stamped:
            self._stamped = generation
            self._stamp = b"x-pointsman-generation: %b\r\n" % generation.encode()
        return self._stamp

    def new_id(self) -> str:
        return f"{self._prefix}{next(self._count):08x}"

    async def handle(self, exchange: Exchange) -> None:
        """Answer an exchange, whatever happens; one that could not be ended is cut."""
        entry = self.table.get(exchange.path)
        dialect = DIALECTS[_dialect_of(exchange, entry)]
        try:
            await self._http(exchange, entry, dialect)
        except ClientGone:
            return
        except PointsmanError as error:
            self._tell(exchange, dialect, error)
        except asyncio.CancelledError:
            # 1. the client has left. 2. the server stops.
            if not (exchange.gone or exchange.started):
                stopping = Overloaded("the server is shutting down; try again", code="draining")
                self._tell(exchange, dialect, stopping)
            raise
        except Exception:  # noqa: BLE001
            # The outermost edge: what gets here is our mistake. It is told and logged.
            _log.exception("request.crashed id=%s path=%r", exchange.id, exchange.path[:200])
            fault = PointsmanError("an internal error; the log has it under this request id")
            self._tell(exchange, dialect, fault)

    async def _http(self, exchange: Exchange, entry: RouteEntry | None, dialect: Dialect) -> None:
        if entry is None:
            raise NotFound(
                f"{exchange.path[:200]} does not exist; there are {', '.join(self.table)}"
            )
        # HEAD is GET without the body, which the exchange leaves out.
        if entry.method != exchange.method and (entry.method, exchange.method) != HEAD:
            raise WrongMethod(exchange.path, entry.method)
        if entry.access == "open":
            await entry.endpoint(exchange, ANONYMOUS, dialect)
            return
        caller = self._keys.caller(exchange.headers, exchange.address)
        criticality = criticality_of(exchange.headers, caller)
        place = self.gate.try_enter(caller, criticality)
        if place is None:
            place = await self.gate.wait(caller, criticality)
        try:
            if entry.is_billed and HEADER in exchange.headers:
                await self._idempotent(exchange, caller, entry, dialect)
            else:
                await entry.endpoint(exchange, caller, dialect)
        except TooManyBodies:
            self.gateway.metrics.count("pointsman_shed_total", "bodies", criticality)
            raise
        finally:
            self.gate.leave(place)

    async def _idempotent(
        self, exchange: Exchange, caller: Caller, entry: RouteEntry, dialect: Dialect
    ) -> None:
        if self._once is None:
            if self._store is None and METRICS_DIRECTORY_VARIABLE in os.environ:
                raise InvalidRequest(
                    "Idempotency-Key: several workers need a ledger that is kept to know of each "
                    "other's answers; set ledger.path or ledger.url",
                    status=501,
                    code="no_store",
                )
            clock = self.gateway.clock
            self._once = Idempotency(self._store or Store.of(":memory:", clock), clock)
        await self._once.answer(
            exchange,
            caller,
            self._data.body_bytes,
            lambda: entry.endpoint(exchange, caller, dialect),
        )

    async def close(self) -> None:
        """Let go of what was opened for idempotent requests."""
        if self._once is not None:
            await self._once.close()
            self._once = None

    def refuse(self, exchange: Exchange, error: PointsmanError) -> None:
        """Answer what the server does not take as a request."""
        self._tell(exchange, DIALECTS[_dialect_of(exchange, None)], error)

    def _tell(self, exchange: Exchange, dialect: Dialect, error: PointsmanError) -> None:
        if not exchange.started:
            body = dialect.render_error(error, exchange.id)
            headers = error_headers(error)
            if isinstance(error, WrongMethod):
                headers.extend(error.headers)
            exchange.respond(error.status, body, headers)

    async def _livez(self, exchange: Exchange, caller: Caller, dialect: object) -> None:
        exchange.respond(200, b'{"status":"alive"}')

    async def _readyz(self, exchange: Exchange, caller: Caller, dialect: object) -> None:
        health = self.gateway.health()
        status = 200 if health["ready"] else 503
        exchange.respond(status, orjson.dumps(health))

    async def _openapi(self, exchange: Exchange, caller: Caller, dialect: object) -> None:
        exchange.respond(200, orjson.dumps(document()))

    async def _metrics(self, exchange: Exchange, caller: Caller, dialect: object) -> None:
        text = self.gateway.metrics.exposition()
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        exchange.respond(200, text, content_type=kind)


def _dialect_of(exchange: Exchange, entry: RouteEntry | None) -> str:
    """Say in whose shape errors are told, also where nothing is found."""
    if entry is not None and entry.dialect != "either":
        return entry.dialect
    is_anthropic = exchange.header(b"anthropic-version") is not None
    if is_anthropic or exchange.path == "/v1/messages" or exchange.path.startswith("/v1/messages/"):
        return "anthropic"
    return "openai"
