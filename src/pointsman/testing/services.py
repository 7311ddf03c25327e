"""A scripted service, to stand where Upstream stands: for tests of layers and of routes.

`ScriptedService` takes one step of its script a call; `make_call` and `make_deployment` fill in
what a test does not care about.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pointsman.domain.call import ANONYMOUS, Timeouts
from pointsman.domain.content import Message, Text
from pointsman.domain.deployment import Deployment
from pointsman.domain.reply import ChatReply, Event
from pointsman.domain.request import ChatRequest, RouteOptions
from pointsman.domain.usage import Price, Rates, Usage
from pointsman.errors import ProviderFailure
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.testing.clock import FakeClock

TEST_PRICE = Price(Rates.of(1_000_000_000, 2_000_000_000), version="test")
"""One dollar a million tokens in, two out."""


def make_deployment(name: str = "d0", **changes: object) -> Deployment:
    values: dict[str, object] = {
        "name": name,
        "provider": "test",
        "model": name,
        "tier": "workhorse",
        "dialect": "openai",
        "price": TEST_PRICE,
    }
    return Deployment(**{**values, **changes})  # type: ignore[arg-type]


def make_call(
    clock: FakeClock, *, stream: bool = False, timeout_s: float = 600.0, **more: object
) -> Call:
    request = ChatRequest("auto", (Message("user", (Text("hi"),)),), stream=stream)
    values: dict[str, object] = {
        "id": "req_1",
        "caller": ANONYMOUS,
        "request": request,
        "options": RouteOptions(),
        "deadline": clock.now() + timeout_s,
        "started": clock.now(),
        "timeouts": Timeouts(),
        "expected_tokens": (100, 50),
    }
    return Call(**{**values, **more})  # type: ignore[arg-type]


def attempt_ids() -> Callable[[], str]:
    """What makes att_1, att_2, …"""
    count = itertools.count(1)
    return lambda: f"att_{next(count)}"


class ScriptedStream:
    """Pieces one by one; an exception among them is raised; None hangs until aborted."""

    def __init__(self, pieces: Sequence[bytes | ProviderFailure | None]) -> None:
        self._pieces = list(pieces)
        self._ended = False
        self._bytes = 0
        self.aborted = asyncio.Event()

    async def next(self) -> bytes | list[Event] | None:
        if not self._pieces:
            self._ended = True
            return None
        piece = self._pieces.pop(0)
        if piece is None:
            await self.aborted.wait()
            raise ProviderFailure("unavailable", "reset")
        if isinstance(piece, ProviderFailure):
            raise piece
        if piece != b"ping":
            self._bytes += len(piece)
        return piece

    def abort(self) -> None:
        self.aborted.set()

    def has_ended(self) -> bool:
        return self._ended

    def content_bytes(self) -> int:
        return self._bytes

    def usage(self) -> Usage | None:
        return Usage(10, 5) if self._ended else None

    def finish(self) -> str | None:
        return "stop" if self._ended else None


@dataclass
class ScriptedService:
    """An innermost service: each call takes the next step of the script.

    A step is an exception (raised), a number (seconds to wait, then a whole answer), a list
    (a stream of those pieces), or "ok".
    """

    clock: FakeClock
    steps: list[object] = field(default_factory=list)
    deployment: Deployment = field(default_factory=make_deployment)
    calls: list[Call] = field(default_factory=list)
    on_call: Callable[[], None] = lambda: None

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        self.on_call()
        step = self.steps.pop(0) if self.steps else "ok"
        started = self.clock.now()
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, list):
            return Reply(
                self.deployment,
                self.clock,
                started,
                wire="openai",
                stream=ScriptedStream(step),
                ttft_s=0.5,
            )
        if isinstance(step, int | float):
            await self.clock.sleep(step)
        return Reply(
            self.deployment,
            self.clock,
            started,
            wire=None,
            chat=ChatReply("c", "m", (Text("hello"),)),
            usage=Usage(10, 5),
        )
