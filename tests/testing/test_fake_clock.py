from __future__ import annotations

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.clock import Clock
from pointsman.testing import FakeClock, settle


def as_clock(clock: Clock) -> Clock:
    """The type checker's own test that the fake has the real one's shape."""
    return clock


def test_time_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(start=5.0, epoch=100.0)
    assert (as_clock(clock).now(), clock.wall()) == (5.0, 100.0)
    clock.advance(2.5)
    assert (clock.now(), clock.wall()) == (7.5, 102.5)


def test_timers_run_in_order_of_their_moment_and_then_of_their_making() -> None:
    clock = FakeClock(start=0.0)
    ran: list[tuple[str, float]] = []

    def note(name: str) -> None:
        ran.append((name, clock.now()))

    for name, seconds in (("late", 3.0), ("first", 1.0), ("second", 1.0), ("later", 9.0)):
        clock.call_later(seconds, partial(note, name))
    clock.advance(3.0)
    assert ran == [("first", 1.0), ("second", 1.0), ("late", 3.0)]
    assert clock.pending == (9.0,)


def test_a_timer_set_by_a_timer_belongs_to_the_same_march() -> None:
    clock = FakeClock(start=0.0)
    ran: list[float] = []

    def again() -> None:
        ran.append(clock.now())
        if len(ran) < 5:
            clock.call_later(1.0, again)

    clock.call_later(1.0, again)
    clock.advance(3.0)
    assert ran == [1.0, 2.0, 3.0]


def test_a_cancelled_timer_never_runs() -> None:
    clock = FakeClock()
    ran: list[int] = []
    timer = clock.call_later(1.0, lambda: ran.append(1))
    timer.cancel()
    clock.advance(2.0)
    assert ran == [] and clock.pending == ()


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="only goes forward"):
        FakeClock().advance(-1.0)


def test_an_error_in_a_timer_comes_out_at_its_moment() -> None:
    clock = FakeClock(start=0.0)
    clock.call_later(1.0, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clock.advance(5.0)
    assert clock.now() == 1.0


async def test_a_sleeper_wakes_when_its_time_has_come_and_not_before() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(2.0))
    await settle()
    clock.advance(1.9)
    await settle()
    assert not task.done()
    clock.advance(0.1)
    await settle()
    assert task.done()


async def test_run_for_lets_a_woken_task_sleep_again_within_the_same_march() -> None:
    clock = FakeClock(start=0.0)
    woke: list[float] = []

    async def nap() -> None:
        for _ in range(3):
            await clock.sleep(1.0)
            woke.append(clock.now())

    task = asyncio.create_task(nap())
    await clock.run_for(2.5)
    assert woke == [1.0, 2.0] and clock.now() == 2.5
    await clock.run_for(1.0)
    assert woke == [1.0, 2.0, 3.0] and task.done()


async def test_a_cancelled_sleeper_leaves_no_timer() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(60.0))
    await settle()
    before = len(clock.pending)
    task.cancel()
    await settle()
    assert task.cancelled() and (before, len(clock.pending)) == (1, 0)


async def test_no_time_to_sleep_is_one_turn_of_the_loop() -> None:
    clock = FakeClock()
    turned: list[int] = []
    asyncio.get_running_loop().call_soon(turned.append, 1)
    await clock.sleep(0)
    assert turned == [1]


@given(st.lists(st.floats(0, 100), max_size=20), st.lists(st.floats(0, 30), max_size=8))
def test_however_it_is_cut_up_a_march_runs_the_same_timers(
    delays: list[float], steps: list[float]
) -> None:
    def run(moves: list[float]) -> list[int]:
        clock = FakeClock(start=0.0)
        ran: list[int] = []
        for number, delay in enumerate(delays):
            clock.call_later(delay, partial(ran.append, number))
        for move in moves:
            clock.advance(move)
        return ran

    cut_up = run(steps)
    expected = sorted(range(len(delays)), key=lambda n: (delays[n], n))
    assert cut_up == expected[: len(cut_up)]
    assert all(delays[n] > sum(steps) - 1e-6 for n in expected[len(cut_up) :])
