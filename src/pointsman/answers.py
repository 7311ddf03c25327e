"""What `Gateway.chat` and `Gateway.stream` give to an application."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType

from pointsman.domain.content import ToolCall
from pointsman.domain.deployment import Deployment
from pointsman.domain.money import to_usd
from pointsman.domain.reply import ChatReply, Event, TextDelta
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import PointsmanError
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.account import cost_of
from pointsman.pipeline.call import Call, Trail
from pointsman.pipeline.service import Reply
from pointsman.routing.decision import Decision


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with what it cost and why it came from where it came."""

    reply: ChatReply
    deployment: Deployment
    trail: Trail
    request_id: str

    @property
    def text(self) -> str:
        return self.reply.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.reply.tool_calls

    @property
    def usage(self) -> Usage:
        """What the answering attempt used; nothing where the answer was in the cache."""
        attempts = self.trail.attempts
        return attempts[-1].usage if attempts else NO_USAGE

    @property
    def is_cached(self) -> bool:
        """Whether it was answered from the cache: then nothing was decided, and nobody asked."""
        return self.trail.cache.is_hit

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(self.trail.attempts)

    @property
    def decision(self) -> Decision | None:
        """Why it came from where it came; None where it was in the cache: nothing was decided."""
        return self.trail.decision

    @property
    def cost_nano(self) -> int | None:
        """Nano-USD over all attempts; None if a price is unknown."""
        return cost_of(self.trail.attempts)

    @property
    def cost_usd(self) -> Decimal | None:
        cost = self.cost_nano
        return None if cost is None else to_usd(cost)


class AnswerStream:
    """A stream of events: `async with` it, `async for` over it. It settles when it closes."""

    def __init__(self, reply: Reply, call: Call) -> None:
        self._reply = reply
        self._call = call
        self._pending: list[Event] = []

    @property
    def deployment(self) -> Deployment:
        return self._reply.deployment

    @property
    def request_id(self) -> str:
        return self._call.id

    @property
    def is_cached(self) -> bool:
        """Whether it was answered from the cache: then nothing was decided, and nobody asked."""
        return self._call.trail.cache.is_hit

    @property
    def decision(self) -> Decision | None:
        """Why it came from where it came; None where it was in the cache: nothing was decided."""
        return self._call.trail.decision

    @property
    def usage(self) -> Usage | None:
        """What was used; None until the stream is closed."""
        outcome = self._reply.outcome
        return None if outcome is None else outcome.usage

    @property
    def cost_usd(self) -> Decimal | None:
        """The cost over all attempts; None until the stream is closed, or for unknown prices."""
        if self._reply.outcome is None:
            return None
        cost = cost_of(self._call.trail.attempts)
        return None if cost is None else to_usd(cost)

    async def __aenter__(self) -> AnswerStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reply.close()

    def __aiter__(self) -> AnswerStream:
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            try:
                piece = await self._reply.__anext__()
            except (StopAsyncIteration, PointsmanError):
                self._reply.close()  # Ended or failed: nothing is left to wait for.
                raise
            assert isinstance(piece, list)
            self._pending = piece[::-1]
        return self._pending.pop()

    async def text(self) -> str:
        """Read to the end; return the text."""
        return "".join([event.text async for event in self if isinstance(event, TextDelta)])
