"""One deadline: what cannot begin in time is not started, and nobody waits beyond it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.house import Does, House, Script, ended, fails

from pointsman.errors import AllFailed, DeadlineExceeded, PointsmanError
from pointsman.routing.spec import FallbackSpec
from pointsman.testing.clock import FakeClock


async def taught(house: House, name: str, seconds: float) -> None:
    """Let the deployment be measured: it begins after `seconds`."""
    meter = house.stacks[name].meter
    for streams in meter._streams:
        for _ in range(30):
            streams.add(seconds, house.clock.now())


async def test_who_begins_too_late_is_passed_over_for_who_does_not(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("unavailable", 3.0)], "slow": [], "quick": []})
    await taught(house, "slow", 3.0)
    assert await house.after(6, stream=True, timeout_s=5.0) == "quick"
    assert house.calls()["slow"] == 0


async def test_with_nobody_quick_enough_the_error_says_so(clock: FakeClock) -> None:
    once = FallbackSpec(retry_same=0)
    house = House(clock, {"a": [fails("unavailable", 3.0)], "slow": []}, fallback=once)
    await taught(house, "slow", 3.0)
    with pytest.raises(AllFailed, match=r"slow begins after 3\.0 s, 1\.9 s are left") as caught:
        await house.after(6, stream=True, timeout_s=5.0)
    assert (caught.value.status, caught.value.code) == (504, "deadline_exceeded")
    assert not caught.value.should_retry
    assert house.calls() == {"a": 1, "slow": 0}


async def test_a_first_attempt_that_cannot_fit_is_not_started(clock: FakeClock) -> None:
    house = House(clock, {"slow": []})
    await taught(house, "slow", 3.0)
    with pytest.raises(DeadlineExceeded, match="give the request more time"):
        await house.after(0, stream=True, timeout_s=2.0)
    assert house.calls() == {"slow": 0}
    assert await house.after(0, stream=True, timeout_s=4.0) == "slow"


async def test_one_slow_moment_does_not_shut_out_the_only_one(clock: FakeClock) -> None:
    """The peak of what was measured keeps a deployment out only where another would do."""
    house = House(clock, {"a": [Does(after_s=15.0)]})
    assert await house.after(16, stream=True, timeout_s=60.0) == "a"
    state = house.stacks["a"].state()
    assert state.ttft_s is not None
    assert state.ttft_s > 10
    assert await house.after(1, stream=True, timeout_s=5.0) == "a"


async def test_with_ample_time_nobody_is_looked_up(clock: FakeClock) -> None:
    """The expectations cost nothing where they cannot matter."""
    house = House(clock, {"a": []})
    await taught(house, "a", 29.0)
    call_means = []
    looked = house.dispatch.choice.means

    def means(*arguments: object, **more: object) -> object:
        call_means.append(looked(*arguments, **more))  # type: ignore[arg-type]
        return call_means[-1]

    house.dispatch.choice.means = means  # type: ignore[method-assign, assignment]
    assert await house.after(0, stream=True) == "a"
    assert call_means == [None]


async def test_the_margin_before_the_deadline_is_kept(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("unavailable", 4.96)], "b": []})
    with pytest.raises(AllFailed) as caught:
        await house.after(6, stream=True, timeout_s=5.0)
    assert caught.value.code == "deadline_exceeded"
    assert house.calls()["b"] == 0


kinds = st.sampled_from(
    ["throttled", "overloaded", "unavailable", "timeout", "refused", "malformed"]
)
steps = st.one_of(
    st.builds(fails, kinds, st.floats(0, 50), st.none() | st.floats(0, 10)),
    st.builds(Does, st.floats(0, 200)),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(steps, min_size=1, max_size=4), min_size=1, max_size=4),
    st.floats(0.1, 60),
    st.integers(1, 6),
    st.integers(0, 3),
    st.booleans(),
    st.integers(1, 5),
)
def test_no_call_outlasts_its_deadline(
    scripts: list[list[Does]],
    timeout_s: float,
    max_attempts: int,
    retry_same: int,
    stream: bool,
    requests: int,
) -> None:
    async def play() -> None:
        clock = FakeClock()
        house = House(
            clock,
            {f"d{i}": _again(script) for i, script in enumerate(scripts)},
            fallback=FallbackSpec(max_attempts=max_attempts, retry_same=retry_same),
        )
        for _ in range(requests):
            began = clock.now()
            task = asyncio.create_task(house.ask(stream=stream, timeout_s=timeout_s))
            assert await ended(clock, task) - began <= timeout_s + 0.25
            try:
                await task
            except PointsmanError as error:
                assert error.status in (429, 502, 503, 504)
            assert len(house.told[-1].attempts) <= max_attempts
        assert house.leftovers() == {}

    asyncio.run(play())


def _again(script: list[Does]) -> Script:
    """Play the script again and again."""
    steps = itertools.cycle(script)
    return lambda turn: next(steps)
