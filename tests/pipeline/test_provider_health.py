"""A provider that is out as a whole: found out once, probed once, back by a ramp."""

from __future__ import annotations

import pytest

from pointsman.config.settings import BreakerSettings
from pointsman.errors import Cause, FailureKind, ProviderFailure, Rejected
from pointsman.pipeline.breaker import Breaker
from pointsman.pipeline.outage import Change
from pointsman.pipeline.provider_health import ProviderHealth
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import ScriptedService, make_call


class Half:
    def random(self) -> float:
        return 0.5


class House:
    """A provider with some deployments, all of which answer "ok" unless told otherwise."""

    def __init__(self, clock: FakeClock, deployments: int) -> None:
        self.clock = clock
        self.heard: list[Change] = []
        settings, rng = BreakerSettings(), Half()
        self.provider = ProviderHealth("p", clock, settings, rng, self.heard.append)
        self.services = [ScriptedService(clock) for _ in range(deployments)]
        self.breakers = [
            Breaker(service, clock, settings, rng, f"d{place}", self.provider)
            for place, service in enumerate(self.services)
        ]
        self.provider.keep(self.breakers)

    async def ask(
        self,
        place: int,
        kind: FailureKind | None = None,
        cause: Cause = "",
        *,
        times: int = 1,
        panic: bool = False,
    ) -> str:
        told = ""
        for _ in range(times):
            step = "ok" if kind is None else ProviderFailure(kind, kind, cause=cause)
            self.services[place].steps = [step]
            try:
                async with await self.breakers[place](make_call(self.clock, panic=panic)):
                    told = "ok"
            except ProviderFailure as error:
                told = error.kind
            except Rejected as error:
                told = error.message
        return told

    @property
    def states(self) -> list[str]:
        return [breaker.state for breaker in self.breakers]


async def test_five_lost_connections_over_all_deployments_put_the_provider_out(
    clock: FakeClock,
) -> None:
    house = House(clock, 3)
    for place in (0, 1, 2, 0):
        await house.ask(place, "unavailable", "refused")
    assert house.states == ["closed"] * 3
    await house.ask(1, "unavailable", "refused")
    assert house.states == ["open"] * 3
    assert await house.ask(2) == (
        "deployment d2: breaker open (its provider p is out: connection refused ×5); "
        "next try in 0.8 s"
    )
    assert house.heard == [
        Change("provider:p", "unreachable", "connection refused ×5", wait_s=0.75)
    ]


async def test_any_answer_in_between_says_that_it_can_be_reached(clock: FakeClock) -> None:
    house = House(clock, 3)
    for kind in (None, "unavailable", "content_filter"):
        for place in (0, 1, 0, 1):
            await house.ask(place, "unavailable", "dns")
        await house.ask(2, kind)
    assert not house.provider.is_out


async def test_two_open_breakers_of_four_put_the_provider_out(clock: FakeClock) -> None:
    house = House(clock, 4)
    await house.ask(0, "unavailable", times=5)
    assert house.states == ["open", "closed", "closed", "closed"]
    await house.ask(1, "timeout", times=5)
    assert house.states == ["open"] * 4
    assert house.breakers[3].reason == "its provider p is out: 2 of 4 deployments fail"


async def test_one_broken_model_of_two_is_no_broken_provider(clock: FakeClock) -> None:
    house = House(clock, 2)
    await house.ask(0, "unavailable", times=5)
    assert house.states == ["open", "closed"]


async def test_a_deployment_that_has_just_answered_speaks_for_its_provider(
    clock: FakeClock,
) -> None:
    house = House(clock, 3)
    await house.ask(0, "unavailable", times=5)
    await house.ask(2)
    await house.ask(1, "unavailable", times=5)
    assert house.states == ["open", "open", "closed"]


@pytest.mark.parametrize("cause", ["", "quota"])
async def test_refused_keys_names_and_quotas_take_nobody_else_out(
    clock: FakeClock, cause: Cause
) -> None:
    house = House(clock, 4)
    for place in (0, 1, 2):
        await house.ask(place, "refused", cause, times=2)
    assert house.states == ["open", "open", "open", "closed"]
    assert await house.ask(3) == "ok"


async def test_one_probe_for_all_and_then_all_ramp(clock: FakeClock) -> None:
    house = House(clock, 3)
    await house.ask(0, "unavailable", "tls", times=5)
    clock.advance(0.749)
    assert house.states == ["open"] * 3
    clock.advance(0.001)
    assert [breaker.share for breaker in house.breakers] == [1.0, 1.0, 1.0]
    seen: list[list[float]] = []
    house.services[1].on_call = lambda: seen.append([each.share for each in house.breakers])
    assert await house.ask(1) == "ok"
    assert seen == [[0.0, 0.0, 0.0]]  # Nobody else while the probe was under way.
    assert house.states == ["half_open", "ramping", "ramping"]  # The first was open itself.
    assert house.heard[-1] == Change("provider:p", "recovered")
    assert house.breakers[2].share == pytest.approx(0.1)
    clock.advance(30)
    assert house.states == ["half_open", "closed", "closed"]
    assert house.breakers[2].is_closed


async def test_a_failed_probe_of_the_provider_waits_twice_as_long_for_all(
    clock: FakeClock,
) -> None:
    house = House(clock, 3)
    for place in (0, 1, 2, 0, 1):
        await house.ask(place, "unavailable", "refused")
    clock.advance(0.75)
    await house.ask(2, "unavailable", "refused")
    assert house.states == ["open"] * 3
    assert [each.reopens_in_s for each in house.breakers] == pytest.approx([1.5] * 3)
    assert [change.again for change in house.heard] == [False, True]


async def test_a_wrong_model_name_at_the_probe_says_nothing_of_the_provider(
    clock: FakeClock,
) -> None:
    house = House(clock, 3)
    for place in (0, 1, 2, 0, 1):
        await house.ask(place, "unavailable", "refused")
    clock.advance(0.75)
    assert await house.ask(0, "refused") == "refused"
    assert house.states == ["half_open"] * 3
    assert await house.ask(1) == "ok"
    assert house.states == ["ramping"] * 3


async def test_a_good_call_in_a_panic_brings_the_provider_back(clock: FakeClock) -> None:
    house = House(clock, 2)
    for place in (0, 1, 0, 1, 0):
        await house.ask(place, "timeout", "connect_timeout")
    assert await house.ask(0, panic=True) == "ok"
    assert house.states == ["ramping", "ramping"]


async def test_a_lost_probe_of_the_provider_makes_room_for_another(clock: FakeClock) -> None:
    house = House(clock, 2)
    for place in (0, 1, 0, 1, 0):
        await house.ask(place, "unavailable", "dns")
    clock.advance(0.75)
    house.provider.take_probe(clock.now(), 30.0)
    clock.advance(29.999)
    assert house.states == ["half_open", "half_open"]
    assert house.breakers[0].share == 0.0
    clock.advance(0.001)
    assert house.states == ["open", "open"]
    clock.advance(1.5)
    assert await house.ask(1) == "ok"


async def test_a_deployment_that_is_new_after_a_reload_shares_the_outage(clock: FakeClock) -> None:
    house = House(clock, 2)
    for place in (0, 1, 0, 1, 0):
        await house.ask(place, "unavailable", "refused")
    service = ScriptedService(clock)
    fresh = Breaker(service, clock, BreakerSettings(), Half(), "d2", house.provider)
    house.provider.keep([house.breakers[0], fresh])
    with pytest.raises(Rejected, match="connection refused"):
        await fresh(make_call(clock))
    clock.advance(0.75)
    assert await house.ask(0) == "ok"
    assert fresh.state == "ramping"


async def test_a_provider_with_one_deployment_leaves_everything_to_its_breaker(
    clock: FakeClock,
) -> None:
    house = House(clock, 1)
    await house.ask(0, "unavailable", "refused", times=5)
    assert not house.provider.is_out
    assert house.states == ["open"]
