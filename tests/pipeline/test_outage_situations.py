"""How a route with two deployments lives through outages, request by request on a fake clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from pointsman.config.settings import BreakerSettings, Route
from pointsman.errors import FailureKind, PointsmanError, ProviderFailure
from pointsman.pipeline.account import Account
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.dispatch import Dispatch
from pointsman.pipeline.service import Reply
from pointsman.routing.retries import RetryBudget
from pointsman.routing.spec import FallbackSpec, PolicySpec
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import (
    ScriptedService,
    attempt_ids,
    make_call,
    make_deployment,
)

Mood = Callable[[], FailureKind | None]
"""How the next attempt fails; None: it does not."""


def well() -> FailureKind | None:
    return None


def dead() -> FailureKind | None:
    return "unavailable"


class Moody:
    """An upstream in a mood; counts what it was asked."""

    def __init__(self, clock: FakeClock, name: str) -> None:
        self.mood: Mood = well
        self.retry_after_s: float | None = None
        self.asked = 0
        self._answers = ScriptedService(clock, deployment=make_deployment(name))

    async def __call__(self, call: Call) -> Reply:
        self.asked += 1
        kind = self.mood()
        if kind is not None:
            raise ProviderFailure(kind, kind, retry_after_s=self.retry_after_s)
        return await self._answers(call)


class House:
    def __init__(self, strategy: str = "random") -> None:
        self.clock = clock = FakeClock()
        self.a, self.b = Moody(clock, "a"), Moody(clock, "b")
        self.stacks: dict[str, DeploymentStack] = {}
        for name, service in (("a", self.a), ("b", self.b)):
            deployment = make_deployment(name, adaptive=False)
            self.stacks[name] = deployment_stack(
                service, deployment, clock, BreakerSettings(), random.Random(name)
            )
        members = tuple(stack.deployment for stack in self.stacks.values())
        policy = PolicySpec(strategy, order=("a", "b"), explore=0.0)
        # Nobody waits here, so that a request takes no time.
        route = Route("auto", members, policy, FallbackSpec(retry_same=0))
        self.dispatch = Dispatch(
            route, self.stacks, clock, random.Random(7), RetryBudget(), attempt_ids()
        )
        self.account = Account(self.dispatch, clock, "auto", None, lambda _: None)

    async def ask(self) -> str:
        try:
            async with await self.account(make_call(self.clock)) as reply:
                return reply.deployment.name
        except PointsmanError as error:
            return error.code

    async def traffic(self, seconds: float, per_s: int = 20) -> Counter[str]:
        told: Counter[str] = Counter()
        for _ in range(int(seconds * per_s)):
            told[await self.ask()] += 1
            self.clock.advance(1 / per_s)
        return told


async def test_a_step_outage_of_one_of_two_is_unseen_and_soon_left_alone() -> None:
    house = House()
    await house.traffic(5)
    house.a.mood = dead
    before = house.a.asked
    told = await house.traffic(60)
    assert told == {"b": 1200}
    assert house.a.asked - before <= 5 + 10  # Five to open it, then a probe each time.
    assert house.stacks["a"].breaker.state in ("open", "half_open")


async def test_one_that_fails_every_other_time_is_left_alone_too() -> None:
    house = House()
    coin = random.Random(3)
    house.a.mood = lambda: "unavailable" if coin.random() < 0.5 else None
    told = await house.traffic(60)
    assert told["a"] + told["b"] >= 0.999 * told.total()
    assert house.a.asked < 0.2 * told.total()  # Its even part would be half.


async def test_a_wave_of_429_sends_nobody_there_until_its_time_is_over() -> None:
    house = House("static")
    house.a.mood, house.a.retry_after_s = (lambda: "throttled"), 7.0
    asked_at: list[float] = []
    started = house.clock.now()
    while house.clock.now() - started < 21:
        before = house.a.asked
        assert await house.ask() == "b"
        if house.a.asked > before:
            asked_at.append(round(house.clock.now() - started, 3))
        house.clock.advance(0.05)
    assert asked_at == pytest.approx([0.0, 7.0, 14.0], abs=0.151)


async def test_a_total_outage_is_asked_little_and_seen_to_be_over() -> None:
    house = House()
    house.a.mood = house.b.mood = dead
    told = await house.traffic(60)
    refused = told["upstream_unavailable"]
    assert refused > 0.85 * told.total()
    asked = house.a.asked + house.b.asked
    assert asked <= 1.1 * (told.total() - refused) + 60  # The retry budget and its floor.
    house.a.mood = house.b.mood = well
    healed_at = house.clock.now()
    while await house.ask() not in ("a", "b"):
        house.clock.advance(0.05)
        assert house.clock.now() - healed_at <= 1.05  # A panic call a second finds it out.
    await house.traffic(100)  # The other one waits for a minute at most, and ramps up.
    assert [stack.breaker.state for stack in house.stacks.values()] == ["closed", "closed"]


async def test_a_clock_that_stands_still_lets_nobody_through_and_locks_nothing() -> None:
    house = House()
    house.a.mood = house.b.mood = dead
    for _ in range(200):
        await house.ask()
    asked = house.a.asked + house.b.asked
    assert asked <= 2 * (5 + 1)  # Five each to open, and one in a panic.
    house.a.mood = house.b.mood = well
    house.clock.advance(1.0)
    assert await house.ask() in ("a", "b")


@pytest.mark.parametrize("ramped_s", [0.0, 7.5, 15.0, 22.5])
async def test_on_its_way_back_it_gets_its_share_within_five_percent(ramped_s: float) -> None:
    """Of an even part: with its breaker closed it would have half of the first choices."""
    house = House()
    house.a.mood = dead
    await house.traffic(3)
    house.a.mood = well
    while house.stacks["a"].breaker.state != "ramping":
        await house.ask()
        house.clock.advance(0.05)
    house.clock.advance(max(0.0, ramped_s - 0.05))
    chosen: Counter[str] = Counter()
    draws, call = random.Random(5), make_call(house.clock)
    for turn in range(4000):
        decision = house.dispatch.consider(house.dispatch.features(call), draws, turn)
        chosen[decision.candidates[0].deployment.name] += 1
    share = house.stacks["a"].breaker.share
    assert share == pytest.approx(0.1 + 0.9 * ramped_s / 30, abs=0.01)
    assert chosen["a"] / 4000 == pytest.approx(share / 2, abs=0.05)
