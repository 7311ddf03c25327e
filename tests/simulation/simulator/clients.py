"""What clients do, and what they must be given: each ends in exactly one way, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from pointsman.domain.call import Caller, Timeouts
from pointsman.domain.content import Message, Text
from pointsman.domain.outcome import Outcome
from pointsman.domain.request import ChatRequest, RouteOptions
from pointsman.errors import PointsmanError
from pointsman.pipeline.account import Account
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply

from .laws import SLACK_S, Laws, is_content_of_one
from .network import marks_in
from .world import Visit, World

MOST_AT_ONCE = 8
MAX_TOKENS = 50

T = TypeVar("T")


class Client:
    """One call, from its beginning to its one end."""

    def __init__(self, laws: Laws, name: str, account: Account, most_attempts: int) -> None:
        self.laws = laws
        self.world: World = laws.world
        self.name = name
        self._account = account
        laws.most_attempts[name] = most_attempts

    def call(
        self,
        *,
        stream: bool,
        wire: str | None,
        timeout_s: float,
        timeouts: Timeouts,
        max_cost_nano: int | None = None,
    ) -> Call:
        now = self.world.loop.now()
        request = ChatRequest(
            "auto",
            (Message("user", (Text(f"call {self.name} please"),)),),
            max_tokens=MAX_TOKENS,
            stream=stream,
        )
        return Call(
            id=self.name,
            caller=Caller(),
            request=request,
            options=RouteOptions(max_cost_nano=max_cost_nano),
            deadline=now + timeout_s,
            started=now,
            timeouts=timeouts,
            wire=wire,
        )

    async def in_time(self, call: Call, wait: Awaitable[T]) -> T:
        """Wait for us, who must answer or fail by the deadline."""
        loop = self.world.loop
        began, jumped = loop.now(), loop.jumped_s
        try:
            return await wait
        finally:
            latest = max(began, call.deadline) + SLACK_S + loop.jumped_s - jumped
            self.laws.demand(
                loop.now() <= latest + 1e-9,
                f"{self.name} was kept {loop.now() - call.deadline:.3f} s past its deadline",
            )

    async def run(self, call: Call, leaves_after: int | None = None, slow_s: float = 0.0) -> str:
        """Ask, read, and tell how it ended: `end`, `left`, or an error's code."""
        self.laws.calls[self.name] = call  # One that left before is nobody's business.
        try:
            reply = await self.in_time(call, self._account(call))
        except PointsmanError as error:
            self._say(f"is told {error.status} {error.code}")
            return error.code
        told: list[Outcome] = []
        reply.on_close(told.append)
        given: list[tuple[int, int]] = []
        ended = ""
        try:
            async with reply:
                ended = await self._read(call, reply, given, leaves_after, slow_s)
        finally:
            self._judge(call, reply, told, given, ended)
        return ended

    async def _read(
        self,
        call: Call,
        reply: Reply,
        given: list[tuple[int, int]],
        leaves_after: int | None,
        slow_s: float,
    ) -> str:
        if not reply.is_stream:
            given += marks_in(reply.body or reply.chat)
            return "end"
        pieces = 0
        while True:
            if leaves_after is not None and pieces >= leaves_after:
                return "left"
            if slow_s:
                await self.world.loop.sleep(slow_s)
            try:
                piece = await self.in_time(call, reply.__anext__())
            except StopAsyncIteration:
                return "end"
            except PointsmanError as error:
                return error.code
            given += marks_in(piece)
            pieces += 1

    def _judge(
        self,
        call: Call,
        reply: Reply,
        told: list[Outcome],
        given: list[tuple[int, int]],
        ended: str,
    ) -> None:
        """Was it told the truth?"""
        demand, name = self.laws.demand, self.name
        demand(len(told) == 1, f"{name}: its reply closed {len(told)} times")
        outcome = reply.outcome
        demand(bool(told) and told[0] is outcome, f"{name}: two outcomes of one reply")
        demand(is_content_of_one(given), f"{name}: it was given {given}")
        assert outcome is not None
        self._say(f"ends with {ended or 'a lost client'}, {outcome.kind}, given {given}")
        self.world.note(f"client {ended or 'cancelled'}")
        if not given and ended != "end":
            return
        mine = [each for each in self.world.transport.exchanges if each.call == name]
        sender = next((each for each in mine if given and each.number == given[0][0]), None)
        if ended == "end":
            demand(outcome.kind == "ok", f"{name}: a clean end of what is {outcome.kind}")
            demand(
                sender is not None and sender.play.is_proper and len(given) == sender.play.marks,
                f"{name}: a clean end of what did not end: {given}",
            )
        elif ended not in ("left", ""):
            demand(outcome.kind != "ok", f"{name}: told {ended} of what went well")
            demand(
                not call.trail.attempts or call.trail.attempts[-1].outcome != "ok",
                f"{name}: an error on the stream and a good attempt",
            )

    def _say(self, what: str) -> None:
        if self.world.say is not None:
            self.world.say(f"{self.name} {what}")


class Crowd:
    """All clients of a world."""

    def __init__(self, laws: Laws) -> None:
        self.laws = laws
        self.world = laws.world
        self.waiting = 0
        self._active = 0
        for place, visit in enumerate(self.world.visits):
            self.waiting += 1
            self.world.loop.call_later(visit.at_s, self._arrive, f"c{place}", visit)

    def _arrive(self, name: str, visit: Visit) -> None:
        world = self.world
        if self._active >= MOST_AT_ONCE:
            self.waiting -= 1
            return
        self._active += 1
        spec = world.specs[visit.route]
        most = spec.fallback.max_attempts if spec.fallback.enabled else 1
        client = Client(self.laws, name, world.routes[visit.route], most)
        if world.say is not None:
            world.say(f"{name} asks {spec.name}: {visit}")
        call = client.call(
            stream=visit.stream,
            wire=visit.wire,
            timeout_s=visit.timeout_s,
            timeouts=spec.timeouts,
            max_cost_nano=visit.max_cost_nano,
        )
        task = world.loop.create_task(client.run(call, visit.leaves_after, visit.slow_s))
        if visit.cancel_s is not None:
            timer = world.loop.call_later(visit.cancel_s, self._cut, name, task)
            task.add_done_callback(lambda _: timer.cancel())
        task.add_done_callback(self._ended)

    def _cut(self, name: str, task: asyncio.Task[str]) -> None:
        if self.world.say is not None:
            self.world.say(f"{name} has left")
        task.cancel()

    def _ended(self, task: asyncio.Task[str]) -> None:
        self._active -= 1
        self.waiting -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self.laws.demand(False, f"a client was raised {error!r}")
