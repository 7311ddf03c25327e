"""The courier: tries again, gives up, and lets no sink wait for another."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.alerts.conftest import told

from pointsman.alerts.alert import Told
from pointsman.alerts.delivery import GIVE_UP_S, Courier
from pointsman.alerts.outbox import Due
from pointsman.alerts.sinks import NotTaken
from pointsman.testing import settle

NOW = 1_700_000_000.0


def due(sink: str = "good", tries: int = 1, since: float = NOW) -> Due:
    return Due(sink, 1, tries, since, told())


class Sink:
    def __init__(self, problem: str = "", hangs: bool = False) -> None:
        self.problem = problem
        self.taken = 0
        self.hangs = asyncio.Event()
        if not hangs:
            self.hangs.set()

    async def __call__(self, told: Told) -> None:
        await self.hangs.wait()
        if self.problem:
            raise NotTaken(self.problem)
        self.taken += 1


class Notes(list[tuple[str, str, float | None]]):
    async def __call__(self, due: Due, problem: str, again_s: float | None) -> None:
        self.append((due.sink, problem, again_s))


def courier(notes: Notes, **sinks: Sink) -> Courier:
    return Courier(sinks, notes, lambda: NOW, random.Random(1))


async def test_one_that_hangs_delays_nobody_else() -> None:
    notes, bad, good = Notes(), Sink(hangs=True), Sink()
    each = courier(notes, bad=bad, good=good)
    each.bring([due("bad"), due(), due()])
    await settle()
    assert good.taken == 2
    assert each.idle == ["good"]
    await each.close(0.01)
    assert bad.taken == 0
    assert notes == [("good", "", None)] * 2


async def test_it_tries_later_and_later_and_then_gives_up() -> None:
    each = courier(Notes(), good=Sink())
    waits = [each.wait(due(tries=tries)) for tries in range(1, 12)]
    bare = [2.0 * 2**n for n in range(8)] + [300.0] * 3
    for wait, expected in zip(waits, bare, strict=True):
        assert wait is not None
        assert wait == pytest.approx(min(300.0, expected), rel=0.25)
    assert each.wait(due(since=NOW - GIVE_UP_S)) is None
    assert each.wait(due(tries=10_000)) is not None


async def test_what_was_not_taken_is_noted() -> None:
    notes = Notes()
    each = courier(notes, good=Sink("status 500"))
    each.bring([due(), due(since=NOW - GIVE_UP_S)])
    await settle()
    assert [(problem, again is None) for _, problem, again in notes] == [
        ("status 500", False),
        ("status 500", True),
    ]
    assert each.idle == ["good"]


async def test_a_sink_that_was_taken_away_is_sent_nothing() -> None:
    notes, old, new = Notes(), Sink(), Sink()
    each = courier(notes, good=old)
    each.bring([due()])
    each.follow({"other": new})
    await settle()
    assert (old.taken, new.taken) == (0, 0)
    each.bring([due("other")])
    await settle()
    assert new.taken == 1
