"""An answer that was cut off is continued elsewhere, exactly, or told as the failure it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from pointsman.domain.content import Message, ResponseFormat, Text
from pointsman.domain.deployment import Deployment
from pointsman.domain.outcome import Outcome
from pointsman.domain.reply import (
    Event,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallStarted,
    UsageReported,
)
from pointsman.domain.request import ChatRequest, RouteOptions
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import AllFailed, DeadlineExceeded, PointsmanError, ProviderFailure
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.call import Call
from pointsman.pipeline.resume import Resume
from pointsman.pipeline.service import Reply
from pointsman.routing.retries import UNLIMITED, RetryBudgets
from pointsman.testing.clock import FakeClock, settle
from pointsman.testing.services import make_call, make_deployment

CUT = ProviderFailure("unavailable", "reset", code="upstream_disconnected")
SAID = "The pointsman looks at the signal first, "
REST = "then at the clock."


def text(*pieces: str) -> list[list[Event]]:
    return [[TextDelta(piece)] for piece in pieces]


def end(output: int = 5) -> list[list[Event]]:
    return [[Finished("stop")], [UsageReported(Usage(10, output))]]


Play = list[list[Event] | ProviderFailure | None]


class Stream:
    """Events one by one; a failure among them is raised; None waits until aborted."""

    def __init__(self, steps: Play) -> None:
        self._steps = list(steps)
        self._bytes = 0
        self._ended = False
        self._usage: Usage | None = None
        self._aborted = asyncio.Event()

    async def next(self) -> list[Event] | None:
        if not self._steps:
            return None
        step = self._steps.pop(0)
        if step is None:
            await self._aborted.wait()
            raise ProviderFailure("unavailable", "aborted")
        if isinstance(step, ProviderFailure):
            raise step
        for event in step:
            if isinstance(event, TextDelta):
                self._bytes += len(event.text)
            elif isinstance(event, Finished):
                self._ended = True
            elif isinstance(event, UsageReported):
                self._usage = event.usage
        return step

    def abort(self) -> None:
        self._aborted.set()

    def has_ended(self) -> bool:
        return self._ended

    def content_bytes(self) -> int:
        return self._bytes

    def usage(self) -> Usage | None:
        return self._usage

    def finish(self) -> str | None:
        return "stop" if self._ended else None


@dataclass
class Provider:
    """Stands where Dispatch stands: each call takes the next of `plays` and leaves an attempt."""

    clock: FakeClock
    plays: Sequence[Play | PointsmanError | None]
    calls: list[Call] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    async def __call__(self, call: Call) -> Reply:
        number = len(self.calls)
        self.calls.append(call)
        play = self.plays[number]
        if play is None:
            await asyncio.Event().wait()
        if isinstance(play, PointsmanError):
            raise play
        assert play is not None
        deployment = make_deployment(f"d{number}")
        reply = Reply(deployment, self.clock, self.clock.now(), wire=None, stream=Stream(play))
        reply.on_close(lambda outcome: self._closed(call, deployment, outcome))
        return reply

    def _closed(self, call: Call, deployment: Deployment, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        call.trail.attempts.append(
            Attempt(
                deployment=deployment.name,
                provider="test",
                model=deployment.model,
                tier="workhorse",
                outcome=outcome.kind,
                usage=outcome.usage,
                cost_nano=0,
                price_version="",
                started_s=0.0,
                seconds=0.0,
            )
        )


def request(**changes: object) -> ChatRequest:
    fields: dict[str, object] = {
        "model": "auto",
        "messages": (Message("user", (Text("hi"),)),),
        "stream": True,
    }
    return ChatRequest(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def ask(clock: FakeClock) -> Callable[..., Call]:
    def make(**changes: object) -> Call:
        return make_call(clock, request=request(**changes), wire="openai")

    return make


async def read(reply: Reply) -> tuple[str, list[Event]]:
    events: list[Event] = []
    async for piece in reply:
        assert isinstance(piece, list)
        events.extend(piece)
    return "".join(e.text for e in events if isinstance(e, TextDelta)), events


async def test_a_cut_answer_is_continued_and_reads_as_one(
    clock: FakeClock, ask: Callable[..., Call]
) -> None:
    first: Play = [[Started("a", "m")], *text("The pointsman looks ", "at the signal first, "), CUT]
    second: Play = [
        [Started("b", "n")],
        [ThinkingDelta("where was I?")],
        *text(SAID[:20], SAID[20:].strip(), " then at", " the clock."),
        *end(),
    ]
    provider = Provider(clock, [first, second])
    call = ask()
    closed: list[Outcome] = []
    async with await Resume(provider, clock, UNLIMITED, 3)(call) as reply:
        reply.on_close(closed.append)
        said, events = await read(reply)
    assert said == SAID + REST
    assert [type(event) for event in events if not isinstance(event, TextDelta)] == [
        Started,
        Finished,
        UsageReported,
    ]
    assert [outcome.kind for outcome in provider.outcomes] == ["unavailable", "ok"]
    assert [outcome.kind for outcome in closed] == ["ok"]
    assert len(call.trail.attempts) == 2
    assert provider.calls[1].avoid == {"d0"}
    assert provider.calls[1].deadline == call.deadline


async def test_the_clients_usage_is_that_of_both_attempts(
    clock: FakeClock, ask: Callable[..., Call]
) -> None:
    provider = Provider(clock, [[*text(SAID), CUT], [*text(SAID + REST), *end(7)]])
    async with await Resume(provider, clock, UNLIMITED, 3)(ask()) as reply:
        _, events = await read(reply)
    told = [event.usage for event in events if isinstance(event, UsageReported)]
    first, second = (outcome.usage for outcome in provider.outcomes)
    assert told[-1].output == first.output + 7
    assert told[-1].input == first.input + second.input
    assert reply.outcome is not None
    assert reply.outcome.usage.total >= told[-1].total


UNFIT: dict[str, tuple[dict[str, object], Play]] = {
    "json": ({"response_format": ResponseFormat("json")}, [*text(SAID), CUT]),
    "several choices": ({"choices": 2}, [*text(SAID), CUT]),
    "no room left": ({"max_tokens": 5}, [*text(SAID * 5), CUT]),
    "inside a tool call": ({}, [*text(SAID), [ToolCallStarted(0, "c", "f")], CUT]),
    "only reasoning so far": ({}, [[ThinkingDelta("hm")], CUT]),
    "a content filter": ({}, [*text(SAID), ProviderFailure("content_filter", "no")]),
}


@pytest.mark.parametrize("case", UNFIT)
async def test_what_cannot_be_continued_fails_as_it_would_have(
    case: str, clock: FakeClock, ask: Callable[..., Call]
) -> None:
    changes, play = UNFIT[case]
    provider = Provider(clock, [play])
    async with await Resume(provider, clock, UNLIMITED, 3)(ask(**changes)) as reply:
        with pytest.raises(ProviderFailure):
            await read(reply)
    assert len(provider.calls) == 1
    assert reply.outcome is not None
    assert reply.outcome.kind != "ok"


async def test_a_continuation_that_does_not_join_is_followed_by_the_next(
    clock: FakeClock, ask: Callable[..., Call]
) -> None:
    stranger: Play = [*text("Certainly! " * 30), *end()]
    provider = Provider(clock, [[*text(SAID), CUT], stranger, [*text(SAID + REST), *end()]])
    async with await Resume(provider, clock, UNLIMITED, 3)(ask()) as reply:
        said, _ = await read(reply)
    assert said == SAID + REST
    assert provider.calls[2].avoid == {"d0", "d1"}
    assert len(provider.outcomes) == 3


@pytest.mark.parametrize("what", ["attempts", "retry budget", "everybody failed", "deadline"])
async def test_where_nobody_continues_the_client_is_told_the_first_failure(
    what: str, clock: FakeClock, ask: Callable[..., Call]
) -> None:
    after: dict[str, PointsmanError] = {
        "everybody failed": AllFailed("all"),
        "deadline": DeadlineExceeded("late"),
    }
    provider = Provider(clock, [[*text(SAID), CUT], after.get(what, AllFailed("not asked"))])
    retries = RetryBudgets(0, 10, 0) if what == "retry budget" else UNLIMITED
    layer = Resume(provider, clock, retries, 1 if what == "attempts" else 3)
    async with await layer(ask()) as reply:
        with pytest.raises(ProviderFailure) as told:
            await read(reply)
    assert told.value is CUT
    assert reply.outcome is not None
    assert reply.outcome.kind == "unavailable"
    assert len(provider.calls) == (2 if what in after else 1)


async def test_an_unjoined_end_is_no_proper_end(clock: FakeClock, ask: Callable[..., Call]) -> None:
    provider = Provider(clock, [[*text(SAID), CUT], [*text("Bye."), *end()]])
    async with await Resume(provider, clock, UNLIMITED, 2)(ask()) as reply:
        with pytest.raises(ProviderFailure) as told:
            await read(reply)
    assert told.value is CUT
    assert reply.outcome is not None
    assert reply.outcome.is_failure


async def test_a_client_that_leaves_while_the_rest_is_asked_for_leaves_nothing_behind(
    clock: FakeClock, ask: Callable[..., Call]
) -> None:
    provider = Provider(clock, [[*text(SAID), CUT], None])
    reply = await Resume(provider, clock, UNLIMITED, 3)(ask())
    reading = asyncio.create_task(read(reply))
    await settle()
    assert len(provider.calls) == 2
    reply.fail(PointsmanError("the client left", code="client_closed"))
    with pytest.raises(PointsmanError, match="the client left"):
        await reading
    reply.close()
    assert reply.outcome is not None
    assert reply.outcome.kind == "abandoned"
    assert len(provider.outcomes) == 1


async def test_a_cancelled_reader_leaves_nothing_behind(
    clock: FakeClock, ask: Callable[..., Call]
) -> None:
    provider = Provider(clock, [[*text(SAID), CUT], [*text(SAID), None]])
    reply = await Resume(provider, clock, UNLIMITED, 3)(ask())
    reading = asyncio.create_task(read(reply))
    await settle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    reply.close()
    assert [outcome.kind for outcome in provider.outcomes] == ["unavailable", "abandoned"]
    assert all(outcome.usage is not NO_USAGE for outcome in provider.outcomes)


async def test_a_client_that_leaves_the_continued_stream_closes_it(
    clock: FakeClock, ask: Callable[..., Call]
) -> None:
    provider = Provider(clock, [[*text(SAID), CUT], [*text(SAID + REST), None]])
    async with await Resume(provider, clock, UNLIMITED, 3)(ask()) as reply:
        pieces = [await reply.__anext__(), await reply.__anext__()]
    assert pieces == [[TextDelta(SAID)], [TextDelta(REST)]]
    assert [outcome.kind for outcome in provider.outcomes] == ["unavailable", "abandoned"]


async def test_the_callers_bound_on_attempts_holds(
    clock: FakeClock, ask: Callable[..., Call]
) -> None:
    provider = Provider(clock, [[*text(SAID), CUT]])
    call = make_call(clock, request=request(), options=RouteOptions(max_attempts=1))
    async with await Resume(provider, clock, UNLIMITED, 3)(call) as reply:
        with pytest.raises(ProviderFailure):
            await read(reply)
    assert len(provider.calls) == 1


async def test_a_whole_answer_passes_untouched(clock: FakeClock) -> None:
    call = make_call(clock, request=request(stream=False), wire="openai")
    provider = Provider(clock, [[*text(SAID), *end()]])
    reply = await Resume(provider, clock, UNLIMITED, 3)(call)
    assert provider.calls == [call]
    reply.close()
