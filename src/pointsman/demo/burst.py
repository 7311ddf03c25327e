"""A budget under a burst: many requests at once against a cent, and who got what of it.

All of them come at the same moment, and together they would cost twice what there is. Each
sets aside the most that it can cost before the provider is asked, or waits up to a second for room
and is refused. In the end three books must agree on what was spent: the budget's account, the
ledger's entries and the provider's own journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pointsman.budgets.standing import standings
from pointsman.clock import SystemClock
from pointsman.demo.books import Booked, Check, read_ledger
from pointsman.demo.client import Answered, Client
from pointsman.demo.prompts import Prompt
from pointsman.demo.world import BURST, FRONTIER, World
from pointsman.domain.budgets import Budget
from pointsman.domain.money import NANO, format_usd
from pointsman.domain.usage import Price
from pointsman.domain.windows import Window
from pointsman.ledger.reading import reading
from pointsman.testing.director import Rule
from pointsman.testing.journal import JournalEntry
from pointsman.testing.plays import Answer, Slow

AT_ONCE: Final = 40
BUDGET: Final = Budget(
    *(BURST, "key", NANO // 100),
    window=Window("total"),
    match=frozenset({BURST}),
    at_cap="queue",
    queue_s=1.0,
)
"""As pointsman.yaml has it."""

PROMPT: Final = Prompt("burst", "Describe this product.", model=FRONTIER, max_tokens=40)
ANSWERS: Final = Rule(
    (Answer("Light, warm and made to last. " * 4), Slow(first_token_s=0.1, tokens_per_second=600)),
    "burst",
)


@dataclass(frozen=True, slots=True)
class Burst:
    """What clients were told, and what the provider says it was asked."""

    answers: Sequence[Answered]
    calls: Sequence[JournalEntry]

    @property
    def answered(self) -> int:
        return sum(each.status == 200 for each in self.answers)

    @property
    def refused(self) -> int:
        return sum(each.status == 402 for each in self.answers)


async def play_burst(world: World) -> Burst:
    """Send all of it at once, with the key that the budget is of."""
    provider = world.providers[FRONTIER]
    before = len(provider.journal.calls)
    provider.set_rules(ANSWERS)
    client = Client(world.session, world.gateway_url, world.burst_key)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.send(number, PROMPT)) for number in range(AT_ONCE)]
    await provider.journal.settled()
    return Burst([task.result() for task in tasks], provider.journal.calls[before:])


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger's store has of the budget: in nano-USD."""

    spent: int
    held: int

    @property
    def left(self) -> int:
        return BUDGET.limit - self.spent - self.held


def read_account(path: Path) -> Account:
    """How the budget stands in the ledger's file, when the gateway has ended."""
    clock = SystemClock()
    with reading(path, clock) as ledger:
        found = standings(ledger.database, [BUDGET], clock.wall())
    return Account(sum(each.spent for each in found), sum(each.leased for each in found))


def audit_burst(
    burst: Burst, account: Account, ledger: Sequence[Booked], price: Price
) -> list[Check]:
    """Hold the budget, the ledger and the journal against each other."""
    booked = sum(each.cost_nano for each in ledger)
    billed = sum(price.cost(call.billed) for call in burst.calls)
    told = burst.answered + burst.refused
    return [
        Check(
            f"a budget of {format_usd(BUDGET.limit)} held under {AT_ONCE} requests at once",
            0 < account.spent <= BUDGET.limit and burst.refused > 0 and account.held == 0,
            f"{format_usd(account.spent)} spent",
        ),
        Check(
            "each was answered or told that the budget is used up",
            told == len(burst.answers) == len(ledger) and len(burst.calls) == burst.answered,
            f"{burst.answered} answered, {burst.refused} refused, {len(burst.calls)} sent",
        ),
        Check(
            "budget, ledger and journal agree on the burst",
            account.spent == booked == billed,
            f"{format_usd(account.spent)} counted, {format_usd(booked)} booked, "
            f"{format_usd(billed)} billed",
        ),
    ]


def burst_line(burst: Burst, account: Account) -> str:
    """The paragraph of the report: what became of the cent."""
    return (
        f"budget     {len(burst.answers)} requests at once against {format_usd(BUDGET.limit)}: "
        f"{burst.answered} answered, {burst.refused} refused, {format_usd(account.spent)} spent, "
        f"{format_usd(account.left)} left"
    )


def read_burst(path: Path) -> list[Booked]:
    """The ledger's entries of the burst."""
    return read_ledger(path, BURST)
