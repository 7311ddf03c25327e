"""Playbooks of failing over: who is tried, what happened, who is next, what is written down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import pytest

from pointsman.config.settings import BreakerSettings, Route
from pointsman.domain.deployment import Limits
from pointsman.domain.request import RouteOptions
from pointsman.errors import (
    AllFailed,
    ContextTooLong,
    DeadlineExceeded,
    FailureKind,
    InvalidRequest,
    NoCandidate,
    PointsmanError,
    ProviderFailure,
    Rejected,
)
from pointsman.ledger.entries import LedgerEntry
from pointsman.pipeline.account import Account
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.dispatch import Dispatch
from pointsman.routing.retries import UNLIMITED, RetryBudget
from pointsman.routing.spec import FallbackSpec, PolicySpec
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import (
    ScriptedService,
    attempt_ids,
    make_call,
    make_deployment,
)

FALLBACK = FallbackSpec()


class House:
    """A static route a, b, c over scripted services; `told` are the ledger's entries."""

    def __init__(
        self,
        clock: FakeClock,
        scripts: Mapping[str, list[object]],
        *,
        fallback: FallbackSpec = FALLBACK,
        context: Mapping[str, int] | None = None,
        outside: tuple[str, ...] = (),
        retries: RetryBudget | None = None,
    ) -> None:
        self.clock = clock
        self.services: dict[str, ScriptedService] = {}
        self.stacks: dict[str, DeploymentStack] = {}
        for name, steps in scripts.items():
            limits = Limits(context_tokens=(context or {}).get(name))
            deployment = make_deployment(name, limits=limits)
            service = ScriptedService(clock, list(steps), deployment)
            self.services[name] = service
            self.stacks[name] = deployment_stack(
                service, deployment, clock, BreakerSettings(), random.Random(1)
            )
        names = tuple(name for name in scripts if name not in outside)
        route = Route(
            "auto",
            tuple(self.stacks[name].deployment for name in names),
            PolicySpec(strategy="static", order=names, explore=0.0),
            fallback,
        )
        self.told: list[LedgerEntry] = []
        dispatch = Dispatch(
            route, self.stacks, clock, random.Random(1), retries or UNLIMITED, attempt_ids()
        )
        self.account = Account(dispatch, clock, "auto", None, self.told.append)

    async def ask(self, **changes: object) -> str:
        """Ask once; return who answered, or raise."""
        call: Call = make_call(self.clock, **changes)  # type: ignore[arg-type]
        async with await self.account(call) as reply:
            if reply.is_stream:
                async for _ in reply:
                    pass
        return reply.deployment.name

    def tried(self) -> list[tuple[str, str]]:
        return [(each.deployment, each.outcome) for each in self.told[-1].attempts]


def failure(kind: FailureKind, retry_after_s: float | None = None) -> ProviderFailure:
    return ProviderFailure(kind, f"it {kind}", retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    "kind", ["throttled", "overloaded", "unavailable", "timeout", "refused", "malformed"]
)
async def test_a_failed_deployment_is_followed_by_the_next(
    clock: FakeClock, kind: FailureKind
) -> None:
    house = House(clock, {"a": [failure(kind)], "b": []})
    assert await house.ask() == "b"
    assert house.tried() == [("a", kind), ("b", "ok")]
    entry = house.told[0]
    assert (entry.status, entry.outcome, len(house.told)) == (200, "ok", 1)


async def test_the_ledger_has_one_entry_whose_cost_is_the_sum_of_its_attempts(
    clock: FakeClock,
) -> None:
    house = House(clock, {"a": [failure("timeout")], "b": []})
    await house.ask()
    first, second = house.told[0].attempts
    assert first.usage.estimated and first.cost_nano is not None and first.cost_nano > 0
    assert second.cost_nano == 10 * 1000 + 5 * 2000
    assert house.told[0].cost_nano == first.cost_nano + second.cost_nano


async def test_a_429_was_not_billed(clock: FakeClock) -> None:
    throttled = ProviderFailure("throttled", "x", maybe_billed=False)
    house = House(clock, {"a": [throttled], "b": []})
    await house.ask()
    assert house.told[0].attempts[0].cost_nano == 0


async def test_no_more_attempts_than_allowed_then_the_whole_story(clock: FakeClock) -> None:
    house = House(clock, {name: [failure("unavailable")] * 9 for name in "abcde"})
    with pytest.raises(AllFailed) as caught:
        await house.ask()
    assert house.tried() == [("a", "unavailable"), ("b", "unavailable"), ("c", "unavailable")]
    assert (caught.value.status, caught.value.should_retry) == (502, False)
    assert house.told[0].status == 502


async def test_one_attempt_means_no_fallback(clock: FakeClock) -> None:
    house = House(clock, {"a": [failure("unavailable")], "b": []})
    with pytest.raises(AllFailed):
        await house.ask(options=RouteOptions(max_attempts=1))
    assert house.tried() == [("a", "unavailable")]


async def test_the_callers_mistake_goes_back_at_once(clock: FakeClock) -> None:
    house = House(clock, {"a": [InvalidRequest("messages: empty")], "b": []})
    with pytest.raises(InvalidRequest):
        await house.ask()
    assert house.tried() == [("a", "rejected")]
    assert house.services["b"].calls == []


async def test_a_throttled_deployment_is_left_alone_until_due(clock: FakeClock) -> None:
    house = House(clock, {"a": [failure("throttled", 30.0)], "b": []})
    assert [await house.ask() for _ in range(3)] == ["b", "b", "b"]
    assert len(house.services["a"].calls) == 1
    clock.advance(31)
    assert await house.ask() == "a"


async def test_when_all_are_cooling_the_client_gets_the_soonest_moment(clock: FakeClock) -> None:
    house = House(clock, {"a": [failure("throttled", 200.0)], "b": [failure("throttled", 90.0)]})
    with pytest.raises(AllFailed) as first:
        await house.ask()
    assert (first.value.status, first.value.retry_after_s) == (429, 90.0)
    with pytest.raises(Rejected) as second:
        await house.ask()
    assert (second.value.status, second.value.code) == (429, "upstream_rate_limited")
    assert second.value.retry_after_s == pytest.approx(90.0)
    assert [len(service.calls) for service in house.services.values()] == [1, 1]


async def test_a_wait_that_fits_the_deadline_is_waited_for_when_nobody_else_is_left(
    clock: FakeClock,
) -> None:
    house = House(clock, {"a": [failure("overloaded", 1.5)]})
    task = asyncio.create_task(house.ask())
    await clock.run_for(4)
    assert await task == "a"
    assert house.tried() == [("a", "overloaded"), ("a", "ok")]


async def test_a_full_context_is_tried_on_a_larger_window_only(clock: FakeClock) -> None:
    context = {"a": 8_000, "b": 4_000, "c": 200_000}
    house = House(clock, {"a": [failure("context_length")], "b": [], "c": []}, context=context)
    assert await house.ask() == "c"
    house = House(clock, {"a": [failure("context_length")], "b": []}, context=context)
    with pytest.raises(ContextTooLong):
        await house.ask()


async def test_a_content_filter_is_the_callers_result_unless_the_route_says_otherwise(
    clock: FakeClock,
) -> None:
    house = House(clock, {"a": [failure("content_filter")], "b": []})
    with pytest.raises(PointsmanError) as caught:
        await house.ask()
    assert caught.value.code == "content_filter"
    spec = FallbackSpec(on_content_filter=True)
    house = House(clock, {"a": [failure("content_filter")], "b": []}, fallback=spec)
    assert await house.ask() == "b"


async def test_a_chain_may_lead_out_of_the_route(clock: FakeClock) -> None:
    spec = FallbackSpec(chain=("rescue",))
    scripts: dict[str, list[object]] = {"a": [failure("unavailable")], "b": [], "rescue": []}
    house = House(clock, scripts, fallback=spec, outside=("rescue",))
    assert await house.ask() == "rescue"


async def test_the_caller_may_name_the_fallbacks(clock: FakeClock) -> None:
    scripts: dict[str, list[object]] = {"a": [failure("unavailable")], "b": [], "c": []}
    house = House(clock, scripts)
    assert await house.ask(options=RouteOptions(fallbacks=("c",))) == "c"


async def test_an_outage_does_not_multiply_the_load(clock: FakeClock) -> None:
    """200 requests while everything fails: at most 10 % and the floor on top."""
    budget = RetryBudget()
    scripts: dict[str, list[object]] = {
        name: [failure("refused") for _ in range(1000)] for name in "abcdefghij"
    }
    house = House(clock, scripts, retries=budget)
    for _ in range(200):
        with pytest.raises(PointsmanError):
            await house.ask()
    calls = sum(len(service.calls) for service in house.services.values())
    firsts = sum(1 for entry in house.told if entry.attempts)
    assert calls <= firsts * 1.1 + 10 + 1


async def test_the_deadline_spans_all_attempts(clock: FakeClock) -> None:
    house = House(clock, {"a": [100.0], "b": [100.0]})
    task = asyncio.create_task(house.ask(stream=True, timeout_s=40.0))
    await clock.run_for(41)
    with pytest.raises(DeadlineExceeded):
        await task
    assert house.tried() == [("a", "timeout"), ("b", "timeout")]


async def test_a_client_that_leaves_is_accounted(clock: FakeClock) -> None:
    house = House(clock, {"a": [100.0]})
    task = asyncio.create_task(house.ask())
    await clock.run_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    entry = house.told[0]
    assert (entry.status, entry.outcome, house.tried()) == (499, "abandoned", [("a", "abandoned")])
    assert house.stacks["a"].meter.in_flight == 0


async def test_after_content_nothing_is_repeated(clock: FakeClock) -> None:
    house = House(clock, {"a": [[b"content", failure("unavailable")]], "b": []})
    with pytest.raises(ProviderFailure):
        await house.ask(stream=True)
    assert house.tried() == [("a", "unavailable")]
    assert house.services["b"].calls == []
    assert house.told[0].outcome == "unavailable"


async def test_an_open_breaker_is_passed_over_without_an_attempt(clock: FakeClock) -> None:
    house = House(clock, {"a": [failure("unavailable")] * 20, "b": []})
    for _ in range(8):
        assert await house.ask() == "b"
    assert len(house.services["a"].calls) == 5
    rejection = house.told[-1].decision.rejected[0]  # type: ignore[union-attr]
    assert (rejection.deployment.name, rejection.filter) == ("a", "healthy")


async def test_a_full_deployment_is_passed_over(clock: FakeClock) -> None:
    house = House(clock, {"a": [100.0], "b": []})
    stack = house.stacks["a"]
    stack.limits._slots = 1
    task = asyncio.create_task(house.ask())
    await clock.run_for(0.1)
    assert await house.ask() == "b"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_when_nobody_can_the_error_says_why(clock: FakeClock) -> None:
    house = House(clock, {"a": [], "b": []})
    with pytest.raises(NoCandidate, match="x-magic") as caught:
        await house.ask(options=RouteOptions(require=frozenset({"x-magic"})))
    assert caught.value.status == 400
    assert house.told[0].attempts == ()


async def test_nothing_leaks_whatever_happens(clock: FakeClock) -> None:
    """After many random ends no slot is taken, and every request has one entry."""
    rng = random.Random(7)
    kinds: list[FailureKind] = ["throttled", "unavailable", "timeout", "malformed", "refused"]

    def steps() -> list[object]:
        return [
            rng.choice(["ok", failure(rng.choice(kinds)), [b"x"], [b"x", failure("malformed")]])
            for _ in range(3000)
        ]

    house = House(clock, {"a": steps(), "b": steps(), "c": steps()})
    for turn in range(200):
        task = asyncio.create_task(house.ask(stream=bool(turn % 2)))
        await clock.run_for(rng.random() * 3)
        if not task.done():
            task.cancel()
        try:
            await task
        except (PointsmanError, asyncio.CancelledError):
            pass
    assert len(house.told) == 200
    assert [stack.meter.in_flight for stack in house.stacks.values()] == [0, 0, 0]
