"""Deadlines are enforced and slots come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pointsman.domain.call import Timeouts
from pointsman.domain.deployment import Limits as Granted
from pointsman.errors import DeadlineExceeded, ProviderFailure, Rejected
from pointsman.pipeline.limits import Limits
from pointsman.pipeline.meter import Meter, PeakEwma
from pointsman.pipeline.timeout import Timeout
from pointsman.testing.clock import FakeClock, FakeTimer
from pointsman.testing.services import ScriptedService, make_call, make_deployment

TIMES = Timeouts(first_content_s=2.0, idle_s=3.0, whole_s=20.0, total_s=60.0)


async def test_no_content_in_time_is_a_timeout_and_the_attempt_is_cancelled(
    clock: FakeClock,
) -> None:
    service = ScriptedService(clock, [100.0])
    guard = Timeout(service, clock, "d0")
    task = asyncio.create_task(guard(make_call(clock, stream=True, timeouts=TIMES)))
    await clock.run_for(2.1)
    with pytest.raises(ProviderFailure, match="no content within 2 s") as caught:
        await task
    assert (caught.value.kind, caught.value.code) == ("timeout", "upstream_timeout")


async def test_the_calls_deadline_ends_an_attempt_before_its_own_limit(clock: FakeClock) -> None:
    guard = Timeout(ScriptedService(clock, [100.0]), clock, "d0")
    late = make_call(clock, stream=True, timeout_s=1.0, timeouts=TIMES)
    task = asyncio.create_task(guard(late))
    await clock.run_for(1.1)
    with pytest.raises(DeadlineExceeded):
        await task


async def test_a_whole_answer_may_take_longer_and_the_last_one_until_the_deadline(
    clock: FakeClock,
) -> None:
    guard = Timeout(ScriptedService(clock, [15.0, 50.0, 50.0]), clock, "d0")
    task = asyncio.create_task(guard(make_call(clock, timeouts=TIMES)))
    await clock.run_for(16)
    assert (await task).chat is not None
    task = asyncio.create_task(guard(make_call(clock, timeouts=TIMES)))
    await clock.run_for(21)
    with pytest.raises(ProviderFailure):
        await task
    last = make_call(clock, timeouts=TIMES, last_resort=True, timeout_s=60)
    task = asyncio.create_task(guard(last))
    await clock.run_for(51)
    assert (await task).chat is not None


async def test_a_cancelled_caller_is_not_mistaken_for_a_timeout(clock: FakeClock) -> None:
    guard = Timeout(ScriptedService(clock, [100.0]), clock, "d0")
    task = asyncio.create_task(guard(make_call(clock, timeouts=TIMES)))
    await clock.run_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stream_that_goes_quiet_is_failed(clock: FakeClock) -> None:
    guard = Timeout(ScriptedService(clock, [[b"a", None]]), clock, "d0")
    reply = await guard(make_call(clock, stream=True, timeouts=TIMES))
    await reply.__anext__()
    waiting = asyncio.ensure_future(reply.__anext__())
    await clock.run_for(6.1)
    with pytest.raises(ProviderFailure, match="no content for 3 s") as caught:
        await waiting
    assert caught.value.code == "upstream_stalled"
    reply.close()


class Counting(FakeClock):
    """A clock on which nobody may set timers without end."""

    timers = 0

    def call_later(self, seconds: float, callback: Callable[[], object]) -> FakeTimer:
        self.timers += 1
        assert self.timers < 1000, "timers are set in a circle"
        return super().call_later(seconds, callback)


@pytest.mark.parametrize("started", [1000.1 + place / 7 for place in range(60)])
async def test_a_rest_of_time_too_short_to_be_waited_for_is_over(started: float) -> None:
    """Found by the simulation: a timer of 1e-17 s was set again and again at the same moment."""
    clock = Counting(started)
    times = Timeouts(first_content_s=2.0, idle_s=0.3, total_s=60.0)
    guard = Timeout(ScriptedService(clock, [[b"one", b"ping", None]]), clock, "d0")
    reply = await guard(make_call(clock, stream=True, timeouts=times))
    assert await reply.__anext__() == b"one"
    for seconds in (0.1, 0.1):
        await clock.run_for(seconds)
    assert await reply.__anext__() == b"ping"
    waiting = asyncio.ensure_future(reply.__anext__())
    await clock.run_for(1.0)
    with pytest.raises(ProviderFailure, match=r"no content for 0\.3 s"):
        await waiting
    reply.close()


async def test_a_stream_past_the_deadline_is_ended(clock: FakeClock) -> None:
    guard = Timeout(ScriptedService(clock, [[b"a", None]]), clock, "d0")
    times = Timeouts(idle_s=100.0)
    reply = await guard(make_call(clock, stream=True, timeouts=times, timeout_s=5))
    await reply.__anext__()
    waiting = asyncio.ensure_future(reply.__anext__())
    await clock.run_for(5.1)
    with pytest.raises(DeadlineExceeded):
        await waiting
    reply.close()


async def test_slots_are_taken_and_come_back_however_a_call_ends(clock: FakeClock) -> None:
    service = ScriptedService(clock, [[b"a", None], ProviderFailure("unavailable", "x"), "ok"])
    guard = Limits(service, clock, make_deployment(limits=Granted(max_in_flight=1)))
    reply = await guard(make_call(clock, stream=True))
    assert guard.headroom == 0.0
    with pytest.raises(Rejected, match="slots"):
        await guard(make_call(clock))
    reply.close()
    with pytest.raises(ProviderFailure):
        await guard(make_call(clock))
    async with await guard(make_call(clock)):
        pass
    assert guard.headroom == 1.0


async def test_tokens_a_minute_are_taken_by_estimate_and_corrected(clock: FakeClock) -> None:
    granted = Granted(tokens_per_minute=300)
    guard = Limits(ScriptedService(clock), clock, make_deployment(limits=granted))
    for _ in range(10):  # 150 expected, 15 used each: the difference comes back.
        async with await guard(make_call(clock)):
            pass
    with pytest.raises(Rejected, match="tokens_per_minute") as caught:
        async with await guard(make_call(clock)):
            await guard(make_call(clock))
    assert caught.value.retry_after_s is not None
    clock.advance(60)
    assert guard.headroom == 1.0


async def test_the_meter_learns_speed_and_counts_what_is_under_way(clock: FakeClock) -> None:
    service = ScriptedService(clock, [[b"a", b"b"], 2.0, ProviderFailure("unavailable", "x")])
    meter = Meter(service, clock)
    async with await meter(make_call(clock, stream=True)) as reply:
        assert meter.in_flight == 1
        async for _ in reply:
            clock.advance(1.0)
    assert meter.in_flight == 0
    assert meter.ttft_s(0, clock.now()) == 0.5
    assert meter.per_token_s(clock.now()) == pytest.approx((2.0 - 0.5) / 4)
    task = asyncio.create_task(meter(make_call(clock)))
    await clock.run_for(2.1)
    (await task).close()
    assert meter.samples(clock.now()) == 2
    with pytest.raises(ProviderFailure):
        await meter(make_call(clock))
    assert meter.penalty_s(clock.now()) == 5.0  # Failing fast does not look fast.
    clock.advance(50)
    assert 0 < meter.penalty_s(clock.now()) < 0.05
    assert meter.in_flight == 0
    clock.advance(300)
    now = clock.now()
    assert (meter.samples(now), meter.ttft_s(0, now)) == (0, None)  # Long ago says nothing of now.


async def test_a_slow_sample_counts_at_once_and_wears_off(clock: FakeClock) -> None:
    average = PeakEwma()
    average.observe(0.1, clock.now())
    average.observe(9.0, clock.now())
    assert average.value == 9.0
    for _ in range(30):
        clock.advance(2)
        average.observe(0.1, clock.now())
    assert average.value < 0.2


async def test_a_last_one_that_had_all_the_time_it_should_need_is_to_blame(
    clock: FakeClock,
) -> None:
    guard = Timeout(ScriptedService(clock, [100.0, 100.0]), clock, "d0")
    task = asyncio.create_task(
        guard(make_call(clock, timeouts=TIMES, last_resort=True, timeout_s=30))
    )
    await clock.run_for(31)
    with pytest.raises(ProviderFailure):
        await task
    hurried = make_call(clock, timeouts=TIMES, last_resort=True, timeout_s=5)
    task = asyncio.create_task(guard(hurried))
    await clock.run_for(6)
    with pytest.raises(DeadlineExceeded):
        await task


async def test_tokens_of_an_attempt_that_was_not_billed_come_back(clock: FakeClock) -> None:
    free = ProviderFailure("throttled", "x", maybe_billed=False)
    billed = ProviderFailure("timeout", "x")
    service = ScriptedService(clock, [free, free, billed])
    guard = Limits(service, clock, make_deployment(limits=Granted(tokens_per_minute=300)))
    for _ in range(2):
        with pytest.raises(ProviderFailure):
            await guard(make_call(clock))
        assert guard.headroom == 1.0
    with pytest.raises(ProviderFailure):
        await guard(make_call(clock))
    assert guard.headroom == 0.5
