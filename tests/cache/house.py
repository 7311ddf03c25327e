"""A cache over an innermost service that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from pointsman.cache.answers import Answers, MemoryAnswers
from pointsman.cache.near import NearQuestions
from pointsman.config.settings_money import CacheSettings
from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Text
from pointsman.domain.outcome import OutcomeKind
from pointsman.domain.reply import ChatReply, Event
from pointsman.domain.request import ChatRequest, RouteOptions
from pointsman.domain.usage import Usage
from pointsman.errors import PointsmanError, ProviderFailure
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.cached import Cached
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import make_call, make_deployment

D0 = make_deployment("d0")
ELSEWHERE = make_deployment("elsewhere")
ACME = Caller("k1", tenant="acme")


def said(text: str, **more: object) -> ChatReply:
    values: dict[str, object] = {"usage": Usage(10, 5)}
    return ChatReply("c1", "m", (Text(text),), **{**values, **more})  # type: ignore[arg-type]


class Events:
    """A `StreamBody` of events; an exception among them is raised."""

    def __init__(self, pieces: list[list[Event] | ProviderFailure], usage: Usage | None) -> None:
        self._pieces = pieces
        self._usage = usage
        self._ended = False

    async def next(self) -> bytes | list[Event] | None:
        if not self._pieces:
            self._ended = True
            return None
        piece = self._pieces.pop(0)
        if isinstance(piece, ProviderFailure):
            raise piece
        return piece

    def abort(self) -> None: ...

    def has_ended(self) -> bool:
        return self._ended

    def content_bytes(self) -> int:
        return 1

    def usage(self) -> Usage | None:
        return self._usage

    def finish(self) -> str | None:
        return "stop"


Answering = Callable[[Call], Reply]


@dataclass
class House:
    clock: FakeClock = field(default_factory=FakeClock)
    settings: CacheSettings = CacheSettings("exact", ttl_s=3600.0)
    place: str = "epoch\nauto"
    answers: Answers | None = None
    near: NearQuestions | None = None
    asked: int = 0
    answer: Answering | None = None
    before: tuple[Attempt, ...] = ()
    """Attempts that failed before the one that answers."""

    def __post_init__(self) -> None:
        if self.answers is None:
            self.answers = MemoryAnswers(self.clock, 1 << 20)

    def layer(self, place: str | None = None, secret: bytes = b"s" * 32) -> Cached:
        assert self.answers is not None
        return Cached(
            self._serve,
            self.clock,
            self.answers,
            self.settings,
            place or self.place,
            {"d0": D0},
            secret,
            self.near,
        )

    async def _serve(self, call: Call) -> Reply:
        self.asked += 1
        reply = (
            self.whole(said(f"answer {self.asked}")) if self.answer is None else self.answer(call)
        )

        def closed(outcome: object) -> None:
            kind: OutcomeKind = "ok" if reply.outcome is None else reply.outcome.kind
            attempt = Attempt(
                reply.deployment.name, "p", "m", "workhorse", kind, cost_nano=20_000, ttft_s=0.1
            )
            call.trail.attempts.extend([*self.before, attempt])

        reply.on_close(closed)
        return reply

    def whole(self, chat: ChatReply, **more: object) -> Reply:
        values: dict[str, object] = {"wire": None, "chat": chat, "usage": chat.usage}
        return Reply(D0, self.clock, self.clock.now(), **{**values, **more})  # type: ignore[arg-type]

    def bytes(self, body: bytes) -> Reply:
        """A whole answer that passes as it came."""
        now = self.clock.now()
        return Reply(D0, self.clock, now, wire="openai", body=body, usage=Usage(10, 5))

    def stream(self, *pieces: list[Event] | ProviderFailure) -> Reply:
        body = Events(list(pieces), Usage(10, 5))
        return Reply(D0, self.clock, self.clock.now(), wire=None, stream=body)

    def call(
        self,
        text: str = "hi",
        *,
        caller: Caller = ACME,
        options: RouteOptions | None = None,
        **request: object,
    ) -> Call:
        call = make_call(self.clock, caller=caller, options=options or RouteOptions())
        asked = ChatRequest("auto", (Message("user", (Text(text),)),))
        return replace(call, request=replace(asked, **request))


async def read(layer: Cached, call: Call) -> str:
    """Ask and read to the end, whatever comes; say what the cache did."""
    async with await layer(call) as reply:
        try:
            async for _ in reply:
                pass
        except PointsmanError:
            pass
    return call.trail.cache.word
