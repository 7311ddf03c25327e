"""The admin API: a closed table of routes on a listener of its own, with tokens of its own.

What is asked is judged in this order, and the first "no" is the answer: 1. a token (401; a key of
the data plane is none); 2. a route of this path and method (404, 405); 3. the role (403); 4. the
query and the body, field by field (400, 403). Only then does the route's work begin, on a thread
with a database of its own, with the tenant's sight in hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import logging
import secrets
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

from pointsman.access.directory import Directory
from pointsman.access.failures import Failures
from pointsman.access.house import House
from pointsman.access.pepper import settled_pepper
from pointsman.access.principal import Principal
from pointsman.access.shaping import shaped
from pointsman.access.tokens import public_id
from pointsman.clock import Clock
from pointsman.config.settings import Settings
from pointsman.config.settings_money import AdminToken
from pointsman.dialects.strict_json import parse_object
from pointsman.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    PointsmanError,
)
from pointsman.server.admin_openapi import document
from pointsman.server.admin_route import AdminRoute, Ask, check_routes
from pointsman.server.admin_table import TABLE
from pointsman.server.endpoints import error_headers
from pointsman.server.exchange import ClientGone, Exchange
from pointsman.store.database import Database
from pointsman.store.open import Store

BODY_BYTES: Final = 64 * 1024
JSON_DEPTH: Final = 16
THREADS: Final = 2
"""One for a long report, one for the rest."""
DOCUMENT: Final = "/admin/openapi.json"

_NOT_KEPT: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_log = logging.getLogger("pointsman")


class NotTaken(NotFound):
    """A path that is there, asked in a way that it does not take."""

    def __init__(self, path: str, taken: Sequence[str]) -> None:
        super().__init__(f"{path} takes {', '.join(taken)}", status=405, code="method_not_allowed")


class AdminTokens:
    """Who shows which token. All of them are compared, always, whatever is shown."""

    def __init__(self, tokens: Sequence[AdminToken]) -> None:
        self._pepper = secrets.token_bytes(32)
        self._known = [
            (self._digest(token.secret.reveal().encode()), _principal(token)) for token in tokens
        ]

    def principal(self, shown: bytes) -> Principal | None:
        if public_id(shown) is not None:
            return None  # A key of the data plane is of another type, whatever it may open there.
        digest = self._digest(shown)
        found = None
        for known, principal in self._known:
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    def _digest(self, token: bytes) -> bytes:
        return hashlib.blake2b(token, digest_size=32, key=self._pepper).digest()

    def __repr__(self) -> str:
        return f"AdminTokens({len(self._known)})"


def _principal(token: AdminToken) -> Principal:
    return Principal(token.name, token.role, token.tenant)


class AdminApp:
    """Answers exchanges; `close` it. `follow` takes up another configuration.

    directory: this process' keys, so that it goes by a change before the change is answered.
    """

    stamp = b""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        store: Store | None,
        *,
        pepper: bytes | None = None,
        directory: Directory | None = None,
        table: Sequence[AdminRoute] = TABLE,
    ) -> None:
        check_routes(table)
        self.table = table
        self.failures = Failures(clock)
        self._patterns = [(route.pattern, route) for route in table]
        self._clock = clock
        self._store = store
        self._given = pepper
        self._directory = directory
        self._prefix = f"adm_{secrets.token_hex(6)}"
        self._count = itertools.count(1)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="admin")
        self._own = threading.local()
        self._opened: list[Database] = []
        self.follow(settings)

    def follow(self, settings: Settings) -> None:
        """Go by another configuration: its tokens, and what it has to grant."""
        self._tokens = AdminTokens(settings.admin.tokens)
        self._house = House.of(settings)

    def new_id(self) -> str:
        return f"{self._prefix}{next(self._count):08x}"

    async def close(self) -> None:
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._threads.shutdown()
        for database in self._opened:
            database.close()

    # Exchanges.

    async def handle(self, exchange: Exchange) -> None:
        try:
            status, body = await self._answer(exchange)
        except ClientGone:
            return
        except PointsmanError as error:
            self.refuse(exchange, error)
        except asyncio.CancelledError:
            if not (exchange.gone or exchange.started):
                self.refuse(exchange, Overloaded("the server is shutting down", code="draining"))
            raise
        except Exception:  # noqa: BLE001
            # The outermost edge: what gets here is our mistake. It is told and logged.
            _log.exception("admin.crashed id=%s path=%r", exchange.id, exchange.path[:200])
            self.refuse(exchange, PointsmanError("an internal error; the log has it"))
        else:
            exchange.respond(status, msgspec.json.encode(body), _NOT_KEPT)

    def refuse(self, exchange: Exchange, error: PointsmanError) -> None:
        if exchange.started:
            return
        told = {"code": error.code, "message": error.message, "param": error.param}
        body = msgspec.json.encode({"error": told, "request_id": exchange.id})
        exchange.respond(error.status, body, (*error_headers(error), *_NOT_KEPT))

    async def _answer(self, exchange: Exchange) -> tuple[int, object]:
        who = self._who(exchange)
        if exchange.path == DOCUMENT and exchange.method in ("GET", "HEAD"):
            return 200, document(self.table)
        route, path = self._route(exchange)
        if who.role not in route.roles:
            _log.warning("admin.denied who=%r role=%s route=%r", who.name, who.role, str(route))
            raise PermissionDenied(f"{route}: not for role {who.role}", code="role_not_allowed")
        query = shaped(route.asks, _query(exchange.query), strict=False)
        body = None if route.takes is None else await self._body(exchange, route, who)
        if self._store is None:
            raise InvalidRequest(
                "keys and limits need a ledger that is kept: set ledger.path or ledger.url",
                status=501,
                code="no_store",
            )
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(
            self._threads, self._work, route, who, path, query, body
        )
        if route.method != "GET":
            _log.info("admin.done who=%r role=%s route=%r", who.name, who.role, str(route))
            if self._directory is not None:
                await self._directory.look()
        return route.status, answer

    def _who(self, exchange: Exchange) -> Principal:
        shown = exchange.headers.get(b"authorization", b"")
        scheme, _, token = shown.partition(b" ")
        who = self._tokens.principal(token.strip() if scheme.lower() == b"bearer" else b"")
        if who is None:
            self.failures.count(exchange.address)
            raise AuthenticationFailed(
                "an admin token is needed: send `Authorization: Bearer TOKEN`",
                code="invalid_admin_token",
            )
        return who

    def _route(self, exchange: Exchange) -> tuple[AdminRoute, Mapping[str, str]]:
        method = "GET" if exchange.method == "HEAD" else exchange.method
        taken = []
        for pattern, route in self._patterns:
            if (match := pattern.fullmatch(exchange.path)) is None:
                continue
            if route.method == method:
                return route, {name: _plain(text) for name, text in match.groupdict().items()}
            taken.append(route.method)
        if taken:
            raise NotTaken(exchange.path[:200], taken)
        raise NotFound(f"{exchange.path[:200]} does not exist; see {DOCUMENT}")

    async def _body(self, exchange: Exchange, route: AdminRoute, who: Principal) -> Any:
        data = await exchange.body(BODY_BYTES)
        fields = parse_object(data or b"{}", JSON_DEPTH)
        withheld = route.withheld.get(who.role, frozenset())
        for name in fields:
            if name in withheld:
                raise PermissionDenied(
                    f"{name}: not for role {who.role} to write",
                    code="field_not_allowed",
                    param=name,
                )
        assert route.takes is not None
        return shaped(route.takes, fields)

    # On a thread.

    def _work(
        self, route: AdminRoute, who: Principal, path: Mapping[str, str], query: Any, body: Any
    ) -> object:
        database = self._database()

        def pepper() -> bytes:
            return settled_pepper(database, self._given)

        return route.work(
            Ask(who, database, self._house, pepper, path, query, body, self._clock.wall())
        )

    def _database(self) -> Database:
        database: Database | None = getattr(self._own, "database", None)
        if database is None:
            assert self._store is not None
            database = self._own.database = self._store.open()
            self._opened.append(database)
        return database

    def __repr__(self) -> str:
        return f"AdminApp({len(self.table)} routes, {self._tokens})"


def _query(text: str) -> dict[str, str]:
    """A query's fields. Raises InvalidRequest where one is said twice."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=32, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidRequest("the query cannot be read") from error
    for name, value in pairs:
        if name in found:
            raise InvalidRequest(f"{name[:100]}: is in the query twice", param=name[:100])
        found[name] = value
    return found


def _plain(text: str) -> str:
    """A segment of a path, decoded once."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise NotFound("the path is not UTF-8") from None
