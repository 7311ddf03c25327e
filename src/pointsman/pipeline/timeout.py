"""Timeout: no attempt waits longer than its share of the deadline.

Four timers in two phases. Before the commit: connecting (the transport's own) and the first
content; the attempt is cancelled and raises. After it: silence between content, and the call's
deadline; the stream is failed and its connection closed. One loop timer a phase, re-armed only
when it fires, so that a chunk costs nothing here.
"""

from __future__ import annotations

import asyncio

from pointsman.clock import Clock, Timer
from pointsman.domain.outcome import Outcome
from pointsman.errors import DeadlineExceeded, ProviderFailure
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, Service

TICK_S = 1e-6
"""Less than this is over: sums of floats may fall short, and a timer of nothing fires at once."""


class Timeout:
    """Above Upstream only, so that all above see a timeout as the failure it is."""

    def __init__(self, inner: Service, clock: Clock, name: str) -> None:
        self.inner = inner
        self.name = name
        self._clock = clock

    async def __call__(self, call: Call) -> Reply:
        clock = self._clock
        remaining = call.deadline - clock.now()
        if remaining <= 0:
            raise DeadlineExceeded(f"the deadline passed before deployment {self.name} was asked")
        limit = self._limit(call)
        task = asyncio.current_task()
        assert task is not None, "a Service is awaited inside a task"
        fired = False

        def fire() -> None:
            nonlocal fired
            fired = True
            task.cancel()

        timer = clock.call_later(min(limit, remaining), fire)
        try:
            reply = await self.inner(call)
        except asyncio.CancelledError as cancelled:
            # As asyncio.timeout does: only our own cancellation is turned into a timeout.
            if fired and task.uncancel() <= 0:
                raise self._late(call, min(limit, remaining), remaining) from cancelled
            raise
        finally:
            timer.cancel()
        if reply.is_stream:
            Watch(reply, clock, call.timeouts.idle_s, call.deadline, self.name)
        return reply

    def _limit(self, call: Call) -> float:
        # A whole answer shows its first byte only when it is ready, so it gets longer; and when
        # nothing else is left to try, giving up early would help nobody.
        if call.request.stream:
            return call.timeouts.first_content_s
        return float("inf") if call.last_resort else call.timeouts.whole_s

    def _late(
        self, call: Call, seconds: float, remaining: float
    ) -> ProviderFailure | DeadlineExceeded:
        # The provider is to blame where it had all the time it should need, also where that
        # was the rest of the call's: else a sole deployment that hangs would never be noticed.
        times = call.timeouts
        enough = times.first_content_s if call.request.stream else times.whole_s
        if seconds < remaining or seconds >= enough:
            return ProviderFailure(
                "timeout",
                f"deployment {self.name}: no content within {seconds:g} s",
                code="upstream_timeout",
            )
        return DeadlineExceeded(
            f"deployment {self.name}: the call's deadline passed after {seconds:.3g} s "
            "without content; ask with a longer timeout or set timeouts.total_s"
        )

    def __repr__(self) -> str:
        return f"Timeout({self.name})"


class Watch:
    """Watches a committed stream until it closes."""

    __slots__ = ("_clock", "_deadline", "_idle_s", "_name", "_reply", "_timer")

    def __init__(
        self, reply: Reply, clock: Clock, idle_s: float, deadline: float, name: str
    ) -> None:
        self._reply = reply
        self._clock = clock
        self._idle_s = idle_s
        self._deadline = deadline
        self._name = name
        self._timer: Timer = clock.call_later(
            min(idle_s, max(0.0, deadline - clock.now())), self._look
        )
        reply.on_close(self._closed)

    def _look(self) -> None:
        remaining = self._deadline - self._clock.now()
        idle_left = self._idle_s - self._reply.quiet_s()
        if remaining <= TICK_S:
            self._reply.fail(DeadlineExceeded("the call's deadline passed before the answer ended"))
        elif idle_left <= TICK_S:
            self._reply.fail(
                ProviderFailure(
                    "timeout",
                    f"deployment {self._name}: no content for {self._idle_s:g} s",
                    code="upstream_stalled",
                )
            )
        else:
            self._timer = self._clock.call_later(min(idle_left, remaining), self._look)

    def _closed(self, outcome: Outcome) -> None:
        self._timer.cancel()
