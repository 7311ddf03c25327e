"""The data plane: bytes of a client's dialect in, a call through the gateway, bytes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import orjson

from pointsman.dialects import embeddings
from pointsman.dialects.dialect import Dialect, Encoder
from pointsman.dialects.strict_json import parse_object
from pointsman.domain.call import Caller
from pointsman.domain.content import JsonObject
from pointsman.domain.money import to_usd
from pointsman.domain.request import ChatRequest, Request, RouteOptions, Source
from pointsman.errors import DeadlineExceeded, Overloaded, PointsmanError
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.server.cache_control import cache_headers
from pointsman.server.exchange import ClientGone, Exchange
from pointsman.server.left import left_headers
from pointsman.server.options import Asked, take_options

EVENT_STREAM = b"text/event-stream; charset=utf-8"
STREAM_HEADERS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
"""The second one tells nginx not to hold a stream back."""

GONE = "client_closed"

LONGEST_WAIT_S = 86_400.0
"""No client is told to come back after more than a day: a budget of the month has its next window
in the message."""

INLINE_BYTES = 256 * 1024
"""Larger bodies are parsed on a thread beside the event loop: some 2 to 10 ms for each MB that
everybody else would wait for. The interpreter's lock is given up between the steps and every
5 ms of Python within them; a single step of the parser (10 ms for 10 MB of plain text) is not
divided."""

R = TypeVar("R", bound=Request)

_log = logging.getLogger("pointsman")


class Answers(Protocol):
    """What the endpoints need of the gateway."""

    def new_call(
        self,
        request: Request,
        caller: Caller,
        options: RouteOptions,
        *,
        wire: str | None,
        id: str,
        app: str | None = None,
        user: str | None = None,
    ) -> Call: ...

    async def handle(self, call: Call) -> Reply: ...

    def explain(self, call: Call) -> JsonObject: ...

    def models(self, caller: Caller) -> list[JsonObject]: ...

    def count_tokens(self, call: Call) -> int: ...


class Endpoints:
    def __init__(
        self,
        gateway: Answers,
        dialects: Mapping[str, Dialect],
        body_bytes: int,
        json_depth: int,
    ) -> None:
        self._gateway = gateway
        self._dialects = dialects
        self.body_bytes = body_bytes
        self.json_depth = json_depth
        # One: two would only fight for the interpreter. And the next one is begun when the loop
        # has gone on with the last one: what the loop does with large requests never piles up.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read body")
        self._turn = asyncio.Lock()

    async def _asked(self, exchange: Exchange, parse: Callable[[Asked], R]) -> tuple[Asked, R]:
        body = await exchange.body(self.body_bytes)
        if len(body) <= INLINE_BYTES:
            return self._read(exchange, body, parse)
        loop = asyncio.get_running_loop()
        async with self._turn:
            return await loop.run_in_executor(self._reader, self._read, exchange, body, parse)

    def _read(
        self, exchange: Exchange, body: bytes, parse: Callable[[Asked], R]
    ) -> tuple[Asked, R]:
        fields = parse_object(body, self.json_depth)
        asked = take_options(fields, body, exchange.headers)
        return asked, parse(asked)

    def _source(self, exchange: Exchange, dialect: Dialect, body: bytes) -> Source:
        forwarded = {
            name: value
            for name in dialect.forwarded_headers
            if (value := exchange.header(name.encode())) is not None
        }
        return Source(dialect.name, body, forwarded)

    def _chat_parser(
        self, exchange: Exchange, dialect: Dialect, defaults: JsonObject | None = None
    ) -> Callable[[Asked], ChatRequest]:
        def parse(asked: Asked) -> ChatRequest:
            fields = asked.fields if defaults is None else {**defaults, **asked.fields}
            return dialect.parse_request(fields, self._source(exchange, dialect, asked.body))

        return parse

    async def chat(self, exchange: Exchange, caller: Caller, dialect: Dialect) -> None:
        asked, request = await self._asked(exchange, self._chat_parser(exchange, dialect))
        call = self._gateway.new_call(
            request,
            caller,
            asked.options,
            wire=dialect.name,
            id=exchange.id,
            app=asked.app,
            user=asked.user,
        )
        await self._serve(exchange, call, dialect)

    async def embeddings(self, exchange: Exchange, caller: Caller, dialect: Dialect) -> None:
        asked, request = await self._asked(
            exchange,
            lambda asked: embeddings.parse_request(
                asked.fields, self._source(exchange, dialect, asked.body)
            ),
        )
        call = self._gateway.new_call(
            request,
            caller,
            asked.options,
            wire=dialect.name,
            id=exchange.id,
            app=asked.app,
            user=asked.user,
        )
        await self._serve(exchange, call, dialect)

    async def explain(self, exchange: Exchange, caller: Caller, dialect: Dialect) -> None:
        """Decide and tell why; call nobody. Takes a chat request of either dialect."""
        asked, request = await self._asked(exchange, self._chat_parser(exchange, dialect))
        call = self._gateway.new_call(request, caller, asked.options, wire=None, id=exchange.id)
        exchange.respond(200, orjson.dumps(self._gateway.explain(call)))

    async def models(self, exchange: Exchange, caller: Caller, dialect: Dialect) -> None:
        rows = self._gateway.models(caller)
        if dialect.name == "anthropic":
            answer = {
                "data": [
                    {
                        "type": "model",
                        "id": row["id"],
                        "display_name": row["id"],
                        "created_at": "1970-01-01T00:00:00Z",
                    }
                    for row in rows
                ],
                "has_more": False,
                "first_id": rows[0]["id"] if rows else None,
                "last_id": rows[-1]["id"] if rows else None,
            }
        else:
            answer = {"object": "list", "data": rows}
        exchange.respond(200, orjson.dumps(answer))

    async def count_tokens(self, exchange: Exchange, caller: Caller, dialect: Dialect) -> None:
        asked, request = await self._asked(
            exchange, self._chat_parser(exchange, dialect, {"max_tokens": 1})
        )
        call = self._gateway.new_call(request, caller, asked.options, wire=None, id=exchange.id)
        tokens = self._gateway.count_tokens(call)
        exchange.respond(200, orjson.dumps({"input_tokens": tokens}))

    async def _serve(self, exchange: Exchange, call: Call, dialect: Dialect) -> None:
        task = asyncio.current_task()
        assert task is not None
        reply: Reply | None = None

        def left() -> None:
            # 1. nothing committed yet: cancel the work. 2. a stream: end it, which closes the
            # provider's connection. What was used is accounted either way.
            if reply is None:
                task.cancel()
            else:
                reply.fail(PointsmanError("the client left", code=GONE))

        exchange.watch(left)
        try:
            async with await self._gateway.handle(call) as reply:
                if reply.is_stream:
                    await self._stream(exchange, call, reply, dialect)
                else:
                    self._whole(exchange, call, reply, dialect)
        except asyncio.CancelledError:
            if exchange.gone and task.uncancel() <= 0:
                raise ClientGone from None
            raise
        except PointsmanError as error:
            if exchange.started:
                raise
            headers = [*error_headers(error), *_trail(call, 0), *_cost(call), *_left(call)]
            headers += cache_headers(call.trail.cache)
            exchange.respond(error.status, dialect.render_error(error, call.id), headers)
        finally:
            exchange.watch(None)

    def _whole(self, exchange: Exchange, call: Call, reply: Reply, dialect: Dialect) -> None:
        body = reply.body
        if reply.wire is None:
            assert reply.chat is not None and isinstance(call.request, ChatRequest)
            body = dialect.render_reply(reply.chat, call.request)
        reply.close()  # Settle first: the headers tell what it cost.
        exchange.respond(200, body, [*_headers(call, reply), *_cost(call), *_left(call)])

    async def _stream(self, exchange: Exchange, call: Call, reply: Reply, dialect: Dialect) -> None:
        encoder: Encoder | None = None
        if reply.wire is None:
            assert isinstance(call.request, ChatRequest)
            encoder = dialect.encoder(call.request)
        write = exchange.write
        headers = (*STREAM_HEADERS, *_headers(call, reply), *_left(call))
        exchange.start(200, headers, EVENT_STREAM)
        try:
            async for piece in reply:
                if isinstance(piece, bytes):
                    write(piece)
                else:
                    assert encoder is not None
                    write(b"".join(map(encoder.encode, piece)))
                if exchange.is_full:
                    await exchange.drained()
            if encoder is not None:
                write(encoder.end())
        except PointsmanError as error:
            if error.code == GONE:
                return
            reply.close()  # The attempt under way is told of as one that was made.
            error.attempts = len(call.trail.attempts)
            write(dialect.render_stream_error(error, exchange.id))
        except asyncio.CancelledError:
            if not exchange.gone:
                stopped = Overloaded("the server is shutting down", code="draining")
                reply.fail(stopped)
                reply.close()
                write(dialect.render_stream_error(stopped, exchange.id))
                exchange.end()
            raise
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001
            # The head is out, so this is an outermost edge: the reader must be told here.
            _log.exception("stream.crashed id=%s", exchange.id)
            fault = PointsmanError("an internal error; the log has it under this request id")
            reply.fail(fault)
            write(dialect.render_stream_error(fault, exchange.id))
        exchange.end()


def _trail(call: Call, under_way: int) -> list[tuple[bytes, bytes]]:
    trail = call.trail
    attempts = len(trail.attempts) + under_way
    headers = [
        (b"x-pointsman-decision-id", call.id.encode()),
        (b"x-pointsman-attempts", str(attempts).encode()),
    ]
    if trail.decision is not None:
        headers.append((b"x-pointsman-route", trail.decision.route.encode()))
    return headers


def _headers(call: Call, reply: Reply) -> list[tuple[bytes, bytes]]:
    # The attempt that answers is in the trail only once it has closed.
    headers = [
        (b"x-pointsman-deployment", reply.deployment.name.encode()),
        *_trail(call, 0 if reply.outcome is not None or call.trail.cache.is_hit else 1),
        *cache_headers(call.trail.cache),
    ]
    decision = call.trail.decision
    if decision is not None and reply.is_stream:
        chosen = next((c for c in decision.candidates if c.deployment is reply.deployment), None)
        if chosen is not None and chosen.cost_nano is not None:
            estimate = f"{to_usd(chosen.cost_nano):f}".encode()
            headers.append((b"x-pointsman-estimated-cost-usd", estimate))
    headers.extend(
        (b"x-upstream-" + name.encode(), value.encode("latin-1", "replace"))
        for name, value in reply.headers.items()
        if name != "content-type"
    )
    return headers


def _left(call: Call) -> list[tuple[bytes, bytes]]:
    standing = call.trail.standing
    return [] if standing is None else left_headers(standing())


def _cost(call: Call) -> list[tuple[bytes, bytes]]:
    total = 0
    for attempt in call.trail.attempts:
        if attempt.cost_nano is None:
            return []
        total += attempt.cost_nano
    return [(b"x-pointsman-cost-usd", f"{to_usd(total):f}".encode())]


def error_headers(error: PointsmanError) -> list[tuple[bytes, bytes]]:
    """Headers by which a client's SDK knows whether and when to try again."""
    headers = [(b"x-should-retry", b"true" if error.should_retry else b"false")]
    wait_s = error.retry_after_s
    if wait_s is not None and wait_s <= LONGEST_WAIT_S and not isinstance(error, DeadlineExceeded):
        seconds = max(1, -int(-wait_s // 1))
        headers.append((b"retry-after", str(seconds).encode()))
        # Whole seconds would bring all back at once; both SDKs read this one first.
        headers.append((b"retry-after-ms", str(max(1000, int(wait_s * 1e3))).encode()))
    return headers
