"""Nobody may be asked just now: elsewhere, a short wait, a trickle in a panic, or an error."""

from __future__ import annotations

import asyncio

import pytest
from tests.pipeline.house import Does, House, Script, ended, fails

from pointsman.config.settings import BreakerSettings
from pointsman.domain.deployment import Limits
from pointsman.domain.request import RouteOptions
from pointsman.errors import AllFailed, ContextTooLong, PointsmanError, Rejected
from pointsman.pipeline.choice import MOST_WAITING
from pointsman.routing.retries import RetryBudget
from pointsman.routing.spec import FallbackSpec
from pointsman.testing.clock import FakeClock, settle

FAST = BreakerSettings(streak=1, base_s=8.0, max_s=8.0)
ALONE = FallbackSpec(enabled=False)
NEXT = FallbackSpec(retry_same=0)


def dead(turn: int) -> Does:
    return fails("unavailable")


async def broken(house: House) -> None:
    """Let every breaker of the route open, and the panics of that second pass."""
    for each in house.route.deployments:
        with pytest.raises(PointsmanError):
            await house.ask(options=RouteOptions(allow=(each.name,), max_attempts=1))
    assert {house.stacks[each.name].breaker.state for each in house.route.deployments} == {"open"}


async def refused(house: House, **changes: object) -> PointsmanError:
    task = asyncio.create_task(house.ask(**changes))
    await ended(house.clock, task)
    with pytest.raises(PointsmanError) as caught:
        await task
    return caught.value


# Elsewhere.


async def test_a_chain_out_of_the_route_is_followed_where_all_of_its_own_are_out(
    clock: FakeClock,
) -> None:
    scripts: dict[str, Script] = {"a": dead, "rescue": []}
    chained = FallbackSpec(chain=("rescue",))
    house = House(clock, scripts, fallback=chained, outside=("rescue",), breaker=FAST)
    assert await house.ask() == "rescue"
    assert await house.ask() == "rescue"
    assert house.calls() == {"a": 1, "rescue": 2}
    assert house.tried() == [("rescue", "ok")]


async def test_a_kind_that_does_not_fall_back_does_not_do_so_beforehand(clock: FakeClock) -> None:
    spec = FallbackSpec(chain=("rescue",), by_kind={"throttled": ()})
    scripts: dict[str, Script] = {"a": [fails("throttled", hint=60.0)], "rescue": []}
    house = House(clock, scripts, fallback=spec, outside=("rescue",))
    with pytest.raises(AllFailed):
        await house.ask()
    assert (await refused(house)).status == 429
    assert house.calls() == {"a": 1, "rescue": 0}


async def test_what_fits_nobodys_window_goes_to_the_larger_one_that_was_named(
    clock: FakeClock,
) -> None:
    limits = {"a": Limits(context_tokens=10), "wide": Limits(context_tokens=100_000)}
    spec = FallbackSpec(by_kind={"context_length": ("wide",)})
    house = House(clock, {"a": [], "wide": []}, fallback=spec, outside=("wide",), limits=limits)
    assert await house.ask() == "wide"
    house = House(clock, {"a": [], "wide": []}, outside=("wide",), limits=limits)
    with pytest.raises(ContextTooLong):
        await house.ask()


async def test_a_chain_never_leads_round_a_constraint(clock: FakeClock) -> None:
    spec = FallbackSpec(chain=("rescue",))
    house = House(clock, {"a": [], "rescue": []}, fallback=spec, outside=("rescue",))
    error = await refused(house, options=RouteOptions(require=frozenset({"x-magic"})))
    assert (error.status, error.code) == (400, "no_candidate")


# Waiting.


async def test_a_short_cooling_is_waited_for(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("throttled", hint=1.5)]}, fallback=ALONE)
    assert (await refused(house)).status == 429
    began = clock.now()
    assert await house.after(2.0) == "a"
    assert house.services["a"].calls[1] - began == pytest.approx(1.5, abs=0.11)


@pytest.mark.parametrize(("hint", "timeout_s"), [(2.5, 600.0), (1.5, 2.0)])
async def test_a_longer_one_is_not_nor_one_that_takes_half_of_the_time(
    clock: FakeClock, hint: float, timeout_s: float
) -> None:
    house = House(clock, {"a": [fails("throttled", hint=hint)]}, fallback=ALONE)
    assert (await refused(house)).status == 429
    error = await refused(house, timeout_s=timeout_s)
    assert isinstance(error, Rejected)
    assert (error.status, error.code) == (429, "upstream_rate_limited")
    assert error.retry_after_s == pytest.approx(hint)
    assert error.should_retry


async def test_only_so_many_wait_and_they_do_not_come_back_as_one_wave(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("throttled", hint=1.5)]}, fallback=ALONE)
    await refused(house)
    tasks = [asyncio.create_task(house.ask()) for _ in range(MOST_WAITING + 20)]
    await settle()
    assert sum(task.done() for task in tasks) == 20
    await clock.run_for(2)
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(each == "a" for each in told) == MOST_WAITING
    assert len(set(house.services["a"].calls[1:])) > MOST_WAITING // 2
    assert house.dispatch.choice._waiting == 0


async def test_a_request_that_is_cancelled_while_it_waits_makes_room(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("throttled", hint=1.5)]}, fallback=ALONE)
    await refused(house)
    task = asyncio.create_task(house.ask())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert house.dispatch.choice._waiting == 0
    assert house.told[-1].status == 499


async def test_a_used_up_limit_is_told_as_429_and_waited_for(clock: FakeClock) -> None:
    limits = {"a": Limits(requests_per_minute=60, output_tokens=100)}
    house = House(clock, {"a": []}, limits=limits, fallback=ALONE)
    for _ in range(60):
        assert await house.ask() == "a"
    began = clock.now()
    assert await house.after(1.5) == "a"
    assert house.services["a"].calls[-1] - began == pytest.approx(1.0, abs=0.11)
    error = await refused(house, timeout_s=0.5)
    assert (error.status, error.code) == (429, "upstream_rate_limited")
    clock.advance(0.3)  # Some of a request is granted again, but not a whole one.
    error = await refused(house, timeout_s=0.2)
    assert (error.status, error.code) == (429, "upstream_rate_limited")
    assert await house.after(1.5) == "a"


async def test_what_is_broken_is_not_waited_for(clock: FakeClock) -> None:
    brief = BreakerSettings(streak=1, base_s=1.0, max_s=1.0, panic_per_s=0.0)
    house = House(clock, {"a": dead}, breaker=brief, fallback=ALONE)
    await broken(house)
    error = await refused(house)
    assert (error.status, error.code, error.should_retry) == (503, "upstream_unavailable", True)
    assert error.retry_after_s == 1.0


async def test_the_soonest_of_all_is_told(clock: FakeClock) -> None:
    scripts: dict[str, Script] = {
        "a": [fails("throttled", hint=30.0)],
        "b": [fails("throttled", hint=7.5)],
        "c": dead,
    }
    quiet = BreakerSettings(streak=1, base_s=60.0, panic_per_s=0.0)
    house = House(clock, scripts, breaker=quiet, fallback=NEXT)
    with pytest.raises(AllFailed):
        await house.ask()
    error = await refused(house)
    assert error.status == 503
    assert error.retry_after_s == pytest.approx(7.5)


async def test_a_client_is_not_told_to_retry_where_the_retry_budget_is_empty(
    clock: FakeClock,
) -> None:
    budget = RetryBudget(0.0, 10, 0.0)
    house = House(clock, {"a": [fails("throttled", hint=60.0)]}, retries=budget)
    await refused(house)
    assert not (await refused(house)).should_retry


# Panic.


async def test_in_a_panic_a_trickle_gets_through_to_the_best(clock: FakeClock) -> None:
    house = House(clock, {"a": dead, "b": dead}, breaker=FAST, fallback=NEXT)
    await broken(house)
    before = house.calls()
    told = [await refused(house) for _ in range(20)]
    assert {name: n - before[name] for name, n in house.calls().items()} == {"a": 1, "b": 1}
    assert [error.status for error in told] == [502] + [503] * 19
    decision = house.told[0 - 20].decision
    assert decision is not None and decision.why.startswith("panic, every breaker is open")
    assert all(error.retry_after_s and error.retry_after_s >= 1 for error in told[1:])


async def test_a_panic_is_at_most_one_call_a_second_for_each(clock: FakeClock) -> None:
    slow = BreakerSettings(streak=1, base_s=1000.0, max_s=1000.0, panic_per_s=1.0)
    house = House(clock, {"a": dead, "b": dead}, breaker=slow, fallback=ALONE)
    await broken(house)
    before = house.calls()
    for _ in range(200):
        await refused(house)
        clock.advance(0.1)
    assert all(19 <= n - before[name] <= 21 for name, n in house.calls().items())


async def test_a_good_panic_ends_it(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("unavailable")], "b": dead}, breaker=FAST, fallback=NEXT)
    await broken(house)
    assert await house.ask() == "a"
    assert house.stacks["a"].breaker.state == "ramping"
    assert [await house.ask() for _ in range(5)] == ["a"] * 5


async def test_a_panic_leaves_alone_who_asked_for_a_wait(clock: FakeClock) -> None:
    scripts: dict[str, Script] = {"a": [fails("throttled", hint=60.0)], "b": dead}
    house = House(clock, scripts, breaker=FAST, fallback=FallbackSpec(max_attempts=1))
    with pytest.raises(PointsmanError):
        await house.ask(options=RouteOptions(allow=("b",)))
    with pytest.raises(PointsmanError):
        await house.ask(options=RouteOptions(allow=("a",)))
    before = house.calls()
    for _ in range(5):
        assert (await refused(house)).status == 503
        clock.advance(1)
    assert house.calls() == before


async def test_who_lacks_what_is_needed_is_not_tried_in_a_panic(clock: FakeClock) -> None:
    able = frozenset({"chat", "x-magic"})
    house = House(
        clock,
        {"a": dead, "b": dead},
        breaker=FAST,
        fallback=NEXT,
        changes={"b": {"capabilities": able}},
    )
    await broken(house)
    before = house.calls()["a"]
    await refused(house, options=RouteOptions(require=frozenset({"x-magic"})))
    assert house.calls()["a"] == before


# Avoided.


async def test_deployments_that_a_call_avoids_are_not_asked(clock: FakeClock) -> None:
    scripts: dict[str, Script] = {"a": [], "b": [fails("unavailable")], "c": []}
    house = House(clock, scripts, fallback=NEXT)
    assert await house.ask(avoid=frozenset({"a"})) == "c"
    assert house.tried() == [("b", "unavailable"), ("c", "ok")]
    decision = house.told[-1].decision
    assert decision is not None
    assert [(r.deployment.name, r.filter) for r in decision.rejected] == [("a", "avoid")]
    error = await refused(house, avoid=frozenset("abc"))
    assert error.status == 400


async def test_a_chain_does_not_lead_to_who_is_avoided(clock: FakeClock) -> None:
    spec = FallbackSpec(chain=("rescue", "a"), retry_same=0)
    scripts: dict[str, Script] = {"a": dead, "rescue": []}
    house = House(clock, scripts, fallback=spec, outside=("rescue",))
    await refused(house, avoid=frozenset({"rescue"}))
    assert house.calls() == {"a": 1, "rescue": 0}
