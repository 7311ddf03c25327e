"""A network in memory: what each provider does with a request is drawn, and kept to the letter.

Every piece of content is marked `[exchange.place]`, so that a client can tell what it was given
from what was sent, and mixtures of two answers from one answer.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from pointsman.providers.transport import Endpoint, HttpRequest, TransportError, TransportFault

from .loop import SimLoop

GRID_S: tuple[float, ...] = (0.0, 0.0, 0.25, 0.25, 0.5, 0.75, 1.0)
"""Where times are drawn from: coarse, so that things coincide."""

_MODEL = re.compile(rb'"model":\s*"([^"]+)"')
_CALL = re.compile(rb"call (\w+) ")

Mood = Literal[
    "well",
    "slow",
    "failing",
    "overloaded",
    "throttling",
    "unreachable",
    "hanging",
    "cutting",
    "keyless",
    "spent",
    "flaky",
    "choosy",
    "garbled",
]
MOODS: tuple[Mood, ...] = (
    *("well", "well", "slow", "failing", "failing", "overloaded", "throttling", "throttling"),
    *("unreachable", "unreachable", "hanging", "cutting", "cutting", "keyless", "spent"),
    *("flaky", "choosy"),
    "garbled",
)


@dataclass
class Play:
    """What happens to one request. `fault` or `hang` instead of a head; `ending` after pieces."""

    name: str
    head_s: float = 0.0
    fault: TransportFault | None = None
    hangs: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[tuple[float, bytes]] = ()
    ending: Literal["end", "cut", "stall"] = "end"
    is_proper: bool = False
    """Its protocol says that it has ended."""
    marks: int = 0
    """Pieces of content in it."""


def draw(mood: Mood, rng: random.Random, exchange: int, stream: bool) -> Play:
    """Draw what a provider in this mood does with a request."""
    late = rng.choice(GRID_S)
    if mood == "flaky":
        mood = rng.choice(MOODS[:-1])
    if mood in ("slow", "choosy", "throttling") and rng.random() < 0.4:
        mood = "well" if mood != "slow" else "slow"
    match mood:
        case "failing":
            return _error(rng.choice((500, 502, 504)), late, "no", "server_error")
        case "overloaded":
            return _error(rng.choice((503, 529)), late, "busy", "overloaded_error", _wait(rng))
        case "throttling":
            return _error(429, late, "too many", "rate_limit_error", _wait(rng))
        case "spent":
            return _error(429, late, "spent", "insufficient_quota", _wait(rng))
        case "keyless":
            return _error(rng.choice((401, 403, 404)), late, "no", "authentication_error")
        case "choosy":
            word = rng.choice(("context_length_exceeded", "content_filter", "unknown_field"))
            return _error(400, late, "not so", word)
        case "unreachable":
            faults: tuple[TransportFault, ...] = ("refused", "connect_timeout", "dns", "tls")
            return Play("unreachable", late, fault=rng.choice((*faults, "reset")))
        case "hanging":
            return Play("hanging", hangs=True)
        case "garbled":
            head = {"content-type": rng.choice(("text/html", "text/event-stream"))}
            return Play("garbled", late, headers=head, pieces=((late, b"<html>\n\n"),))
    if not stream:
        return _whole(late if mood == "well" else late + rng.choice((1.0, 3.0)), exchange)
    return _streamed(mood, late, rng, exchange)


def well(exchange: int, stream: bool) -> Play:
    """Answer at once."""
    if not stream:
        return _whole(0.0, exchange)
    play = _streamed("well", 0.0, random.Random(0), exchange)
    play.pieces = [(0.0, data) for _, data in play.pieces]
    play.head_s, play.ending = 0.0, "end"
    return play


def _wait(rng: random.Random) -> dict[str, str]:
    return {} if rng.random() < 0.4 else {"retry-after": str(rng.choice((0, 1, 2, 5, 40)))}


def _error(
    status: int, late: float, message: str, word: str, headers: Mapping[str, str] | None = None
) -> Play:
    body = orjson.dumps({"error": {"message": message, "type": word, "code": word, "param": None}})
    return Play(
        f"{status} {word}",
        late,
        status=status,
        headers={"content-type": "application/json", **(headers or {})},
        pieces=((0.0, body),),
    )


def _whole(late: float, exchange: int) -> Play:
    message = {"role": "assistant", "content": f"[{exchange}.0][{exchange}.1]"}
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    headers = {"content-type": "application/json"}
    return Play(
        "whole",
        late,
        headers=headers,
        pieces=((0.0, orjson.dumps(body)),),
        is_proper=True,
        marks=2,
    )


_CHUNK = (
    'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    '[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)


def _streamed(mood: Mood, late: float, rng: random.Random, exchange: int) -> Play:
    marks = rng.randint(2, 6) if mood == "cutting" else rng.randint(1, 4)
    gaps = GRID_S if mood != "slow" else (*GRID_S, 1.5, 3.0)
    pieces = [(late, (_CHUNK % ('{"role":"assistant","content":""}', "null")).encode())]
    for place in range(marks):
        if rng.random() < 0.15:
            pieces.append((rng.choice(gaps), b": ping\n\n"))
        text = f'{{"content":"[{exchange}.{place}]"}}'
        pieces.append((rng.choice(gaps), (_CHUNK % (text, "null")).encode()))
    last = (_CHUNK % ("{}", '"stop"')).encode()
    pieces.append((rng.choice(gaps), last))
    usage = b'"usage":{"prompt_tokens":5,"completion_tokens":%d,"total_tokens":9}' % marks
    pieces.append((0.0, b'data: {"id":"c","model":"m","choices":[],' + usage + b"}\n\n"))
    pieces.append((rng.choice((0.0, 0.0, 0.25)), b"data: [DONE]\n\n"))
    play = Play(
        mood,
        rng.choice((0.0, late)),
        headers={"content-type": "text/event-stream"},
        pieces=pieces,
        is_proper=True,
        marks=marks,
    )
    if mood != "cutting":
        play.ending = "stall" if rng.random() < 0.05 else "end"
        return play
    # Broken off anywhere before the finish reason: by silence, a lost connection, an end that is
    # none, or the provider's own error event.
    kept = rng.randint(0, len(pieces) - 4)
    play.pieces = pieces[:kept]
    play.is_proper = False
    play.marks = sum(b"[%d." % exchange in data for _, data in play.pieces)
    how = rng.choice(("end", "cut", "stall", "error"))
    if how == "error":
        word = rng.choice((b"server_error", b"overloaded_error", b"rate_limit_error"))
        event = b'data: {"error":{"message":"no","type":"' + word + b'"}}\n\n'
        play.pieces = [*play.pieces, (late, event)]
    else:
        play.ending = how  # type: ignore[assignment]
    play.name = f"cutting: {how} after {play.marks}"
    return play


class Exchange:
    """One request and how it went. state: sending, open, read, broken, aborted or cancelled."""

    def __init__(self, number: int, deployment: str, call: str, play: Play, at: float) -> None:
        self.number = number
        self.deployment = deployment
        self.call = call
        self.play = play
        self.at = at
        self.state = "sending"

    @property
    def is_live(self) -> bool:
        return self.state in ("sending", "open")


class SimTransport:
    """Implements `Transport`. `answer` says what happens to a request."""

    def __init__(
        self,
        loop: SimLoop,
        answer: Callable[[str, int, bool], Play],
        say: Callable[[str], None] | None,
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._say = say
        self.exchanges: list[Exchange] = []

    async def send(self, request: HttpRequest) -> SimResponse:
        model, call = _MODEL.search(request.body), _CALL.search(request.body)
        assert model is not None and call is not None
        name = model[1].decode()
        number = len(self.exchanges)
        play = self._answer(name, number, b'"stream":true' in request.body)
        exchange = Exchange(number, name, call[1].decode(), play, self._loop.now())
        self.exchanges.append(exchange)
        if self._say is not None:
            self._say(f"{exchange.call} -> {name}: exchange {number}, {play.name}")
        try:
            if play.hangs:
                await self._loop.create_future()
            if play.head_s > 0:
                await self._loop.sleep(play.head_s)
        except asyncio.CancelledError:
            exchange.state = "cancelled"
            raise
        if play.fault is not None:
            exchange.state = "broken"
            raise TransportError(play.fault, "simulated", sent=play.fault == "reset")
        exchange.state = "open"
        return SimResponse(self._loop, exchange)

    async def warm(self, endpoint: Endpoint) -> None:
        pass

    async def close(self) -> None:
        pass


class SimResponse:
    """Implements `HttpResponse`: pieces arrive at their times, whether anybody reads or not."""

    def __init__(self, loop: SimLoop, exchange: Exchange) -> None:
        self.status = exchange.play.status
        self.headers: Mapping[str, str] = exchange.play.headers
        self._loop = loop
        self._exchange = exchange
        self._left = deque(exchange.play.pieces)
        self._come: deque[bytes] = deque()
        self._end: Literal["", "end", "cut"] = ""
        self._reader: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expect()

    async def read(self) -> bytes:
        parts = []
        while part := await self.read_some():
            parts.append(part)
        return b"".join(parts)

    async def read_some(self) -> bytes:
        exchange = self._exchange
        while True:
            if exchange.state == "read":
                return b""
            if exchange.state != "open":
                raise TransportError("reset", f"already {exchange.state}", sent=True)
            if self._come:
                data = b"".join(self._come)
                self._come.clear()
                return data
            if self._end == "end":
                exchange.state = "read"
                return b""
            if self._end == "cut":
                exchange.state = "broken"
                raise TransportError("reset", "cut", sent=True)
            assert self._reader is None, "two readers of one response"
            self._reader = self._loop.create_future()
            try:
                await self._reader
            except asyncio.CancelledError:
                self._stop("cancelled")
                raise
            finally:
                self._reader = None

    def abort(self) -> None:
        if self._exchange.is_live:
            self._stop("aborted")

    def _stop(self, state: str) -> None:
        self._exchange.state = state
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    def _expect(self) -> None:
        if self._left:
            self._timer = self._loop.call_later(self._left[0][0], self._arrive)
        elif self._exchange.play.ending != "stall":
            self._end = self._exchange.play.ending

    def _arrive(self) -> None:
        self._come.append(self._left.popleft()[1])
        self._expect()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def marks_in(data: Any) -> list[tuple[int, int]]:
    """Find the marks of content in what a client was given."""
    text = data.decode() if isinstance(data, bytes) else str(data)
    return [(int(a), int(b)) for a, b in re.findall(r"\[(\d+)\.(\d+)\]", text)]
