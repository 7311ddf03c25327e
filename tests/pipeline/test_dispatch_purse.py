"""One purse: what a call may cost spans every attempt of it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.house import Does, House, ended, fails, failure

from pointsman.domain.request import RouteOptions
from pointsman.domain.usage import Price, Rates, Usage
from pointsman.errors import AllFailed, FailureKind, NoCandidate, PointsmanError, Unsupported
from pointsman.pipeline.purse import Purse
from pointsman.routing.spec import FallbackSpec, HedgeSpec
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import make_call

# Every deployment of the house answers 100 tokens at most.
IN, OUT = 1_000, 2_000
"""nano-USD a token."""


def worst(house: House) -> int:
    """The most one attempt may cost."""
    return house.worst_nano()


def limited(nano: int) -> RouteOptions:
    return RouteOptions(max_cost_nano=nano)


async def test_a_call_without_a_limit_has_no_purse(clock: FakeClock) -> None:
    house = House(clock, {"a": []})
    call = make_call(clock)
    async with await house.account(call):
        assert call.trail.purse is None


async def test_one_that_may_have_been_billed_keeps_its_worst_case(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("timeout")], "b": []})
    most = worst(house)
    with pytest.raises(AllFailed, match=r"b may cost .* are left of what it may cost") as caught:
        await house.ask(options=limited(2 * most - 1))
    assert caught.value.status == 504
    assert house.calls() == {"a": 1, "b": 0}
    assert await house.ask(options=limited(2 * most)) == "a"


async def test_one_that_was_not_billed_gives_it_back(clock: FakeClock) -> None:
    unbilled = Does(0, failure("throttled", maybe_billed=False))
    house = House(clock, {"a": [unbilled], "b": []})
    assert await house.ask(options=limited(worst(house))) == "b"


async def test_our_own_refusal_costs_nothing(clock: FakeClock) -> None:
    house = House(clock, {"a": [Does(0, Unsupported("no tools"))], "b": []})
    assert await house.ask(options=limited(worst(house))) == "b"
    assert house.tried() == [("b", "ok")]


async def test_who_is_too_dear_for_the_rest_is_passed_over(clock: FakeClock) -> None:
    cheap = Price(Rates.of(1_000, 2_000), version="test")
    house = House(
        clock,
        {"a": [fails("malformed")], "dear": [], "cheap": []},
        changes={"cheap": {"price": cheap}},
    )
    most = worst(house)
    assert await house.ask(options=limited(most + most // 2)) == "cheap"


async def test_an_unknown_price_passes_no_limit(clock: FakeClock) -> None:
    house = House(clock, {"a": []}, changes={"a": {"price": None}})
    with pytest.raises(NoCandidate, match="price is unknown"):
        await house.ask(options=limited(10**12))


async def test_a_routes_own_bound_spans_all_attempts_too(clock: FakeClock) -> None:
    probe = House(clock, {"a": []})
    bound = {"max_cost_nano": worst(probe) + 1}
    house = House(clock, {"a": [fails("malformed")], "b": []}, policy=bound)
    with pytest.raises(AllFailed) as caught:
        await house.ask()
    assert (caught.value.status, caught.value.code) == (502, "upstream_protocol")
    assert house.calls() == {"a": 1, "b": 0}


async def test_the_same_one_is_not_repeated_for_money_that_is_not_there(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("unavailable")]})
    with pytest.raises(AllFailed):
        await house.after(1, options=limited(worst(house)))
    assert house.calls() == {"a": 1}


async def test_a_provider_that_reports_more_than_it_may_is_recorded_and_told(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(clock, {"a": [Does(usage=Usage(10, 5_000))]})
    with caplog.at_level(logging.WARNING, "pointsman"):
        await house.ask(options=limited(worst(house)))
    assert house.told[-1].cost_nano == 10 * IN + 5_000 * OUT
    assert "purse.exceeded request=req_1 deployment=a" in caplog.text


def test_a_purse_that_was_exceeded_is_empty() -> None:
    purse = Purse(100)
    purse.hold(60)
    assert purse.left_nano == 40
    purse.settle(60, 130)
    assert purse.left_nano == 0
    assert repr(purse) == "Purse(0 of 100 nano-USD left, 0 held)"


kinds: list[FailureKind] = ["throttled", "overloaded", "unavailable", "timeout", "malformed"]
steps = st.one_of(
    st.builds(
        lambda kind, after_s, billed: Does(after_s, failure(kind, maybe_billed=billed)),
        st.sampled_from(kinds),
        st.floats(0, 3),
        st.booleans(),
    ),
    st.builds(
        lambda after_s, tokens: Does(after_s, usage=Usage(8, tokens)),
        st.floats(0, 8),
        st.integers(0, 100),
    ),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(steps, min_size=3, max_size=6), min_size=1, max_size=4),
    st.floats(0.5, 4.0),
    st.booleans(),
    st.booleans(),
)
def test_the_attempts_never_cost_more_than_the_limit(
    scripts: list[list[Does]], times: float, stream: bool, hedged: bool
) -> None:
    """Whatever fails, with hedges or without, and however much is reported up to the bound."""

    async def play() -> None:
        clock = FakeClock()
        house = House(
            clock,
            {f"d{i}": script for i, script in enumerate(scripts)},
            fallback=FallbackSpec(max_attempts=5, retry_same=2),
            hedge=HedgeSpec(enabled=hedged, share=1.0, spend_share=1.0, success=0.0),
        )
        for stack in house.stacks.values():
            for streams in stack.meter._streams:
                for _ in range(20):
                    streams.add(0.5, clock.now())
        limit = int(worst(house) * times)
        for _ in range(3):
            task = asyncio.create_task(house.ask(stream=stream, options=limited(limit)))
            await ended(clock, task)
            try:
                await task
            except PointsmanError:
                pass
            cost = house.told[-1].cost_nano
            assert cost is not None and cost <= limit
        assert house.leftovers() == {}

    asyncio.run(play())
