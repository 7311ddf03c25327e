"""The breaker's states, to the second."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.config.settings import BreakerSettings
from pointsman.errors import Cause, FailureKind, InvalidRequest, ProviderFailure, Rejected
from pointsman.pipeline.breaker import Breaker
from pointsman.pipeline.call import Call
from pointsman.pipeline.outage import Change
from pointsman.pipeline.service import Reply
from pointsman.testing.clock import FakeClock, settle
from pointsman.testing.services import ScriptedService, make_call


class Half:
    """Randomness that is always one half."""

    def random(self) -> float:
        return 0.5


def state_of(guard: Breaker) -> str:
    return guard.state


def breaker(service: ScriptedService, clock: FakeClock) -> Breaker:
    return Breaker(service, clock, BreakerSettings(), Half(), "d0")


def failure(
    kind: FailureKind, retry_after_s: float | None = None, cause: Cause = ""
) -> ProviderFailure:
    return ProviderFailure(kind, kind, retry_after_s=retry_after_s, cause=cause)


async def attempt(guard: Breaker, clock: FakeClock, **more: object) -> str:
    try:
        async with await guard(make_call(clock, **more)):  # type: ignore[arg-type]
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
    """Two calls are under way; the second one to fail asks for less than the first."""
    service = ScriptedService(clock, [[b"a", failure("throttled")], failure("throttled", 60.0)])
    guard = breaker(service, clock)
    early = await guard(make_call(clock, stream=True))
    await attempt(guard, clock)
    clock.advance(1)
    with pytest.raises(ProviderFailure):
        async with early:
            async for _ in early:
                pass
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


async def opened(service: ScriptedService, clock: FakeClock) -> Breaker:
    """A breaker that five failures have just opened, for 750 ms."""
    service.steps[:0] = [failure("unavailable")] * 5
    guard = breaker(service, clock)
    for _ in range(5):
        await attempt(guard, clock)
    return guard


async def test_it_opens_and_half_opens_to_the_millisecond(clock: FakeClock) -> None:
    guard = await opened(ScriptedService(clock), clock)
    clock.advance(0.749)
    assert (state_of(guard), guard.share) == ("open", 0.0)
    clock.advance(0.001)
    assert (state_of(guard), guard.share) == ("half_open", 1.0)


async def test_a_429_fails_the_probe_and_its_retry_after_is_waited_for(clock: FakeClock) -> None:
    service = ScriptedService(clock, [failure("throttled", 7.0), "ok"])
    guard = await opened(service, clock)
    clock.advance(0.75)
    assert await attempt(guard, clock) == "throttled"
    assert (state_of(guard), guard.reopens_in_s) == ("open", 7.0)
    clock.advance(6.999)
    assert await attempt(guard, clock) == "breaker_open"
    clock.advance(0.001)
    assert await attempt(guard, clock) == "ok"


async def test_a_probe_whose_client_left_is_neutral_and_makes_room(clock: FakeClock) -> None:
    guard = await opened(ScriptedService(clock, [5.0, "ok"]), clock)
    clock.advance(1)
    probe = asyncio.create_task(attempt(guard, clock))
    await settle()
    assert guard.share == 0.0
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert (state_of(guard), guard.share) == ("half_open", 1.0)
    assert guard.opened == 1
    assert await attempt(guard, clock) == "ok"


async def test_a_verdict_on_the_probes_request_says_nothing_of_the_deployment(
    clock: FakeClock,
) -> None:
    guard = await opened(ScriptedService(clock, [failure("context_length")]), clock)
    clock.advance(1)
    assert await attempt(guard, clock) == "context_length"
    assert (state_of(guard), guard.share, guard.opened) == ("half_open", 1.0, 1)


async def test_a_probe_without_content_is_lost_at_the_first_content_limit(
    clock: FakeClock,
) -> None:
    """Also where the call itself may wait longer, as the last resort of a whole answer may."""
    service = ScriptedService(clock, [1000.0, "ok"])
    guard = await opened(service, clock)
    clock.advance(0.75)
    lost = asyncio.create_task(attempt(guard, clock, last_resort=True))
    await settle()
    clock.advance(29.999)
    assert (state_of(guard), guard.share) == ("half_open", 0.0)
    clock.advance(0.001)
    assert state_of(guard) == "open"
    assert guard.reopens_in_s == pytest.approx(1.5)
    clock.advance(1.5)
    assert await attempt(guard, clock) == "ok"
    assert state_of(guard) == "ramping"
    lost.cancel()


async def test_a_probe_that_times_out_at_its_limit_is_counted_once(clock: FakeClock) -> None:
    """Found by the simulation: it was lost and had failed, and the backoff doubled twice."""
    guard = await opened(ScriptedService(clock, []), clock)
    clock.advance(0.75)

    async def hang_until_the_limit(call: Call) -> Reply:
        clock.advance(30.0)
        raise failure("timeout")

    guard.inner = hang_until_the_limit
    assert await attempt(guard, clock) == "timeout"
    assert guard.opened == 2
    assert guard.reopens_in_s == pytest.approx(1.5)


async def test_content_of_a_lost_probe_is_good_news_all_the_same(clock: FakeClock) -> None:
    guard = await opened(ScriptedService(clock, [40.0]), clock)
    clock.advance(0.75)
    late = asyncio.create_task(attempt(guard, clock))
    await clock.run_for(40)
    assert await late == "ok"
    assert state_of(guard) == "ramping"


async def test_what_was_let_through_before_it_opened_is_not_counted_after(
    clock: FakeClock,
) -> None:
    """Five calls from before the outage fail while the deployment ramps up again."""
    early: list[object] = [[b"a", failure("unavailable")] for _ in range(5)]
    service = ScriptedService(clock, early)
    guard = breaker(service, clock)
    replies = [await guard(make_call(clock, stream=True)) for _ in range(5)]
    service.steps = [failure("unavailable")] * 5
    for _ in range(5):
        await attempt(guard, clock)
    clock.advance(1)
    assert await attempt(guard, clock) == "ok"
    for reply in replies:
        with pytest.raises(ProviderFailure):
            async with reply:
                async for _ in reply:
                    pass
    assert (state_of(guard), guard.opened) == ("ramping", 1)


async def test_one_failure_does_not_end_a_ramp_and_two_in_a_row_do(clock: FakeClock) -> None:
    fail = failure("overloaded")
    guard = await opened(ScriptedService(clock, ["ok", fail, "ok", fail, fail]), clock)
    clock.advance(1)
    for _ in range(4):
        await attempt(guard, clock)
    assert state_of(guard) == "ramping"
    await attempt(guard, clock)
    assert state_of(guard) == "open"


async def test_the_doublings_are_forgotten_only_after_a_time_in_service(clock: FakeClock) -> None:
    service = ScriptedService(clock)
    guard = await opened(service, clock)
    waits = []
    for in_service_s in (31, 61):  # The ramp takes 30 s, a whole window 30 s more.
        clock.advance(guard.reopens_in_s)
        assert await attempt(guard, clock) == "ok"
        clock.advance(in_service_s)
        assert state_of(guard) == "closed"
        service.steps = [failure("unavailable")] * 5
        for _ in range(5):
            await attempt(guard, clock)
        waits.append(guard.reopens_in_s)
    assert waits == pytest.approx([1.5, 0.75])


async def test_thousands_of_failed_probes_wait_a_minute_at_most(clock: FakeClock) -> None:
    service = ScriptedService(clock)
    guard = await opened(service, clock)
    for _ in range(3000):
        clock.advance(guard.reopens_in_s)
        service.steps = [failure("unavailable")]
        await attempt(guard, clock)
        assert guard.reopens_in_s <= 60.0


@pytest.mark.parametrize("retry_after_s", [None, 0.02])
async def test_a_used_up_quota_is_asked_for_once_each_interval(
    clock: FakeClock, retry_after_s: float | None
) -> None:
    """A hint of milliseconds is of another limit: those headers come with every answer."""
    spent = failure("refused", retry_after_s, "quota")
    service = ScriptedService(clock, [spent] * 100)
    guard = breaker(service, clock)
    for _ in range(900):
        await attempt(guard, clock)
        clock.advance(1)
    assert len(service.calls) == 3
    assert guard.reason == "the account's quota is used up"


async def test_a_used_up_quota_is_left_alone_until_its_reset_date(clock: FakeClock) -> None:
    day = 86_400.0
    service = ScriptedService(clock, [failure("refused", day, "quota")])
    guard = breaker(service, clock)
    assert await attempt(guard, clock) == "refused"
    clock.advance(day - 0.001)
    assert await attempt(guard, clock, panic=True) == "breaker_open"
    clock.advance(0.001)
    assert await attempt(guard, clock) == "ok"


async def test_operators_are_told_once_of_a_quota_a_key_and_an_outage(clock: FakeClock) -> None:
    heard: list[Change] = []
    service = ScriptedService(clock)
    guard = Breaker(service, clock, BreakerSettings(), Half(), "d0", tell=heard.append)
    for cause, steps in (
        ("quota", [failure("refused", cause="quota")] * 3),
        ("credential", [failure("refused")] * 4),
        ("failing", [failure("unavailable")] * 7),
    ):
        heard.clear()
        service.steps = [*steps]
        for _ in steps:
            clock.advance(guard.reopens_in_s)
            await attempt(guard, clock)
        assert [change.cause for change in heard] == [cause] * 3
        assert [change.again for change in heard] == [False, True, True]
        clock.advance(guard.reopens_in_s)
        assert await attempt(guard, clock) == "ok"
        assert heard[-1] == Change("d0", "recovered")
        clock.advance(61)


async def test_a_panic_lets_one_call_a_second_through_and_a_bad_one_changes_nothing(
    clock: FakeClock,
) -> None:
    service = ScriptedService(clock)
    guard = await opened(service, clock)
    for _ in range(4):  # Until it waits several seconds.
        clock.advance(guard.reopens_in_s)
        service.steps = [failure("unavailable")]
        await attempt(guard, clock)
    reopens_at = clock.now() + guard.reopens_in_s
    made = len(service.calls)
    for _ in range(30):
        service.steps = [failure("unavailable")]
        asked = guard.may_panic(clock.now())
        told = await attempt(guard, clock, panic=True)
        assert told == ("unavailable" if asked else "breaker_open")
        clock.advance(0.1)
    assert len(service.calls) - made == 3
    assert clock.now() + guard.reopens_in_s == pytest.approx(reopens_at)


async def test_a_good_call_in_a_panic_is_a_good_probe(clock: FakeClock) -> None:
    guard = await opened(ScriptedService(clock), clock)
    assert await attempt(guard, clock, panic=True) == "ok"
    assert state_of(guard) == "ramping"


async def test_no_panic_while_it_cools_down_and_none_for_a_refused_key(clock: FakeClock) -> None:
    cooling = breaker(ScriptedService(clock, [failure("throttled", 5.0)]), clock)
    await attempt(cooling, clock)
    assert not cooling.may_panic(clock.now())
    assert await attempt(cooling, clock, panic=True) == "breaker_open"
    keyless = breaker(ScriptedService(clock, [failure("refused")] * 2), clock)
    for _ in range(2):
        await attempt(keyless, clock)
    assert not keyless.may_panic(clock.now())
    assert await attempt(keyless, clock, panic=True) == "breaker_open"


async def test_replicas_do_not_come_back_together(clock: FakeClock) -> None:
    waits = []
    for seed in range(20):
        service = ScriptedService(clock, [failure("unavailable")] * 5)
        guard = Breaker(service, clock, BreakerSettings(), random.Random(seed), "d0")
        for _ in range(5):
            await attempt(guard, clock)
        waits.append(guard.reopens_in_s)
    assert all(0.5 <= wait <= 1.0 for wait in waits)
    assert max(waits) - min(waits) > 0.3


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
