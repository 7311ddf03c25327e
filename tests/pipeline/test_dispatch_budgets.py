"""Attempts hold before they are made, and settle once, whatever becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.house import Does, House, ended, fails, failure

from pointsman.budgets.ahead import NoLog
from pointsman.budgets.treasury import Settled
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.domain.usage import Price, Rates, Usage
from pointsman.errors import (
    AllFailed,
    BudgetExhausted,
    FailureKind,
    NoCandidate,
    Overloaded,
    PermissionDenied,
    PointsmanError,
    RateLimited,
    Unsupported,
)
from pointsman.ledger.entries import Attempt
from pointsman.routing.contract import BUDGET, RATE, STORAGE, UNKNOWN_BUDGET, UNPRICED, EndRow
from pointsman.routing.spec import FallbackSpec, HedgeSpec
from pointsman.store.errors import StorageUnavailable
from pointsman.testing.clock import FakeClock, settle
from pointsman.testing.services import make_call
from pointsman.wal.note import decode

PLENTY = 10**12


def everyone(limit: int, **more: object) -> Budget:
    return Budget("all", "everyone", limit, **more)  # type: ignore[arg-type]


class Book(NoLog):
    """A log that keeps what it is told: (what, attempt)."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_broken = is_broken
        self.told: list[tuple[str, str]] = []
        self.notes: list[bytes] = []

    def dispatch(
        self, attempt_id: str, parts: Sequence[tuple[int, int]], amount: int, note: bytes
    ) -> None:
        if self.is_broken:
            raise StorageUnavailable("disk full")
        self.told.append(("dispatch", attempt_id))
        self.notes.append(note)

    def settle(
        self,
        attempt_id: str,
        charges: Sequence[tuple[int, int, int]],
        exact: bool,
        charged_nano: int | None = None,
    ) -> None:
        self.told.append(("exact" if exact else "estimate", attempt_id))

    def void(self, attempt_id: str) -> None:
        self.told.append(("void", attempt_id))


async def test_each_attempt_is_dispatched_and_settled_under_its_own_id(clock: FakeClock) -> None:
    book = Book()
    scripts = {"a": [fails("timeout")], "b": [Does(0, Unsupported("no"))], "c": [Does()]}
    house = House(clock, scripts, budgets=[everyone(PLENTY)], log=book)
    assert await house.ask() == "c"
    assert book.told == [
        *(("dispatch", "att_1"), ("estimate", "att_1")),
        *(("dispatch", "att_2"), ("void", "att_2")),
        *(("dispatch", "att_3"), ("exact", "att_3")),
    ]
    # Who was not called is no attempt.
    assert [attempt.id for attempt in house.attempts] == ["att_1", "att_3"]


async def test_the_log_is_told_enough_to_write_the_entry(clock: FakeClock) -> None:
    book = Book()
    house = House(clock, {"a": []}, budgets=[], log=book)
    clock.advance(2)
    call = make_call(clock, caller=Caller("k", "u", "p", "t", "x", tags={"c": "d"}))
    clock.advance(1)
    async with await house.account(call):
        pass
    note = decode(book.notes[0])
    assert (note.request_id, note.route, note.deployment, note.key) == ("req_1", "auto", "a", "k")
    assert (note.user, note.app, note.team, note.tenant) == ("u", "p", "t", "x")
    assert note.at == pytest.approx(house.told[0].at - 1)
    assert (note.started_s, note.tags) == (1.0, {"c": "d"})
    assert note.price_version == "test"
    assert note.expected_nano is not None


async def test_a_disk_that_is_full_has_nobody_asked(clock: FakeClock) -> None:
    house = House(clock, {"a": [], "b": []}, budgets=[everyone(PLENTY)], log=Book(is_broken=True))
    with pytest.raises(Overloaded) as caught:
        await house.ask()
    keeps(caught.value, STORAGE)
    assert house.calls() == {"a": 0, "b": 0}
    assert house.spent() == 0


def keeps(error: PointsmanError, row: EndRow) -> None:
    """The error has the face that the contract promises."""
    assert (error.status, error.code) == (row.status, row.code)
    assert error.should_retry == (row.retry != "no")
    assert (error.retry_after_s is not None) == row.retry_after


async def test_the_faces_of_refusals_are_those_of_the_contract(clock: FakeClock) -> None:
    house = House(clock, {"a": []}, budgets=[everyone(1)])
    with pytest.raises(BudgetExhausted) as broke:
        await house.ask()
    keeps(broke.value, BUDGET)
    house = House(clock, {"a": []}, budgets=[everyone(0, unit="requests")])
    with pytest.raises(RateLimited) as fast:
        await house.ask()
    keeps(fast.value, RATE)
    house = House(clock, {"a": []}, budgets=[everyone(1)], changes={"a": {"price": None}})
    with pytest.raises(NoCandidate) as blind:
        await house.ask()
    keeps(blind.value, UNPRICED)
    with pytest.raises(PermissionDenied) as lost:
        await house.ask(caller=Caller(budgets=("gone",)))
    keeps(lost.value, UNKNOWN_BUDGET)


async def test_what_a_budget_refuses_after_a_failure_ends_the_call(clock: FakeClock) -> None:
    """The failure may have been billed: its hold stays, and nothing is left for the next."""
    house = House(clock, {"a": [fails("timeout")], "b": []}, budgets=[everyone(PLENTY)])
    most = house.worst_nano()
    house.treasury.follow([everyone(2 * most - 1)])
    with pytest.raises(BudgetExhausted):
        await house.ask()
    assert house.calls() == {"a": 1, "b": 0}
    assert house.told[-1].status == 402
    assert house.spent() == most


async def test_one_that_was_not_billed_leaves_it_to_the_next(clock: FakeClock) -> None:
    unbilled = Does(0, failure("throttled", maybe_billed=False))
    house = House(clock, {"a": [unbilled], "b": []}, budgets=[everyone(PLENTY)])
    house.treasury.follow([everyone(house.worst_nano())])
    assert await house.ask() == "b"
    assert house.spent() == house.told[-1].cost_nano


async def test_a_cheaper_one_follows_where_the_budget_lets_it(clock: FakeClock) -> None:
    cheap = Price(Rates.of(1_000, 2_000), version="test")
    scripts: dict[str, list[Does]] = {"dear": [], "cheap": []}
    changes = {"cheap": {"price": cheap}}
    for at_cap, who in (("downgrade", "cheap"), ("alert", "dear")):
        house = House(clock, scripts, changes=changes, budgets=[everyone(10_000, at_cap=at_cap)])
        assert await house.ask() == who
    house = House(clock, scripts, changes=changes, budgets=[everyone(10_000)])
    with pytest.raises(BudgetExhausted):
        await house.ask()


async def test_the_decision_tells_whom_a_budget_keeps_out(clock: FakeClock) -> None:
    cheap = Price(Rates.of(1_000, 2_000), version="test")
    house = House(
        clock,
        {"dear": [], "cheap": []},
        changes={"cheap": {"price": cheap}},
        budgets=[everyone(10_000, at_cap="downgrade")],
    )
    await house.ask()
    decision = house.told[-1].decision
    assert decision is not None
    assert [(each.deployment.name, each.filter) for each in decision.rejected] == [
        ("dear", "budget")
    ]


@pytest.mark.parametrize(("times", "who"), [(2, "slow"), (10, "quick")])
async def test_a_hedge_that_has_no_money_is_not_sent(
    times: int, who: str, clock: FakeClock
) -> None:
    hedge = HedgeSpec(enabled=True, share=1.0, spend_share=1.0, success=0.0)
    scripts: dict[str, list[Does]] = {"slow": [Does(5.0)], "quick": []}
    house = House(clock, scripts, hedge=hedge, budgets=[everyone(PLENTY)])
    for stack in house.stacks.values():
        for streams in stack.meter._streams:
            for _ in range(20):
                streams.add(0.5, clock.now())
    assert house.dispatch._hedge is not None
    house.dispatch._hedge._spend.pay("anonymous", PLENTY, clock.now())
    one = house.worst_nano()
    house.treasury.follow([everyone(times * one - 1)])
    task = asyncio.create_task(house.ask(stream=True))
    await ended(clock, task)
    assert await task == who
    if who == "quick":
        lost = next(each for each in house.attempts if each.deployment == "slow")
        assert (lost.outcome, lost.charged_nano) == ("abandoned", one)
    assert house.spent() <= times * one
    assert house.leftovers() == {}


async def test_who_leaves_while_waiting_for_room_leaves_nothing_behind(clock: FakeClock) -> None:
    house = House(clock, {"a": [Does(5.0)]}, budgets=[everyone(PLENTY)])
    house.treasury.follow([everyone(house.worst_nano(), at_cap="queue", queue_s=60.0)])
    first = asyncio.create_task(house.ask())
    await settle()
    second = asyncio.create_task(house.ask())
    await settle()
    assert house.treasury.waiting == 1
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert house.treasury.waiting == 0
    await ended(clock, first)
    assert house.calls() == {"a": 1}
    assert house.spent() == house.told[-1].cost_nano
    assert house.told[0].outcome == "abandoned" and house.told[0].attempts == ()


async def test_the_length_that_is_paid_for_is_said_below(clock: FakeClock) -> None:
    """Only where something strict counts, and the client has not said so itself."""
    said: list[int | None] = []
    for budgets in (None, [], [everyone(PLENTY, strict=False)], [everyone(PLENTY)]):
        house = House(clock, {"a": []}, budgets=budgets)
        service = house.services["a"]
        asked = house.dispatch._asking(
            make_call(clock),
            house.dispatch.choice.choose(  # type: ignore[arg-type]
                make_call(clock), house.dispatch.features(make_call(clock))
            ),
            service.deployment,
            told=None,
        )
        said.append(asked.call.most_tokens)
    assert said == [None, None, None, 100]


async def test_a_mistake_of_ours_below_keeps_the_hold_and_is_noted(clock: FakeClock) -> None:
    house = House(clock, {"a": [Does(0, ZeroDivisionError())]}, budgets=[everyone(PLENTY)])
    with pytest.raises(ZeroDivisionError):
        await house.ask()
    [attempt] = house.attempts
    assert attempt.charged_nano == house.worst_nano()
    house.spent()


async def test_listeners_hear_what_was_charged(clock: FakeClock) -> None:
    house = House(clock, {"a": []}, budgets=[everyone(PLENTY)])
    heard: list[Settled] = []
    house.treasury.listen(heard.append)
    await house.ask()
    assert [(each.charged, each.budget.name) for each in heard] == [
        (house.told[-1].cost_nano, "all")
    ]


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
    st.floats(0.5, 6.0),
    st.booleans(),
    st.booleans(),
    st.floats(0.1, 20.0),
)
def test_a_strict_budget_is_never_overspent(
    scripts: list[list[Does]], times: float, stream: bool, hedged: bool, patience_s: float
) -> None:
    """Several at once, whatever fails, with hedges or without, whoever leaves."""

    async def play() -> None:
        clock = FakeClock()
        house = House(
            clock,
            {f"d{i}": script for i, script in enumerate(scripts)},
            fallback=FallbackSpec(max_attempts=5, retry_same=2),
            hedge=HedgeSpec(enabled=hedged, share=1.0, spend_share=1.0, success=0.0),
            budgets=[everyone(PLENTY)],
        )
        for stack in house.stacks.values():
            for streams in stack.meter._streams:
                for _ in range(20):
                    streams.add(0.5, clock.now())
        limit = int(house.worst_nano() * times)
        house.treasury.follow([everyone(limit)])
        for _ in range(2):
            tasks = [asyncio.create_task(house.ask(stream=stream)) for _ in range(3)]
            clock.call_later(patience_s, tasks[0].cancel)
            for task in tasks:
                await ended(clock, task)
                try:
                    await task
                except (PointsmanError, asyncio.CancelledError):
                    pass
        assert house.spent() <= limit
        assert all(
            charged(each) >= (each.cost_nano or 0) for e in house.told for each in e.attempts
        )
        assert house.leftovers() == {}

    asyncio.run(play())


def charged(attempt: Attempt) -> int:
    return attempt.charged_nano if attempt.charged_nano is not None else attempt.cost_nano or 0


async def test_all_that_failed_is_told_as_ever(clock: FakeClock) -> None:
    house = House(clock, {"a": [fails("timeout")]}, budgets=[everyone(PLENTY)])
    with pytest.raises(AllFailed):
        await house.ask()
