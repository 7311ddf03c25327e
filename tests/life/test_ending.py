"""In which order a worker ends, by the clock."""

from __future__ import annotations

import asyncio

import pytest

from pointsman.health import Health
from pointsman.server.ending import LINGER_VARIABLE, Ending, How, linger_s
from pointsman.testing import FakeClock, settle


class Server:
    """Notes what it is told; `finish` returns when `quiet` is set, at once for 0 seconds."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.told: list[tuple[str, float]] = []
        self.quiet = asyncio.Event()

    def _note(self, what: str) -> None:
        self.told.append((what, self.clock.now() - 1000.0))

    def drain(self) -> None:
        self._note("drain")

    def stop_accepting(self) -> None:
        self._note("stop accepting")

    async def finish(self, seconds: float) -> None:
        self._note(f"finish {seconds:g}")
        if seconds:
            await self.quiet.wait()


class House:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = Server(self.clock)
        self.vitals = Health(phase="serving")
        self.ending = Ending(self.server, self.vitals, self.clock, 2.0)

    async def end(self, how: How) -> asyncio.Task[None]:
        self.ending.ask(how, insist=True)
        await self.ending.asked()
        task = asyncio.create_task(self.ending.carry_out(120.0))
        await settle()
        return task


async def test_a_stop_goes_on_accepting_for_two_seconds_and_is_unready_at_once() -> None:
    house = House()
    task = await house.end("stop")
    assert house.vitals.phase == "draining"
    assert house.server.told == [("drain", 0)]
    await house.clock.run_for(2.0)
    assert house.server.told[1:] == [("stop accepting", 2), ("finish 120", 2)]
    assert not task.done()
    house.server.quiet.set()
    await task


async def test_to_quit_is_the_same_without_the_wait() -> None:
    house = House()
    house.server.quiet.set()
    await (await house.end("quit"))
    assert house.server.told == [("drain", 0), ("stop accepting", 0), ("finish 120", 0)]
    assert house.vitals.phase == "draining"


async def test_one_that_retires_accepts_nothing_and_stays_ready() -> None:
    house = House()
    house.server.quiet.set()
    task = await house.end("retire")
    assert house.server.told == [("drain", 0), ("stop accepting", 0)]
    await house.clock.run_for(2.0)
    await task
    assert house.server.told[2:] == [("finish 120", 2)]
    assert house.vitals.phase == "serving"


@pytest.mark.parametrize("after_s", [0.5, 3.0])
async def test_a_second_request_to_stop_ends_at_once(after_s: float) -> None:
    house = House()
    task = await house.end("stop")
    await house.clock.run_for(after_s)
    house.ending.ask("stop", insist=True)
    await task
    assert house.server.told[-2:] == [("stop accepting", after_s), ("finish 0", after_s)]


async def test_a_lost_parent_does_not_hurry_what_is_ending_already() -> None:
    house = House()
    task = await house.end("stop")
    house.ending.ask("quit")
    await house.clock.run_for(2.0)
    assert not task.done()
    house.server.quiet.set()
    await task


async def test_a_stop_does_not_hurry_one_that_retires() -> None:
    house = House()
    task = await house.end("retire")
    house.ending.ask("stop", insist=True)
    await house.clock.run_for(2.0)
    assert not task.done()
    house.ending.ask("stop", insist=True)
    await task
    assert house.server.told[-1][0] == "finish 0"


@pytest.mark.parametrize(("said", "seconds"), [(None, 2.0), ("0", 0.0), ("0.5", 0.5), ("x", 2.0)])
def test_the_wait_can_be_set_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, said: str | None, seconds: float
) -> None:
    monkeypatch.delenv(LINGER_VARIABLE, raising=False)
    if said is not None:
        monkeypatch.setenv(LINGER_VARIABLE, said)
    assert linger_s() == seconds
