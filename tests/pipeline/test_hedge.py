"""Hedging: a second attempt beside a late first one, the first content wins, nothing leaks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.house import Does, House, Script, ended, fails, failure

from pointsman.config.settings import BreakerSettings
from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Text, Tool
from pointsman.domain.request import ChatRequest, RouteOptions
from pointsman.domain.usage import Price, Rates
from pointsman.errors import (
    AllFailed,
    DeadlineExceeded,
    FailureKind,
    InvalidRequest,
    PointsmanError,
    Rejected,
)
from pointsman.observe.metrics import Metrics
from pointsman.pipeline.call import Call
from pointsman.pipeline.race import Finish
from pointsman.pipeline.service import Reply
from pointsman.routing.plan import Failed
from pointsman.routing.retries import RetryBudget
from pointsman.routing.spec import FallbackSpec, HedgeSpec
from pointsman.testing.clock import FakeClock, settle

FREELY = HedgeSpec(enabled=True, share=1.0, spend_share=1.0)
"""Hedges after max(1.5 * p95, 1 s); with the p95 of `warm` after exactly a second."""


def warm(house: House, seconds: float = 0.5) -> House:
    """Let all be measured, and let the caller have paid for the hour."""
    for stack in house.stacks.values():
        for streams in stack.meter._streams:
            for _ in range(20):
                streams.add(seconds, house.clock.now())
    if house.dispatch._hedge is not None:
        house.dispatch._hedge._spend.pay("anonymous", 10**12, house.clock.now())
    return house


def hedged(
    clock: FakeClock, scripts: Mapping[str, Script], spec: HedgeSpec = FREELY, **more: object
) -> House:
    more.setdefault("fallback", FallbackSpec(retry_same=0))
    return warm(House(clock, scripts, hedge=spec, **more))  # type: ignore[arg-type]


async def answered(house: House, **changes: object) -> str:
    task = asyncio.create_task(house.ask(stream=True, **changes))
    await ended(house.clock, task)
    return await task


def hedges(house: House) -> list[tuple[str, str, bool]]:
    return [(each.deployment, each.outcome, each.hedge) for each in house.attempts]


# Who wins.


async def test_the_second_wins_where_the_first_is_late(clock: FakeClock) -> None:
    house = hedged(clock, {"slow": [Does(20.0)], "quick": [Does(0.3)]})
    began = clock.now()
    assert await answered(house) == "quick"
    assert clock.now() - began == pytest.approx(1.3)
    assert hedges(house) == [("slow", "abandoned", False), ("quick", "ok", True)]
    assert house.services["slow"].cancelled == [pytest.approx(began + 1.3)]
    assert house.leftovers() == {}


async def test_the_first_wins_where_it_was_only_a_little_late(clock: FakeClock) -> None:
    house = hedged(clock, {"late": [Does(1.1)], "other": [Does(0.3)]})
    assert await answered(house) == "late"
    assert hedges(house) == [("other", "abandoned", True), ("late", "ok", False)]
    lost, won = house.attempts
    assert lost.usage.estimated and lost.cost_nano
    assert lost.started_s == pytest.approx(1.0)
    assert house.told[-1].cost_nano == (lost.cost_nano or 0) + (won.cost_nano or 0)
    assert house.leftovers() == {}


async def test_one_in_time_has_no_rival(clock: FakeClock) -> None:
    house = hedged(clock, {"a": [Does(0.9)], "b": []})
    assert await answered(house) == "a"
    assert house.calls() == {"a": 1, "b": 0}
    assert clock.pending == ()


async def test_with_both_in_the_same_turn_of_the_loop_the_first_one_wins(
    clock: FakeClock,
) -> None:
    house = hedged(clock, {"a": [Does(1.5)], "b": [Does(0.45)]})
    task = asyncio.create_task(house.ask(stream=True))
    await clock.run_for(1.4)
    clock.advance(0.2)  # Both are woken before either runs.
    assert await task == "a"
    assert hedges(house) == [("b", "abandoned", True), ("a", "ok", False)]
    assert house.leftovers() == {}


@pytest.mark.parametrize("at", [0.0, 1.0, 1.04, 1.2, 2.5, 3.0])
async def test_leaving_without_a_hedge_leaves_nothing_either(clock: FakeClock, at: float) -> None:
    """During an attempt, a backoff, a wait that was asked for, and the repeated attempt."""
    script = [fails("unavailable", 1.0), fails("overloaded", 0.2, hint=1.5), Does(2.0)]
    again = FallbackSpec(retry_same=2)
    house = House(clock, {"a": script}, fallback=again)
    task = asyncio.create_task(house.ask(stream=True))
    await clock.run_for(at)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (house.leftovers(), clock.pending) == ({}, ())
    assert [entry.status for entry in house.told] == [499]
    assert sum(house.calls().values()) == len(house.attempts)
    assert house.dispatch.choice._waiting == 0


async def test_where_the_first_fails_meanwhile_the_hedge_is_the_attempt(clock: FakeClock) -> None:
    house = hedged(clock, {"a": [fails("unavailable", 1.2)], "b": [Does(2.0)], "c": []})
    assert await answered(house) == "b"
    assert hedges(house) == [("a", "unavailable", False), ("b", "ok", True)]
    assert house.calls()["c"] == 0


async def test_where_the_hedge_fails_the_first_goes_on(clock: FakeClock) -> None:
    house = hedged(clock, {"a": [Does(3.0)], "b": [fails("malformed", 0.5)]})
    assert await answered(house) == "a"
    assert hedges(house) == [("b", "malformed", True), ("a", "ok", False)]


async def test_where_both_fail_the_next_is_asked(clock: FakeClock) -> None:
    scripts: dict[str, Script] = {
        "a": [fails("unavailable", 2.0)],
        "b": [fails("malformed", 0.5)],
        "c": [Does(20.0)],
        "d": [],
    }
    house = hedged(clock, scripts)
    assert await answered(house) == "c"
    assert [each.deployment for each in house.attempts] == ["b", "a", "c"]
    assert house.calls()["d"] == 0, "a call is hedged once, and three attempts are all"


async def test_a_hedge_counts_as_an_attempt(clock: FakeClock) -> None:
    house = hedged(clock, {"a": [fails("timeout", 2.0)], "b": [fails("timeout", 2.0)], "c": []})
    with pytest.raises(AllFailed):
        await answered(house, options=RouteOptions(max_attempts=2))
    assert house.calls() == {"a": 1, "b": 1, "c": 0}
    house = hedged(clock, {"slow": [Does(5.0)], "b": []})
    assert await answered(house, options=RouteOptions(max_attempts=1)) == "slow"


async def test_the_callers_mistake_ends_both(clock: FakeClock) -> None:
    house = hedged(clock, {"a": [Does(9.0)], "b": [Does(0.5, InvalidRequest("messages: empty"))]})
    with pytest.raises(InvalidRequest):
        await answered(house)
    assert house.leftovers() == {}
    assert hedges(house) == [("b", "rejected", True), ("a", "abandoned", False)]


async def test_the_deadline_ends_both(clock: FakeClock) -> None:
    house = hedged(clock, {"a": [Does(99.0)], "b": [Does(99.0)]})
    began = clock.now()
    with pytest.raises(DeadlineExceeded):
        await answered(house, timeout_s=5.0)
    assert clock.now() - began == pytest.approx(5.0)
    assert house.leftovers() == {}
    assert len(house.attempts) == 2


# When there is no hedge.


def request(**changes: object) -> ChatRequest:
    values: dict[str, object] = {"stream": True, **changes}
    return ChatRequest("auto", (Message("user", (Text("hi"),)),), **values)  # type: ignore[arg-type]


SEARCH = Tool("web_search", extra={"type": "web_search_20260209", "name": "web_search"})


@pytest.mark.parametrize(
    ("spec", "asked", "is_hedged"),
    [
        (FREELY, request(), True),
        (FREELY, request(tools=(Tool("weather"),)), True),
        (FREELY, request(tools=(Tool("weather"), SEARCH)), False),
        (FREELY, request(extra={"web_search_options": {}}), False),
        (FREELY, request(stream=False), False),
        (HedgeSpec(enabled=False), request(), False),
        (HedgeSpec(enabled=True, share=1.0, spend_share=1.0, max_input_tokens=3), request(), False),
        (HedgeSpec(enabled=True, share=1.0, spend_share=1.0, min_s=6.0), request(), False),
        (HedgeSpec(enabled=True, share=1.0, spend_share=1.0, factor=10), request(), False),
        (HedgeSpec(enabled=True, share=0.0, spend_share=1.0), request(), False),
        (HedgeSpec(enabled=True, share=1.0, spend_share=0.0), request(), False),
    ],
)
async def test_what_is_hedged(
    clock: FakeClock, spec: HedgeSpec, asked: ChatRequest, is_hedged: bool
) -> None:
    able = {"capabilities": frozenset({"chat", "tools"})}
    changes = {"slow": able, "quick": able}
    house = hedged(clock, {"slow": [Does(4.0)], "quick": []}, spec, changes=changes)
    task = asyncio.create_task(house.ask(request=asked))
    await ended(clock, task)
    assert await task == ("quick" if is_hedged else "slow")
    assert house.calls()["quick"] == int(is_hedged)
    assert house.leftovers() == {}


async def test_a_model_that_was_measured_too_little_is_not_hedged(clock: FakeClock) -> None:
    house = House(clock, {"slow": [Does(5.0)], "quick": []}, hedge=FREELY)
    assert await answered(house) == "slow"
    assert house.calls()["quick"] == 0


async def test_off_means_no_task_and_no_timer(clock: FakeClock) -> None:
    house = House(clock, {"a": [Does(5.0)], "b": []})
    task = asyncio.create_task(house.ask(stream=True))
    before = len(asyncio.all_tasks())
    await clock.run_for(2)
    assert len(asyncio.all_tasks()) == before
    assert len(clock.pending) == 2, "the provider's own pause and the timer of its first content"
    await clock.run_for(5)
    assert await task == "a"


async def throttle(house: House, name: str) -> None:
    house.stacks[name].breaker.cooling_until = house.clock.now() - 1.0


@pytest.mark.parametrize("who", ["slow", "quick"])
async def test_nobody_is_hedged_soon_after_a_429(clock: FakeClock, who: str) -> None:
    house = hedged(clock, {"slow": [Does(5.0)] * 2, "quick": []})
    await throttle(house, who)
    assert await answered(house) == "slow"
    clock.advance(30)
    warm(house)
    assert await answered(house) == "quick"


async def test_the_target_has_to_be_well(clock: FakeClock) -> None:
    scripts: dict[str, Script] = {"slow": [Does(5.0)] * 2, "ill": []}
    house = hedged(clock, scripts)
    window = house.stacks["ill"].breaker._window
    for turn in range(100):
        window.add(clock.now(), success=turn >= 6)
    assert await answered(house) == "slow"
    for _ in range(40):
        window.add(clock.now(), success=True)
    assert await answered(house) == "ill"


async def test_with_several_out_lateness_is_a_brownout(clock: FakeClock) -> None:
    scripts: dict[str, Script] = {
        "slow": [Does(5.0)],
        "quick": [],
        "c": lambda turn: fails("unavailable"),
        "d": lambda turn: fails("unavailable"),
    }
    house = hedged(clock, scripts, breaker=BreakerSettings(streak=1, base_s=60.0))
    for name in "cd":
        with pytest.raises(PointsmanError):
            await answered(house, options=RouteOptions(allow=(name,)))
    assert await answered(house) == "slow"


async def test_a_hedge_that_cannot_begin_in_time_is_not_made(clock: FakeClock) -> None:
    house = hedged(clock, {"slow": [Does(1.8)], "quick": []})
    warm(house, 1.5)
    for streams in house.stacks["slow"].meter._streams:
        streams._sorted[:] = [0.5] * len(streams._sorted)
    assert await answered(house, timeout_s=2.0) == "slow"
    assert house.calls()["quick"] == 0


async def test_the_purse_has_to_grant_it(clock: FakeClock) -> None:
    house = hedged(clock, {"slow": [Does(5.0)] * 2, "quick": []})
    one = house.worst_nano()
    assert await answered(house, options=RouteOptions(max_cost_nano=2 * one - 1)) == "slow"
    assert await answered(house, options=RouteOptions(max_cost_nano=2 * one)) == "quick"


# Bounds.


async def test_hedges_are_a_share_of_requests(clock: FakeClock) -> None:
    spec = HedgeSpec(enabled=True, share=0.05, spend_share=1.0)
    house = hedged(clock, {"slow": lambda turn: Does(2.0), "quick": lambda turn: Does(0.1)}, spec)
    for _ in range(200):
        task = asyncio.create_task(house.ask(stream=True))
        clock.advance(0.01)
        await settle(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    tasks = [asyncio.create_task(house.ask(stream=True)) for _ in range(50)]
    for task in tasks:
        await ended(clock, task)
    # 250 requests of this minute pay for 12.5 hedges, and the floor for one.
    assert house.calls()["quick"] == 13


async def test_a_tenants_hedges_are_a_share_of_what_it_pays(clock: FakeClock) -> None:
    spec = HedgeSpec(enabled=True, share=1.0, spend_share=0.02)
    price = {"price": Price(Rates.of(1_000_000_000, 10_000_000), version="test")}
    scripts: dict[str, Script] = {"a": lambda turn: Does(0.1), "b": lambda turn: Does(0.1)}
    house = House(clock, scripts, hedge=spec, changes={"a": price, "b": price})
    rich, poor = Caller(key="k1", tenant="rich"), Caller(key="k2", tenant="poor")
    for _ in range(200):
        await answered(house, caller=rich)
    house.services["a"].does = lambda turn: Does(5.0)
    assert await answered(house, caller=poor) == "a"
    assert await answered(house, caller=rich) == "b"
    spent = house.dispatch._hedge._spend._tenants["rich"]  # type: ignore[union-attr]
    assert 0 < spent.extra <= 0.02 * spent.cost
    clock.advance(3700)
    warm_only = house.stacks["a"].meter._streams[0]
    for _ in range(20):
        warm_only.add(0.1, clock.now())
    assert await answered(house, caller=rich) == "a", "an hour later nothing has been paid"


async def test_what_a_hedge_was_expected_to_cost_is_replaced_by_what_it_did(
    clock: FakeClock,
) -> None:
    house = hedged(clock, {"slow": [Does(5.0)], "quick": []})
    await answered(house)
    spend = house.dispatch._hedge._spend._tenants["anonymous"]  # type: ignore[union-attr]
    assert spend.extra == house.attempts[0].cost_nano


# Leaks.


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0, 1.1, 1.5, 2.0, 2.5, 3.2])
async def test_a_client_that_leaves_at_any_moment_leaves_nothing_behind(
    clock: FakeClock, at: float
) -> None:
    scripts: dict[str, Script] = {
        "a": [fails("unavailable", 2.0)],
        "b": [fails("malformed", 1.0)],
        "c": [Does(1.0, pieces=(b"x", None))],
    }
    house = hedged(clock, scripts)
    before = asyncio.all_tasks()
    task = asyncio.create_task(house.ask(stream=True))
    await clock.run_for(at)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
    assert (house.leftovers(), clock.pending) == ({}, ())
    assert [entry.status for entry in house.told] == [499]
    assert sum(house.calls().values()) == len(house.attempts)


@pytest.mark.parametrize("turns", range(14))
async def test_nor_in_any_turn_of_the_loop_around_a_win(clock: FakeClock, turns: int) -> None:
    """Cancelled in each turn between the loser's last moment and the winner's first."""
    house = hedged(clock, {"a": [Does(9.0)], "b": [Does(0.5, pieces=(b"x", None))]})
    before = asyncio.all_tasks()
    task = asyncio.create_task(house.ask(stream=True))
    await clock.run_for(1.4)
    clock.advance(0.2)
    await settle(turns)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert asyncio.all_tasks() == before
    assert (house.leftovers(), clock.pending) == ({}, ())
    assert len(house.told) == 1 and len(house.attempts) == 2


async def test_a_loser_that_breaks_is_said_and_does_not_spoil_the_answer(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    house = hedged(clock, {"a": [Does(9.0)], "b": [Does(0.5)]})
    inner = house.services["a"].__call__

    async def breaks(call: Call) -> Reply:
        try:
            return await inner(call)
        except asyncio.CancelledError:
            raise RuntimeError("a bug") from None

    house.stacks["a"].breaker.inner.inner.inner = breaks  # type: ignore[attr-defined]
    assert await answered(house) == "b"
    assert "race.loser_failed deployment=a" in caplog.text


kinds: list[FailureKind] = ["throttled", "unavailable", "timeout", "malformed", "refused"]
steps = st.one_of(
    st.builds(fails, st.sampled_from(kinds), st.sampled_from([0.0, 0.5, 1.0, 1.5, 3.0])),
    st.builds(
        Does,
        st.sampled_from([0.0, 0.2, 0.5, 1.0, 1.5, 3.0, 200.0]),
        st.none(),
        st.sampled_from([(b"x",), (b"x", failure("malformed")), (b"x", None)]),
    ),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(steps, min_size=4, max_size=8), min_size=2, max_size=4),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.2, 1.5, 2.0, 3.0, 40.0, 700.0]), max_size=8),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_whatever_happens_nothing_leaks_and_the_bounds_hold(
    scripts: list[list[Does]], leaves_after: list[float], share: float, spend_share: float
) -> None:
    async def play() -> None:
        clock = FakeClock()
        spec = HedgeSpec(enabled=True, share=share, spend_share=spend_share, success=0.0)
        house = House(clock, {f"d{i}": each for i, each in enumerate(scripts)}, hedge=spec)
        tasks = asyncio.all_tasks()
        for seconds in leaves_after:
            for stack in house.stacks.values():
                for streams in stack.meter._streams:
                    for _ in range(20):
                        streams.add(0.5, clock.now())
            task = asyncio.create_task(house.ask(stream=True))
            await clock.run_for(seconds)
            task.cancel()
            try:
                await task
            except (PointsmanError, asyncio.CancelledError):
                pass
            attempts = house.told[-1].attempts
            assert len(attempts) <= 3
            assert sum(each.hedge for each in attempts) <= 1
        assert asyncio.all_tasks() == tasks
        assert house.leftovers() == {}
        assert len(house.told) == len(leaves_after)
        made = sum(each.hedge for entry in house.told for each in entry.attempts)
        assert made <= share * len(leaves_after) + 1 + clock.now() / 60
        assert sum(house.calls().values()) == sum(len(entry.attempts) for entry in house.told)

    asyncio.run(play())


# What is written down.


async def test_metrics_tell_hedges_and_what_they_cost(clock: FakeClock) -> None:
    house = hedged(
        clock,
        {
            "a": [Does(9.0), Does(1.2), Does(3.0)],
            "b": [Does(0.1), Does(5.0), fails("malformed", 0.1)],
        },
    )
    metrics = Metrics(house.stacks, lambda: 0)
    for _ in range(3):
        await answered(house)
        metrics(house.told[-1])
    text = metrics.exposition().decode()
    for result in ("won", "lost", "failed"):
        assert f'pointsman_hedges_total{{result="{result}",route="auto"}} 1.0' in text
    extra = [
        house.told[0].attempts[0].cost_nano,
        house.told[1].attempts[0].cost_nano,
        house.told[2].attempts[0].cost_nano,
    ]
    assert all(extra)
    spent = sum(each or 0 for each in extra) / 1e9
    assert f'pointsman_hedge_usd_total{{route="auto"}} {spent!r}' in text
    assert "pointsman_fallbacks_total{" not in text


async def test_what_follows_a_race_is_paid_for_though_the_hedge_was_refused_by_ourselves(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulation: the refusal came last, and the retry was free."""
    nothing = RetryBudget(ratio=0.0, floor_per_s=0.0)
    house = hedged(clock, {"a": [], "b": [], "c": []}, retries=nothing)
    late = Failed("a", failure("timeout"), clock.now())
    refused = Failed("b", Rejected("full", code="deployment_busy"), clock.now())

    raced: list[object] = []

    async def both_at_once(*asked: object) -> Finish:
        raced.append(asked)
        return Finish(failures=(late, refused))

    monkeypatch.setattr(house.dispatch._hedge, "run", both_at_once)
    with pytest.raises(AllFailed):
        await house.ask(stream=True)
    assert len(raced) == 1  # And "c" was not asked.
