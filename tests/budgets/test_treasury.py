"""A worker's holds, over the escrow of a single process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from pointsman.budgets import plans
from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.budgets.holds import Hold
from pointsman.budgets.subjects import Ask
from pointsman.budgets.treasury import Settled, Treasury
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.domain.deployment import Deployment
from pointsman.domain.windows import Window
from pointsman.errors import BudgetExhausted, NoCandidate, PermissionDenied, RateLimited
from pointsman.testing.clock import FakeClock, settle

MODEL = Deployment("p/m", "p", "m", "workhorse", "openai_chat", None)
CALLER = Caller("web", user="ann", app="shop", team="red", tenant="acme")
ASK = Ask(CALLER, "chat", deployment=MODEL)
FOREVER = float("inf")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(clock: FakeClock) -> Callable[..., Treasury]:
    def made(*budgets: Budget) -> Treasury:
        return Treasury(budgets, MemoryEscrow(clock), clock)

    return made


Make = Callable[..., Treasury]


async def held(treasury: Treasury, worst: int | None, expected: int | None = None) -> Hold:
    expected = worst if expected is None else expected
    return await treasury.hold(ASK, "a1", worst, expected, 10, b"", FOREVER)


async def test_what_is_settled_takes_the_holds_place(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100))
    hold = await held(treasury, 90)
    with pytest.raises(BudgetExhausted):
        await held(treasury, 20)
    hold.settle(30, exact=True, tokens=1)
    (await held(treasury, 70)).void()
    (standing,) = await treasury.standing()
    assert (standing.spent, standing.leased) == (30, 70)
    with pytest.raises(BudgetExhausted):
        await held(treasury, 71)


async def test_a_hold_that_does_not_fit_into_one_account_is_taken_from_none(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100), Budget("team", "team", 50))
    with pytest.raises(BudgetExhausted) as refused:
        await held(treasury, 60)
    assert refused.value.param == "team"
    assert [bound.held for bound in treasury.bounds()] == [0, 0]
    other = Ask(Caller("x", team="blue", tenant="acme"), "chat", deployment=MODEL)
    await treasury.hold(other, "a2", 50, 50, 1, b"", FOREVER)
    await held(treasury, 50)


async def test_the_second_settling_is_nothing(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100))
    hold = await held(treasury, 90)
    hold.settle(30, exact=True, tokens=1)
    hold.settle(30, exact=True, tokens=1)
    hold.void()
    (standing,) = await treasury.standing()
    assert standing.spent == 30


async def test_a_price_that_nobody_knows_counts_in_no_budget(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100))
    with pytest.raises(NoCandidate) as refused:
        await held(treasury, None)
    assert refused.value.code == "unpriced_model"


async def test_without_budgets_a_price_need_not_be_known(make: Make) -> None:
    (await held(make(), None)).void()


async def test_a_named_budget_that_is_not_there_is_no_freedom(make: Make) -> None:
    ask = Ask(Caller("web", budgets=("gone",)), "chat", deployment=MODEL)
    treasury = make()
    with pytest.raises(PermissionDenied) as refused:
        await treasury.hold(ask, "a", 1, 1, 1, b"", FOREVER)
    assert refused.value.code == "unknown_budget"
    with pytest.raises(PermissionDenied):
        await treasury.admit(ask, 1)


async def test_what_costs_nothing_fits_into_a_budget_that_is_used_up(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100))
    (await held(treasury, 100)).settle(100, exact=True, tokens=1)
    (await held(treasury, 0)).settle(0, exact=True, tokens=1)


async def test_a_tight_budget_holds_what_is_expected_and_counts_what_was_too_little(
    make: Make,
) -> None:
    treasury = make(Budget("all", "everyone", 100, strict=False))
    hold = await held(treasury, 1000, 90)
    hold.settle(130, exact=True, tokens=1)
    (bound,) = treasury.bounds()
    assert bound.over == 40  # Beyond the lease; the account itself had 10 more.
    (standing,) = await treasury.standing()
    assert (standing.spent, standing.over) == (130, 30)
    with pytest.raises(BudgetExhausted):
        await held(treasury, 1000, 1)


async def test_what_was_too_little_is_made_up_for_first(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100, strict=False))
    (await held(treasury, 60, 60)).settle(80, exact=True, tokens=1)
    with pytest.raises(BudgetExhausted):
        await held(treasury, 30, 30)
    (await held(treasury, 20, 20)).void()


async def test_alert_lets_pass_and_says_by_how_much(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100, at_cap="alert"))
    for _ in range(3):
        (await held(treasury, 60)).settle(60, exact=True, tokens=1)
    (standing,) = await treasury.standing()
    assert (standing.spent, standing.over) == (180, 80)


async def test_downgrade_says_so_and_tells_what_is_left(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100, at_cap="downgrade"))
    assert treasury.affordable_nano(ASK) == 100
    (await held(treasury, 60)).settle(60, exact=True, tokens=1)
    assert treasury.affordable_nano(ASK) == 40
    with pytest.raises(BudgetExhausted) as refused:
        await held(treasury, 60)
    assert refused.value.downgrade
    assert treasury.affordable_nano(ASK) == 40


async def test_a_refusal_says_whose_and_when(make: Make, clock: FakeClock) -> None:
    treasury = make(Budget("red-day", "team", 10**9, window=Window("day")))
    with pytest.raises(BudgetExhausted) as refused:
        await held(treasury, 2 * 10**9)
    assert refused.value.message == (
        "budget 'red-day' of team 'red': $2.00 needed, $1.00 left of $1.00 a day; "
        "room comes back at 2023-11-15T00:00:00Z"
    )
    assert refused.value.retry_after_s == pytest.approx(1_700_006_400 - clock.wall())


class TestQueue:
    BUDGET = Budget("all", "everyone", 100, at_cap="queue", queue_s=5.0)

    async def test_who_waits_goes_on_when_there_is_room(self, make: Make, clock: FakeClock) -> None:
        treasury = make(self.BUDGET)
        first = await held(treasury, 90)
        second = asyncio.create_task(held(treasury, 50))
        await clock.run_for(3.0)
        assert not second.done()
        first.settle(10, exact=True, tokens=1)
        await clock.run_for(0.01)
        (await second).void()

    async def test_nobody_is_passed_by(self, make: Make, clock: FakeClock) -> None:
        """The large one came first: small ones that would fit wait behind it."""
        treasury = make(self.BUDGET)
        first = await held(treasury, 90)
        order: list[str] = []

        async def ask(name: str, amount: int) -> None:
            hold = await held(treasury, amount)
            order.append(name)
            hold.void()

        tasks = [asyncio.create_task(ask("large", 100))]
        await settle()
        tasks += [asyncio.create_task(ask(f"small {n}", 5)) for n in range(3)]
        await clock.run_for(2.0)
        assert order == []
        first.void()
        await clock.run_for(0.2)
        await asyncio.gather(*tasks)
        assert order == ["large", "small 0", "small 1", "small 2"]

    async def test_nobody_waits_longer_than_may_be(self, make: Make, clock: FakeClock) -> None:
        treasury = make(self.BUDGET)
        await held(treasury, 90)
        waiting = [asyncio.create_task(held(treasury, 50)) for _ in range(2)]
        await clock.run_for(4.9)
        assert not any(task.done() for task in waiting)
        await clock.run_for(0.2)
        for task in waiting:
            with pytest.raises(BudgetExhausted):
                await task
        assert treasury.waiting == 0

    async def test_the_deadline_comes_first(self, make: Make, clock: FakeClock) -> None:
        treasury = make(self.BUDGET)
        await held(treasury, 90)
        waiting = asyncio.create_task(treasury.hold(ASK, "b", 50, 50, 1, b"", clock.now() + 1.0))
        await clock.run_for(1.01)
        with pytest.raises(BudgetExhausted):
            await waiting

    async def test_who_is_cancelled_leaves_the_line_to_others(
        self, make: Make, clock: FakeClock
    ) -> None:
        treasury = make(self.BUDGET)
        await held(treasury, 90)
        large = asyncio.create_task(held(treasury, 50))
        await settle()
        small = asyncio.create_task(held(treasury, 10))
        await clock.run_for(1.0)
        assert not small.done()
        large.cancel()
        await clock.run_for(0.2)
        (await small).void()

    async def test_a_full_budget_does_not_hold_up_who_shares_a_parent(
        self, make: Make, clock: FakeClock
    ) -> None:
        treasury = make(
            Budget("all", "everyone", 1000),
            Budget("team", "team", 100, at_cap="queue", queue_s=5.0),
        )
        await held(treasury, 90)
        waiting = asyncio.create_task(held(treasury, 50))
        await clock.run_for(0.5)
        blue = Ask(Caller("x", team="blue", tenant="acme"), "chat", deployment=MODEL)
        (await treasury.hold(blue, "b", 50, 50, 1, b"", FOREVER)).void()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


class TestRates:
    async def test_requests_come_back_a_window_later_and_never_early(
        self, make: Make, clock: FakeClock
    ) -> None:
        minute = Window("minute", rolling=True)
        treasury = make(Budget("rpm", "key", 3, unit="requests", window=minute))
        at = []
        for _ in range(3):
            (await treasury.admit(ASK, 1)).close(1)
            at.append(clock.now())
            clock.advance(5.0)
        with pytest.raises(RateLimited) as refused:
            await treasury.admit(ASK, 1)
        assert refused.value.param == "rpm"
        wait = refused.value.retry_after_s
        assert wait is not None
        assert at[0] + 60.0 <= clock.now() + wait <= at[0] + 62.0
        clock.advance(at[0] + 60.0 - clock.now())
        with pytest.raises(RateLimited):
            await treasury.admit(ASK, 1)
        clock.advance(1.0)
        await treasury.admit(ASK, 1)
        with pytest.raises(RateLimited):
            await treasury.admit(ASK, 1)

    async def test_tokens_are_corrected(self, make: Make, clock: FakeClock) -> None:
        minute = Window("minute", rolling=True)
        treasury = make(Budget("tpm", "key", 1000, unit="tokens", window=minute, strict=False))
        (await treasury.admit(ASK, 900)).close(100)
        admission = await treasury.admit(ASK, 900)
        with pytest.raises(RateLimited):
            await treasury.admit(ASK, 1)
        admission.close(1500)
        with pytest.raises(RateLimited):
            await treasury.admit(ASK, 1)
        (bound,) = treasury.bounds()
        assert bound.over == 600

    async def test_a_slot_is_given_back_exactly_once(self, make: Make) -> None:
        treasury = make(Budget("few", "key", 2, unit="at_once", window=Window("total")))
        first, second = await treasury.admit(ASK, 1), await treasury.admit(ASK, 1)
        with pytest.raises(RateLimited):
            await treasury.admit(ASK, 1)
        first.close(1)
        first.close(1)
        third = await treasury.admit(ASK, 1)
        with pytest.raises(RateLimited):
            await treasury.admit(ASK, 1)
        second.close(1)
        third.close(1)
        (bound,) = treasury.bounds()
        assert bound.held == 0

    async def test_a_providers_rate_counts_attempts(self, make: Make) -> None:
        treasury = make(Budget("p", "provider", 1, unit="at_once", window=Window("total")))
        await treasury.admit(ASK, 1)
        hold = await held(treasury, None)
        with pytest.raises(RateLimited):
            await held(treasury, None)
        hold.void()
        (await held(treasury, None)).void()


class TestWindows:
    async def test_a_hold_is_settled_in_the_window_it_was_taken_in(
        self, make: Make, clock: FakeClock
    ) -> None:
        treasury = make(Budget("all", "everyone", 100, window=Window("day")))
        old = await held(treasury, 80)
        clock.advance(86_400)
        new = await held(treasury, 100)
        old.settle(80, exact=True, tokens=1)
        with pytest.raises(BudgetExhausted):
            await held(treasury, 1)
        new.settle(10, exact=True, tokens=1)
        (standing,) = await treasury.standing()
        assert standing.spent == 10

    async def test_a_raised_limit_holds_at_once(self, make: Make) -> None:
        treasury = make(Budget("all", "everyone", 100))
        await held(treasury, 100)
        with pytest.raises(BudgetExhausted):
            await held(treasury, 50)
        treasury.follow([Budget("all", "everyone", 150)])
        await held(treasury, 50)

    async def test_a_lowered_limit_says_what_stands_above_it(self, make: Make) -> None:
        treasury = make(Budget("all", "everyone", 100))
        hold = await held(treasury, 80)
        treasury.follow([Budget("all", "everyone", 50)])
        with pytest.raises(BudgetExhausted):
            await held(treasury, 1)
        (standing,) = await treasury.standing()
        assert (standing.limit, standing.over) == (50, 30)
        hold.settle(20, exact=True, tokens=1)
        (await held(treasury, 30)).void()
        with pytest.raises(BudgetExhausted):
            await held(treasury, 31)


async def test_thousands_of_runs_are_forgotten_and_not_miscounted(
    make: Make, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr(plans, "MOST_PLANS", 10)
    treasury = make(Budget("run", "run", 100), Budget("all", "everyone", 10_000))
    first = await treasury.hold(msgspec.structs.replace(ASK, run="0"), "a", 60, 60, 1, b"", FOREVER)
    for n in range(1, 100):
        ask = msgspec.structs.replace(ASK, run=str(n))
        (await treasury.hold(ask, "a", 10, 10, 1, b"", FOREVER)).settle(10, exact=True, tokens=1)
        clock.advance(1.0)
        treasury.sweep()
    assert len(treasury.bounds()) == 2
    assert len(treasury._plans) < 70
    again = msgspec.structs.replace(ASK, run="0")
    with pytest.raises(BudgetExhausted):
        await treasury.hold(again, "b", 50, 50, 1, b"", FOREVER)
    first.settle(60, exact=True, tokens=1)
    assert sum(each.spent for each in await treasury.standing()) == 2 * (990 + 60)


async def test_listeners_hear_of_every_settling(make: Make) -> None:
    treasury = make(Budget("all", "everyone", 100))
    heard: list[Settled] = []
    treasury.listen(heard.append)
    first, second = await held(treasury, 50), await held(treasury, 30)
    first.settle(20, exact=True, tokens=1)
    second.settle(30, exact=True, tokens=1)
    assert [(told.charged, told.spent, told.limit) for told in heard] == [
        (20, 20, 100),
        (30, 50, 100),
    ]


ROLLING = Window("minute", rolling=True)
MINUTE = Window("minute")
RESETS = [
    # window, seconds from the first request to the look, whether one counts, seconds to the reset
    ("nothing counts", ROLLING, 0, False, 0),
    ("a slice ends a second after it began, and counts for a minute", ROLLING, 0.5, True, 60.5),
    ("whatever counts, a slice of now may be among it", ROLLING, 30, True, 61),
    ("a calendar window, early", MINUTE, 0, True, 60),
    ("a calendar window, late", MINUTE, 45, True, 15),
    ("a calendar window in which nothing counts", MINUTE, 45, False, 15),
]


@pytest.mark.parametrize(
    ("window", "after", "counts", "reset_s"),
    [each[1:] for each in RESETS],
    ids=[each[0] for each in RESETS],
)
async def test_the_reset_is_when_the_limit_is_whole_again(
    make: Make, clock: FakeClock, window: Window, after: float, counts: bool, reset_s: float
) -> None:
    clock.advance(-clock.wall() % 60)
    treasury = make(Budget("tpm", "key", 300, "tokens", window))
    (await treasury.admit(ASK, 10)).close(10 if counts else 0)
    clock.advance(after)
    assert treasury.view(ASK)[0].reset_s == pytest.approx(reset_s)


async def test_a_refusal_may_end_before_the_limit_is_whole(make: Make, clock: FakeClock) -> None:
    clock.advance(-clock.wall() % 60)
    treasury = make(Budget("rpm", "key", 2, "requests", ROLLING))
    await treasury.admit(ASK, 1)
    clock.advance(20)
    await treasury.admit(ASK, 1)
    with pytest.raises(RateLimited) as refused:
        await treasury.admit(ASK, 1)
    assert refused.value.retry_after_s == pytest.approx(41)
    (standing,) = treasury.view(ASK)
    assert standing.remaining == 0
    assert standing.reset_s == pytest.approx(61)
