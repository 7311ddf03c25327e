"""The breaker's states, to the second."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.config.settings import BreakerSettings
from pointsman.errors import FailureKind, InvalidRequest, ProviderFailure, Rejected
from pointsman.pipeline.breaker import Breaker
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import ScriptedService, make_call


class Half:
    """Randomness that is always one half."""

    def random(self) -> float:
        return 0.5


def state_of(guard: Breaker) -> str:
    return guard.state


def breaker(service: ScriptedService, clock: FakeClock) -> Breaker:
    return Breaker(service, clock, BreakerSettings(), Half(), "d0")


def failure(kind: FailureKind, retry_after_s: float | None = None) -> ProviderFailure:
    return ProviderFailure(kind, kind, retry_after_s=retry_after_s)


async def attempt(guard: Breaker, clock: FakeClock) -> str:
    try:
        async with await guard(make_call(clock)):
            return "ok"
    except ProviderFailure as error:
        return error.kind
    except Rejected as error:
        return error.code


async def test_five_hard_failures_in_a_row_open_it_and_nothing_gets_through(
    clock: FakeClock,
) -> None:
    service = ScriptedService(clock, [failure("unavailable")] * 5)
    guard = breaker(service, clock)
    for _ in range(5):
        assert await attempt(guard, clock) == "unavailable"
    assert state_of(guard) == "open"
    assert await attempt(guard, clock) == "breaker_open"
    assert len(service.calls) == 5


async def test_a_success_in_between_keeps_a_streak_from_opening_it(clock: FakeClock) -> None:
    fail = failure("unavailable")
    service = ScriptedService(clock, [fail, fail, fail, fail, "ok", fail])
    guard = breaker(service, clock)
    for _ in range(6):
        await attempt(guard, clock)
    assert state_of(guard) == "closed"


async def test_a_low_share_of_successes_opens_it_though_every_fifth_works(
    clock: FakeClock,
) -> None:
    fail = failure("overloaded")
    service = ScriptedService(clock, [fail, fail, fail, fail, "ok"] * 3)
    guard = breaker(service, clock)
    for _ in range(11):
        await attempt(guard, clock)
    assert state_of(guard) == "open"
    assert guard.reason == "9 of 11 failed in 30 s"


async def test_old_failures_leave_the_window(clock: FakeClock) -> None:
    fail = failure("overloaded")
    service = ScriptedService(clock, [fail, "ok"] * 4 + ["ok"] * 40)
    guard = breaker(service, clock)
    for _ in range(8):
        await attempt(guard, clock)
    clock.advance(31)
    for _ in range(10):
        assert await attempt(guard, clock) == "ok"


async def test_one_probe_at_a_time_then_a_ramp_then_closed(clock: FakeClock) -> None:
    service = ScriptedService(clock, [failure("timeout")] * 5 + [[b"content"]])
    guard = breaker(service, clock)
    for _ in range(5):
        await attempt(guard, clock)
    assert guard.reopens_in_s == pytest.approx(0.75)  # equal jitter of 1 s with one half
    clock.advance(0.8)
    assert state_of(guard) == "half_open"
    seen: list[float] = []
    service.on_call = lambda: seen.append(guard.share)
    reply = await guard(make_call(clock, stream=True))
    assert seen == [0.0]  # While the probe was under way nobody else was let in.
    assert state_of(guard) == "ramping"  # First content is a success; the stream still runs.
    reply.close()
    clock.advance(15)
    assert guard.share == pytest.approx(0.55)
    clock.advance(16)
    assert (state_of(guard), guard.share) == ("closed", 1.0)


async def test_a_failed_probe_opens_it_for_longer(clock: FakeClock) -> None:
    service = ScriptedService(clock, [failure("unavailable")] * 7)
    guard = breaker(service, clock)
    waits = []
    for _ in range(5):
        await attempt(guard, clock)
    for _ in range(2):
        waits.append(guard.reopens_in_s)
        clock.advance(guard.reopens_in_s)
        assert await attempt(guard, clock) == "unavailable"
    waits.append(guard.reopens_in_s)
    assert waits == pytest.approx([0.75, 1.5, 3.0])


async def test_while_ramping_it_tells_its_share_and_refuses_nobody(clock: FakeClock) -> None:
    """The policy gives it its share of first choices; as a fallback it is better than nobody."""
    service = ScriptedService(clock, [failure("timeout")] * 5)
    guard = breaker(service, clock)
    for _ in range(5):
        await attempt(guard, clock)
    clock.advance(1)
    assert await attempt(guard, clock) == "ok"
    shares = []
    for _ in range(3):
        shares.append(guard.share)
        assert await attempt(guard, clock) == "ok"
        clock.advance(10)
    assert shares == pytest.approx([0.1, 0.4, 0.7])


async def test_a_429_cools_down_for_as_long_as_asked_and_is_no_failure(clock: FakeClock) -> None:
    steps = [failure("throttled", 7.0), failure("throttled", 2.0)]
    service = ScriptedService(clock, [*steps])
    guard = breaker(service, clock)
    assert await attempt(guard, clock) == "throttled"
    assert (state_of(guard), guard.share, guard.reopens_in_s) == ("closed", 0.0, 7.0)
    assert await attempt(guard, clock) == "breaker_open"
    clock.advance(7)
    assert guard.share == 1.0


async def test_the_longer_cooling_holds(clock: FakeClock) -> None:
    service = ScriptedService(clock, [failure("throttled", 60.0)])
    guard = breaker(service, clock)
    await attempt(guard, clock)
    clock.advance(1)
    guard._failed("throttled", 3.0)
    assert guard.reopens_in_s == 59.0


async def test_a_refused_credential_is_put_aside_after_two(clock: FakeClock) -> None:
    service = ScriptedService(clock, [failure("refused")] * 2)
    guard = breaker(service, clock)
    await attempt(guard, clock)
    assert state_of(guard) == "closed"
    await attempt(guard, clock)
    assert state_of(guard) == "open"


@pytest.mark.parametrize("kind", ["content_filter", "context_length"])
async def test_a_judgement_of_one_request_never_tells_against_the_deployment(
    clock: FakeClock, kind: FailureKind
) -> None:
    service = ScriptedService(clock, [failure(kind)] * 50)
    guard = breaker(service, clock)
    for _ in range(50):
        await attempt(guard, clock)
    assert state_of(guard) == "closed"


async def test_the_callers_mistake_is_not_the_providers_failure(clock: FakeClock) -> None:
    service = ScriptedService(clock, [InvalidRequest("no")] * 20)
    guard = breaker(service, clock)
    for _ in range(20):
        with pytest.raises(InvalidRequest):
            await guard(make_call(clock))
    assert state_of(guard) == "closed"


async def test_a_stream_that_fails_after_content_counts_when_it_closes(clock: FakeClock) -> None:
    service = ScriptedService(clock, [[b"a", failure("malformed")] for _ in range(5)])
    guard = breaker(service, clock)
    for _ in range(5):
        with pytest.raises(ProviderFailure):
            async with await guard(make_call(clock, stream=True)) as reply:
                async for _ in reply:
                    pass
    assert state_of(guard) == "open"


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    steps=st.lists(
        st.sampled_from(["ok", "unavailable", "throttled", "refused", "content_filter", "wait"]),
        max_size=80,
    ),
)
async def test_it_never_locks_for_good(seed: int, steps: list[str]) -> None:
    """Whatever happened: after the longest wait it lets somebody try, and heals on success."""
    clock = FakeClock()
    service = ScriptedService(clock)
    guard = Breaker(service, clock, BreakerSettings(), random.Random(seed), "d0")
    for step in steps:
        if step == "wait":
            clock.advance(5)
            continue
        service.steps = [step if step == "ok" else failure(step)]  # type: ignore[arg-type]
        await attempt(guard, clock)
    clock.advance(61)
    service.steps = []
    assert guard.share > 0
    async with await guard(make_call(clock, last_resort=True)):
        pass
    clock.advance(31)
    assert state_of(guard) == "closed"
