"""Random orders of events through both stacks: no law is broken, and broken laws are noticed.

`make simulate` runs a hundred thousand of them; how to replay one is in CONTRIBUTING.md.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from simulator.coverage import missing
from simulator.laws import Violation
from simulator.run import run_sequence
from simulator.world import World

from pointsman.domain.outcome import Outcome, OutcomeKind
from pointsman.domain.reply import Event
from pointsman.domain.usage import Usage
from pointsman.errors import ProviderFailure
from pointsman.pipeline import race as race_module
from pointsman.pipeline import timeout as timeout_module
from pointsman.pipeline.account import Account
from pointsman.pipeline.breaker import Admission, Breaker
from pointsman.pipeline.call import Call
from pointsman.pipeline.dispatch import Dispatch
from pointsman.pipeline.limits import Limits
from pointsman.pipeline.outage import Outage, OutageCause
from pointsman.pipeline.purse import Purse
from pointsman.pipeline.service import Reply, StreamBody
from pointsman.pipeline.timeout import Timeout, Watch
from pointsman.routing.retries import UNLIMITED

SEQUENCES = 1_000
SECONDS = 20.0
MOST_TO_NOTICE = 1_500
"""Sequences within which each of our faults below must be noticed."""

pytestmark = [
    pytest.mark.slow,
    # A sequence that is broken off leaves coroutines behind.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL, "pointsman")
    yield
    gc.collect()  # What was left behind is found here, not in the middle of another test.


def test_no_order_of_events_breaks_a_law_and_all_kinds_of_events_are_met() -> None:
    met: Counter[str] = Counter()
    began = time.monotonic()
    for seed in range(SEQUENCES):
        met += run_sequence(seed)
        if time.monotonic() - began > SECONDS:
            break
    assert met["sequence"] >= 100
    assert missing(met, met["sequence"]) == {}


def test_seeds_that_nobody_has_seen_break_no_law_either() -> None:
    base = secrets.randbelow(2**31)
    print(f"seeds from {base}: replay one with `make simulate ARGS='--seed N'`")
    for seed in range(base, base + 200):
        try:
            run_sequence(seed)
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}")


def test_a_seed_tells_the_same_story_each_time() -> None:
    stories: list[list[str]] = [[], []]
    for story in stories:
        run_sequence(17, story.append)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 20


# Faults of ours, built in on purpose.


class LeakySlots(Limits):
    async def __call__(self, call: Call) -> Reply:
        try:
            return await super().__call__(call)
        except asyncio.CancelledError:
            self._taken += 1
            raise


class KeptProbe(Breaker):
    def _give_back(self, admission: Admission) -> None:
        pass


class ManyProbes(Breaker):
    def _admit(self, call: Call) -> Admission:
        return self._plain if self.state == "half_open" else super()._admit(call)


class NeverOpen(Breaker):
    def _admit(self, call: Call) -> Admission:
        return self._plain


class WildPanic(Breaker):
    def may_panic(self, now: float) -> bool:
        return now >= self.cooling_until


class CountedTwice(Breaker):
    """What was let through before it opened counts as a failed probe."""

    def _failed(self, admission: Admission, *more: object) -> None:
        if self._outage.is_on and admission.probe is not None:
            self._open(self._clock.now(), "failing", "once more")
        super()._failed(admission, *more)  # type: ignore[arg-type]


class NoWayBack(Outage):
    __slots__ = ()

    def begin(
        self, now: float, cause: OutageCause, reason: str, retry_after_s: float | None = None
    ) -> float:
        wait = super().begin(now, cause, reason, retry_after_s)
        if self.began > 3:
            self.until = float("inf")
        return wait


class ToldTwice(Reply):
    __slots__ = ()

    def close(self) -> None:
        listeners = list(self._listeners)
        super().close()
        for listener in listeners:
            assert self._outcome is not None
            listener(self._outcome)


class TellsTwice:
    def __init__(self, inner: object) -> None:
        self.inner = inner

    async def __call__(self, call: Call) -> Reply:
        reply: Reply = await self.inner(call)  # type: ignore[operator]
        reply.__class__ = ToldTwice
        return reply


class Altered:
    """A stream that does not take a failure for what it is."""

    def __init__(self, body: StreamBody, again: Callable[[], object] | None) -> None:
        self._body = body
        self._again = again
        self._second: Reply | None = None
        self._is_over = False

    async def next(self) -> bytes | list[Event] | None:
        try:
            return await self._body.next()
        except ProviderFailure:
            if self._again is None:
                self._is_over = True
                return None
            self._second = await self._again()  # type: ignore[misc]
            try:
                return await self._second.__anext__()
            finally:
                self._second.close()

    def abort(self) -> None:
        self._body.abort()

    def has_ended(self) -> bool:
        return self._is_over or self._body.has_ended()

    def content_bytes(self) -> int:
        return self._body.content_bytes()

    def usage(self) -> Usage | None:
        return self._body.usage()

    def finish(self) -> str | None:
        return self._body.finish()


class RetriesAfterContent(Dispatch):
    async def __call__(self, call: Call) -> Reply:
        ask = super().__call__
        reply = await ask(call)
        if reply._stream is not None:
            reply._stream = Altered(reply._stream, lambda: ask(call))
        return reply


class FeignsEnds(Dispatch):
    async def __call__(self, call: Call) -> Reply:
        reply = await super().__call__(call)
        if reply._stream is not None:
            reply._stream = Altered(reply._stream, None)
        return reply


class ForgetsWhoLeft(Account):
    def _enter(
        self,
        call: Call,
        kind: OutcomeKind,
        status: int,
        code: str,
        outcome: Outcome | None = None,
    ) -> None:
        if kind != "abandoned":
            super()._enter(call, kind, status, code, outcome)


class WritesTwice(Account):
    def _closed(self, call: Call, outcome: Outcome) -> None:
        super()._closed(call, outcome)
        if outcome.kind == "timeout":
            super()._closed(call, outcome)


class Patient(Timeout):
    async def __call__(self, call: Call) -> Reply:
        return await super().__call__(replace(call, deadline=call.deadline + 5.0))


class StaysBehind(Watch):
    __slots__ = ()

    def _closed(self, outcome: Outcome) -> None:
        pass


class Hoards(Purse):
    __slots__ = ()

    def settle(self, worst_nano: int, cost_nano: int) -> None:
        self._spent += cost_nano


def each_stack(layer: str, kind: type) -> Callable[[World], None]:
    def build_in(world: World) -> None:
        for stack in world.stacks.values():
            found = {
                "limits": stack.limits,
                "breaker": stack.breaker,
                "outage": stack.breaker._outage,
                "timeout": stack.limits.inner,
            }[layer]
            found.__class__ = kind

    return build_in


def each_route(kind: type) -> Callable[[World], None]:
    def build_in(world: World) -> None:
        for account in world.routes:
            if issubclass(kind, Account):
                account.__class__ = kind
            else:
                account.inner.__class__ = kind  # type: ignore[assignment]

    return build_in


def replies_told_twice(world: World) -> None:
    for stack in world.stacks.values():
        witness = stack.limits.inner.inner  # type: ignore[attr-defined]
        stack.limits.inner.inner = TellsTwice(witness)  # type: ignore[attr-defined]


def retries_without_end(world: World) -> None:
    for account in world.routes:
        assert isinstance(account.inner, Dispatch)
        account.inner._retries = UNLIMITED


def one_attempt_too_many(world: World) -> None:
    for account, spec in zip(world.routes, world.specs, strict=True):
        assert isinstance(account.inner, Dispatch)
        most = spec.fallback.max_attempts + 1
        account.inner.choice.route = dataclasses.replace(
            spec, fallback=dataclasses.replace(spec.fallback, max_attempts=most)
        )


FAULTS: dict[str, Callable[[World], None]] = {
    "a slot that is not given back when a client leaves": each_stack("limits", LeakySlots),
    "a probe's place that is not given back": each_stack("breaker", KeptProbe),
    "more than one probe at a time": each_stack("breaker", ManyProbes),
    "calls through an open breaker": each_stack("breaker", NeverOpen),
    "panics without end": each_stack("breaker", WildPanic),
    "a probe that fails twice": each_stack("breaker", CountedTwice),
    "a breaker that never reopens": each_stack("outage", NoWayBack),
    "a deadline that is not kept": each_stack("timeout", Patient),
    "listeners that are told twice": replies_told_twice,
    "a retry after content": each_route(RetriesAfterContent),
    "a cut stream that ends well": each_route(FeignsEnds),
    "a client who left without an entry": each_route(ForgetsWhoLeft),
    "an entry written twice": each_route(WritesTwice),
    "retries that nobody pays for": retries_without_end,
    "one attempt too many": one_attempt_too_many,
}


def noticed(build_in: Callable[[World], None] | None) -> str:
    for seed in range(MOST_TO_NOTICE):
        try:
            run_sequence(seed, break_it=build_in)
        except Violation as violation:
            return str(violation)
    return ""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_simulation_notices(fault: str) -> None:
    assert noticed(FAULTS[fault])


def test_the_simulation_notices_a_timer_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeout_module, "Watch", StaysBehind)
    assert "timers are left" in noticed(None)


def test_the_simulation_notices_money_that_stays_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.pipeline.dispatch.Purse", Hoards)
    assert "money is still held" in noticed(None)


def test_the_simulation_notices_a_loser_that_is_not_called_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def leave_them(runs: object, won: object) -> None:
        pass

    monkeypatch.setattr(race_module, "_end", leave_them)
    assert noticed(None)
