"""Cached: answer from what was answered before, and keep what is answered now.

Below Account and Admit: a hit is an entry in the ledger, at cost 0 and with what it saved, and
counts as a request in every rate. Above Resume and Dispatch: it asks no provider, holds no money
and takes no slot. What is kept is taken from the reply as it passes, and only when it has closed
and everybody below has said that it ended well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pointsman.cache.answers import Answers
from pointsman.cache.fitness import answering, why_not_asked, why_not_kept
from pointsman.cache.kept import Kept
from pointsman.cache.mark import BYPASS, MISS, Mark
from pointsman.cache.near import NearQuestions
from pointsman.cache.question import Question, question_of
from pointsman.cache.replay import Gathered, ReplayStream
from pointsman.clock import Clock
from pointsman.config.settings_money import CacheSettings
from pointsman.dialects.registry import DIALECTS
from pointsman.domain.deployment import Deployment
from pointsman.domain.outcome import Outcome
from pointsman.domain.reply import ChatReply, Event
from pointsman.domain.request import CacheControl, ChatRequest
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import ProviderFailure
from pointsman.ledger.entries import CacheWord
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, Service, StreamBody

SAID_NOTHING: Final = CacheControl()


class Cached:
    """`place` is the route and the configuration's digest; `deployments` are those of the route,
    by name: nobody else's answer is kept as the route's. `near` finds questions that are nearly
    the same, and is None where only the same will do."""

    def __init__(
        self,
        inner: Service,
        clock: Clock,
        answers: Answers,
        settings: CacheSettings,
        place: str,
        deployments: Mapping[str, Deployment],
        secret: bytes,
        near: NearQuestions | None = None,
    ) -> None:
        self.inner = inner
        self._clock = clock
        self._answers = answers
        self._settings = settings
        self._place = place
        self._deployments = deployments
        self._secret = secret
        self._near = near

    async def __call__(self, call: Call) -> Reply:
        control = call.options.cache or SAID_NOTHING
        trail = call.trail
        trail.cache = BYPASS
        request = call.request
        if not isinstance(request, ChatRequest) or why_not_asked(request):
            return await self.inner(call)
        if control.no_cache and control.no_store:
            return await self.inner(call)
        question = question_of(request, call.options, call.caller, self._place, self._secret)
        if question is None:
            return await self.inner(call)
        if not control.no_cache:
            hit = await self._found(call, question, control)
            if hit is not None:
                return hit
            trail.cache = MISS
        reply = await self.inner(call)
        if not control.no_store:
            self._watch(call, request, question, control, reply)
        return reply

    # From the cache.

    async def _found(self, call: Call, question: Question, control: CacheControl) -> Reply | None:
        """1. the same question; 2. one that is nearly the same; 3. none."""
        kept = await self._serves(question.key, control)
        if kept is not None:
            return self._hit(call, *kept, "hit")
        if self._near is None:
            return None
        found = self._near.find(question)
        if found is None:
            return None
        kept = await self._serves(found.key, control)
        if kept is None:
            return None
        return self._hit(call, *kept, "similar", found.similarity)

    async def _serves(self, key: bytes, control: CacheControl) -> tuple[Kept, Deployment] | None:
        kept = await self._answers.take(key)
        if kept is None:
            return None
        now = self._clock.wall()
        deployment = self._deployments.get(kept.deployment)
        is_old = control.max_age_s is not None and now - kept.at > control.max_age_s
        if now >= kept.until or is_old or deployment is None:
            return None
        return kept, deployment

    def _hit(
        self,
        call: Call,
        kept: Kept,
        deployment: Deployment,
        word: CacheWord,
        similarity: float = 1.0,
    ) -> Reply:
        age_s = max(0.0, self._clock.wall() - kept.at)
        call.trail.cache = Mark(word, kept.cost_nano or 0, age_s, similarity)
        is_stream = call.request.stream
        return Reply(
            deployment,
            self._clock,
            self._clock.now(),
            wire=None,
            chat=None if is_stream else kept.chat,
            stream=ReplayStream(kept.chat) if is_stream else None,
            usage=NO_USAGE,
            finish=kept.chat.finish,
            tokens_if_left=_nothing,
        )

    # Into the cache.

    def _watch(
        self,
        call: Call,
        request: ChatRequest,
        question: Question,
        control: CacheControl,
        reply: Reply,
    ) -> None:
        gathered = Gathered()
        if reply.is_stream:
            reply.through(lambda stream: _Watched(stream, gathered))

        def closed(outcome: Outcome) -> None:
            if outcome.kind != "ok":
                return
            chat = _chat_of(reply, gathered if reply.is_stream else None, outcome)
            if chat is not None:
                self._keep(call, request, question, control, reply.deployment, chat, outcome)

        reply.on_close(closed)

    def _keep(
        self,
        call: Call,
        request: ChatRequest,
        question: Question,
        control: CacheControl,
        deployment: Deployment,
        chat: ChatReply,
        outcome: Outcome,
    ) -> None:
        answered = answering(call.trail.attempts, deployment.name)
        settings = self._settings
        if (
            answered is None
            or deployment.name not in self._deployments
            or why_not_kept(request, chat, outcome, call.trail.attempts, tools=settings.tools)
        ):
            return
        ttl_s = settings.ttl_s if control.ttl_s is None else min(control.ttl_s, settings.ttl_s)
        now = self._clock.wall()
        kept = Kept(chat, deployment.name, answered.cost_nano, now, now + ttl_s)
        self._answers.keep(question.key, kept)
        if self._near is not None:
            self._near.learn(question, now + ttl_s)

    def __repr__(self) -> str:
        return f"Cached({self._answers!r}) > {self.inner!r}"


def _nothing(content_bytes: int) -> Usage:
    return NO_USAGE


def _chat_of(reply: Reply, gathered: Gathered | None, outcome: Outcome) -> ChatReply | None:
    """The answer in its neutral form; None where it cannot be told again."""
    dialect = None if reply.wire is None else DIALECTS.get(reply.wire)
    if gathered is not None:
        return gathered.reply(dialect, outcome.usage)
    if reply.chat is not None:
        return reply.chat
    if dialect is None:
        return None
    try:
        return dialect.parse_reply(reply.body)
    except ProviderFailure:
        return None


class _Watched:
    """A stream whose pieces are gathered as they are read."""

    __slots__ = ("_gathered", "_stream", "abort", "content_bytes", "finish", "has_ended", "usage")

    def __init__(self, stream: StreamBody, gathered: Gathered) -> None:
        self._stream = stream
        self._gathered = gathered
        self.abort = stream.abort
        self.has_ended = stream.has_ended
        self.content_bytes = stream.content_bytes
        self.usage = stream.usage
        self.finish = stream.finish

    async def next(self) -> bytes | list[Event] | None:
        piece = await self._stream.next()
        if piece is not None:
            self._gathered.add(piece)
        return piece
