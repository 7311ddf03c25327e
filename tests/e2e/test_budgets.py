"""Budgets over real sockets: nobody spends what another has, and each end gives back its hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from e2e_house import House, open_house

from pointsman.access.principal import EVERYTHING
from pointsman.alerts.book import list_alerts
from pointsman.books import check_shared
from pointsman.config.load import loads
from pointsman.config.settings import Settings
from pointsman.domain.usage import Price, Rates
from pointsman.errors import ConfigError
from pointsman.testing import Answer, Cut, ErrorEvent, Fail, Hang, Slow, Truncate
from pointsman.testing.provider import CancelBilling

CENT = 10_000_000
"""nano-USD."""

FIRST = Price(Rates.of(1_000_000_000, 2_000_000_000, 500_000_000), version="file")
SECOND = Price(Rates.of(3_000_000_000, 15_000_000_000), version="file")


def opened(
    *budgets: dict[str, Any], rates: tuple[dict[str, Any], ...] = (), **more: Any
) -> AbstractAsyncContextManager[House]:
    def change(config: dict[str, Any]) -> None:
        config["budgets"] = list(budgets)
        config["rates"] = list(rates)
        for name, value in more.items():
            config[name].update(value) if isinstance(value, dict) else config[name].extend(value)

    return open_house(change)


def everyone(limit_usd: float, **more: Any) -> dict[str, Any]:
    return {"name": "all", "scope": "everyone", "limit_usd": limit_usd, "window": "day", **more}


def billed(house: House) -> int:
    """What the providers' journals say that it cost, in nano-USD."""
    first = sum(FIRST.cost(call.billed) for call in house.openai.journal.calls)
    return first + sum(SECOND.cost(call.billed) for call in house.claude.journal.calls)


async def journalled(house: House, calls: int) -> None:
    """Wait until the first provider has seen so many calls end."""
    async with asyncio.timeout(5):
        while len(house.openai.journal.calls) < calls:
            await asyncio.sleep(0.002)


async def standing(house: House, name: str = "all") -> tuple[int, int]:
    """(spent, held) of a budget, when nothing is under way any more."""
    treasury = house.gateway.books.treasury
    async with asyncio.timeout(5):
        while any(bound.held for bound in treasury.bounds()):
            await asyncio.sleep(0.002)
    treasury.sweep()
    await asyncio.sleep(0)
    accounts = [each for each in await treasury.standing() if each.budget == name]
    held = sum(bound.held for bound in treasury.bounds() if bound.budget == name)
    return sum(each.spent for each in accounts), held


def charged(house: House) -> int:
    """What the ledger says that budgets were charged."""
    attempts = [each for entry in house.ledger.entries for each in entry.attempts]
    return sum(
        (each.cost_nano or 0) if each.charged_nano is None else each.charged_nano
        for each in attempts
    )


@pytest.fixture
async def a_cent() -> AsyncIterator[House]:
    def patient(config: dict[str, Any]) -> None:
        config["budgets"] = [everyone(0.01)]
        # Two hundred at once on a slow machine are late, which is not what is looked at.
        times = {"first_content_s": 20, "idle_s": 20, "whole_s": 20, "total_s": 30}
        config["routes"][0]["timeouts"] = times

    async with open_house(patient) as house:
        yield house


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_two_hundred_at_once_spend_no_more_than_there_is(
    a_cent: House, dialect: str, stream: bool
) -> None:
    """The race that lets others pass 100 calls on a hard cap of a cent."""
    ask = a_cent.chat if dialect == "openai" else a_cent.message
    got = await asyncio.gather(*(ask(f"{n}", max_tokens=200, stream=stream) for n in range(200)))
    statuses = Counter(each.status for each in got)
    assert set(statuses) == {200, 402}
    assert statuses[200] >= 10
    await a_cent.told(200)
    spent, held = await standing(a_cent)
    assert spent == billed(a_cent) == charged(a_cent)
    assert spent <= CENT
    assert held == 0
    # What is left would not have held one more: nobody was refused for nothing.
    refused = next(each for each in got if each.status == 402)
    assert refused.error["param" if dialect == "openai" else "code"] in ("all", "budget_exceeded")


async def test_the_refusal_says_whose_budget_it_is_and_when_it_opens(a_cent: House) -> None:
    got = await a_cent.chat("hi", max_tokens=19_000)
    assert got.status == 402
    assert got.error["type"] == got.error["code"] == "budget_exceeded"
    assert got.error["param"] == "all"
    assert "everyone together" in got.error["message"] and "a day" in got.error["message"]
    assert got.headers["x-should-retry"] == "false"
    assert 0 < int(got.headers["retry-after"]) <= 86_400
    assert got.headers["x-pointsman-budget-left-usd"] == "0.01"
    entry = (await a_cent.told())[0]
    assert (entry.status, entry.outcome, entry.error_code) == (402, "rejected", "budget_exceeded")
    assert entry.attempts == () and a_cent.asked() == {"openai": 0, "claude": 0}


async def test_anthropics_dialect_says_it_in_its_own_words(a_cent: House) -> None:
    got = await a_cent.message("hi", max_tokens=19_000)
    assert got.status == 402
    assert got.json["type"] == "error"
    assert got.error["type"] == "billing_error"
    assert got.error["code"] == "budget_exceeded"


async def test_what_is_left_is_told_with_each_answer(a_cent: House) -> None:
    got = await a_cent.chat("hi", max_tokens=100)
    left = float(got.headers["x-pointsman-budget-left-usd"])
    cost = float(got.headers["x-pointsman-cost-usd"])
    assert left == pytest.approx(0.01 - cost)
    streamed = await a_cent.chat("hi", max_tokens=100, stream=True)
    # At its beginning: the whole answer is still set aside.
    assert float(streamed.headers["x-pointsman-budget-left-usd"]) < left


async def test_an_answer_is_held_to_the_length_that_is_paid_for(a_cent: House) -> None:
    """Who states no longest answer has one stated: what is held bounds what comes."""
    await a_cent.chat("hi", model="solo")
    body = a_cent.openai.journal.calls[0].body
    assert b'"max_tokens":4096' in body.replace(b" ", b"")


async def test_nothing_is_stated_where_nothing_is_counted() -> None:
    async with open_house() as house:
        await house.chat("hi", model="solo")
        assert b"max_tokens" not in house.openai.journal.calls[0].body


ENDS: dict[str, tuple[Any, ...]] = {
    "an error status": (Fail(500),),
    "a 429": (Fail(429, {"retry-after": "7"}),),
    "cut before content": (Cut(),),
    "no answer": (Hang(),),
    "an error event": (ErrorEvent(),),
}


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("end", ENDS)
async def test_each_attempt_counts_and_none_twice(end: str, stream: bool) -> None:
    """A failed attempt that may have been billed counts with all that was held."""
    async with opened(everyone(1)) as house:
        house.openai.script(ENDS[end])
        got = await house.chat("hi", max_tokens=50, stream=stream)
        assert got.status == 200
        assert got.headers["x-pointsman-deployment"] == "second"
        await house.told()
        spent, held = await standing(house)
        assert held == 0
        assert spent == charged(house) >= billed(house)
        failed = house.ledger.entries[0].attempts[0]
        if end in ("an error status", "a 429"):
            assert failed.charged_nano is None and failed.cost_nano == 0
            assert spent == billed(house)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cut", [Cut(after_tokens=5), Truncate(after_tokens=5), Hang(after_tokens=5)], ids=repr
)
async def test_a_stream_that_is_cut_keeps_its_hold_and_says_so(cut: Any) -> None:
    async with opened(everyone(1)) as house:
        house.openai.script((Answer("word " * 40), cut))
        await house.chat("hi", max_tokens=50, stream=True)
        await house.told()
        spent, held = await standing(house)
        attempt = house.ledger.entries[0].attempts[0]
        assert attempt.usage.estimated
        assert attempt.charged_nano is not None and attempt.cost_nano is not None
        assert spent == attempt.charged_nano > attempt.cost_nano
        assert spent >= billed(house)
        assert held == 0


@pytest.mark.slow
@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_client_that_leaves_is_charged_what_it_may_have_cost(is_begun: bool) -> None:
    async with opened(everyone(1)) as house:
        pace = Slow(tokens_per_second=20) if is_begun else Slow(first_token_s=0.3)
        house.openai.script((Answer("word " * 40), pace))
        body = {
            "model": "auto",
            "stream": True,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hi"}],
        }
        headers = house.auth
        request = house.client.post(house.url + "/v1/chat/completions", json=body, headers=headers)
        if is_begun:
            async with request as response:
                await response.content.readany()
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await request
        entry = (await house.told())[0]
        assert entry.outcome == "abandoned"
        spent, held = await standing(house)
        assert held == 0
        await journalled(house, 1)
        assert spent == charged(house) >= billed(house) > 0


CANCELS = 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("like", "model", "billing", "keeps"),
    [
        ("openai", "gpt-4o-mini", "generated", False),
        ("openai", "o3", "generated", True),
        ("openai", "nobody-knows-it", "generated", True),
        ("mistral", "mistral-small-latest", "all", True),
    ],
    ids=["it stops", "it may have thought", "nobody knows the model", "billed to its end"],
)
async def test_streams_that_are_left_anywhere_are_charged_what_their_provider_bills(
    like: str, model: str, billing: CancelBilling, keeps: bool
) -> None:
    """Left at random chunks of answers at random paces, by readers quick and slow."""
    rng = random.Random(4)

    def change(config: dict[str, Any]) -> None:
        config["budgets"] = [everyone(10)]
        config["providers"]["oa"] |= {"like": like}
        config["deployments"][0] |= {"model": model, "output_tokens": 4_000}
        del config["deployments"][0]["capabilities"]
        config["routes"][0]["timeouts"] = {"total_s": 20}

    async with open_house(change, cancel_billing=billing) as house:
        plays = [
            (
                Answer("antidisestablishmentarianism ü €\n" * rng.randint(20, 60)),
                Slow(tokens_per_second=rng.choice([50, 200, 1_000, 5_000])),
            )
            for _ in range(CANCELS)
        ]
        house.openai.script(*plays)

        async def leaves(after: int) -> None:
            body = {
                "model": "solo",
                "stream": True,
                "max_tokens": 3_000,
                "messages": [{"role": "user", "content": "hi"}],
            }
            url, headers = house.url + "/v1/chat/completions", house.auth
            async with house.client.post(url, json=body, headers=headers) as response:
                for _ in range(after):
                    if not await response.content.readany():
                        return
                    await asyncio.sleep(rng.choice([0, 0, 0.02]))
                response.close()

        await asyncio.gather(*(leaves(rng.randint(1, 40)) for _ in range(CANCELS)))
        entries = await house.told(CANCELS)
        await journalled(house, CANCELS)
        spent, held = await standing(house)
        assert held == 0 and spent == charged(house)
        bills = {call.attempt_id: FIRST.cost(call.billed) for call in house.openai.journal.calls}
        left = [e.attempts[0] for e in entries if e.outcome == "abandoned"]
        assert len(left) > CANCELS / 2
        for attempt in left:
            assert attempt.charged_nano is not None and attempt.usage.estimated
            assert bills[attempt.id] <= attempt.charged_nano
        hold = 3_000 * 2_000  # nano-USD of the longest answer alone.
        kept = [attempt for attempt in left if (attempt.charged_nano or 0) >= hold]
        assert len(kept) == len(left) if keeps else len(kept) < len(left) / 4


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
async def test_a_stream_that_is_left_before_its_content_is_charged_for_its_input(
    stream: bool,
) -> None:
    """And for what may have been on its way; of a whole answer nobody knows how far it was."""

    def change(config: dict[str, Any]) -> None:
        config["budgets"] = [everyone(10)]
        config["providers"]["oa"] |= {"like": "openai"}
        config["deployments"][0] |= {"model": "gpt-4o-mini", "output_tokens": 4_000}
        del config["deployments"][0]["capabilities"]

    async with open_house(change) as house:
        house.openai.script((Answer("word " * 40), Slow(first_token_s=0.3)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await house.chat("hi", model="solo", stream=stream, max_tokens=3_000)
        ((attempt,),) = [entry.attempts for entry in await house.told()]
        await journalled(house, 1)
        assert attempt.outcome == "abandoned" and attempt.charged_nano is not None
        on_its_way, whole = 256 * 2_000, 3_000 * 2_000  # nano-USD
        assert billed(house) <= attempt.charged_nano
        low, high = (on_its_way, whole) if stream else (whole, 2 * whole)
        assert low < attempt.charged_nano < high


async def test_a_tight_budget_holds_what_is_expected_and_shows_what_it_was_short_by() -> None:
    async with opened(everyone(0.0009, mode="tight")) as house:
        house.openai.script(Answer("word " * 800))
        got = await house.chat("hi", max_tokens=2_000, model="solo")
        assert got.status == 200  # Its longest answer would not have fitted.
        spent, _ = await standing(house)
        assert spent == billed(house) > 900_000
        accounts = await house.gateway.books.treasury.standing()
        assert [each.over for each in accounts] == [spent - 900_000]
        assert (await house.chat("hi", max_tokens=10, model="solo")).status == 402


# What follows at the cap.


def cheap(config_price: float = 0.01) -> list[dict[str, Any]]:
    return [
        {
            "name": "cheap",
            "provider": "oa",
            "model": "cheap-test",
            "tier": "workhorse",
            "price": {"input_usd": config_price, "output_usd": config_price},
            "capabilities": ["chat"],
        }
    ]


DOWN = {
    "name": "down",
    "deployments": ["second", "first", "cheap"],
    "strategy": "static",
    "order": ["second", "first", "cheap"],
}


async def test_a_downgrade_lets_the_cheaper_ones_answer_and_says_why() -> None:
    budget = everyone(0.003, at_cap="downgrade")
    async with opened(budget, deployments=cheap(), routes=[DOWN]) as house:
        asked: dict[str, Any] = {"model": "down", "max_tokens": 100}
        who: list[str] = []
        while "cheap" not in who and len(who) < 60:
            got = await house.chat("word " * 60, **asked)
            who.append(got.headers["x-pointsman-deployment"])
        assert set(who) == {"second", "first", "cheap"}
        assert sorted(who, key=["second", "first", "cheap"].index) == who
        messages = [{"role": "user", "content": "word " * 60}]
        told = await house.post("/v1/route:explain", {**asked, "messages": messages})
        reasons = {each["deployment"]: each["reason"] for each in told.json["rejected"]}
        assert "left in a budget" in reasons["second"]
        assert told.json["chosen"] == "cheap"
        spent, _ = await standing(house)
        assert spent == billed_of(house, cheap_usd=0.01) <= 3_000_000


def billed_of(house: House, cheap_usd: float) -> int:
    rate = int(cheap_usd * 1e9)
    price = Price(Rates.of(rate, rate), version="file")
    total = sum(SECOND.cost(call.billed) for call in house.claude.journal.calls)
    for call in house.openai.journal.calls:
        total += (price if call.model == "cheap-test" else FIRST).cost(call.billed)
    return total


async def test_where_nothing_fits_any_more_the_budget_itself_is_told() -> None:
    budget = everyone(0.000001, at_cap="downgrade")
    async with opened(budget, deployments=cheap(), routes=[DOWN]) as house:
        got = await house.chat("hi", model="down", max_tokens=100)
        assert (got.status, got.error["code"]) == (402, "budget_exceeded")
        assert got.error["param"] == "all"
        assert house.asked() == {"openai": 0, "claude": 0}


async def test_reject_asks_nobody_cheaper() -> None:
    budget = everyone(0.001)
    async with opened(budget, deployments=cheap(), routes=[DOWN]) as house:
        got = await house.chat("hi", model="down", max_tokens=100)
        assert (got.status, got.error["code"]) == (402, "budget_exceeded")


async def test_an_alert_lets_it_pass() -> None:
    async with opened(everyone(0.000001, at_cap="alert")) as house:
        assert (await house.chat("hi", max_tokens=100)).status == 200
        spent, _ = await standing(house)
        assert spent == billed(house) > 1_000


async def test_a_budget_of_one_model_leads_to_another() -> None:
    budget = {
        "name": "gpt",
        "scope": "model",
        "match": ["gpt-test"],
        "limit_usd": 0.000001,
        "window": "day",
    }
    async with opened(budget) as house:
        got = await house.chat("hi", max_tokens=100)
        assert got.headers["x-pointsman-deployment"] == "second"
        assert got.headers["x-pointsman-attempts"] == "1"
        alone = await house.chat("hi", max_tokens=100, model="solo")
        assert (alone.status, alone.error["param"]) == (402, "gpt")


@pytest.mark.slow
async def test_who_queues_waits_for_room_and_gets_it() -> None:
    """Two at once hold more than there is; what the first does not use is the second's."""
    budget = everyone(0.0005, at_cap="queue", queue_s=3)
    async with opened(budget) as house:
        house.openai.script(
            (Answer("hello"), Slow(first_token_s=0.2)),
            (Answer("hello"), Slow(first_token_s=0.2)),
        )
        asked = [house.chat("hi", model="solo", max_tokens=100) for _ in range(2)]
        got = await asyncio.gather(*asked)
        assert [each.status for each in got] == [200, 200]
        spent, _ = await standing(house)
        assert spent == billed(house) <= 500_000


# Whose budgets count.


def key(**limits: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        config["server"]["keys"][0].update({"name": "shop", "limits": limits})

    return change


async def test_a_keys_own_limit_of_a_request_bounds_the_request() -> None:
    async with open_house(key(max_cost_usd=0.0005)) as house:
        fits = await house.chat("hi", max_tokens=100, model="solo")
        dear = await house.chat("hi", max_tokens=1_000, model="solo")
        looser = await house.chat("hi", max_tokens=1_000, model="solo", max_cost_usd=1)
        tighter = await house.chat("hi", max_tokens=100, model="solo", max_cost_usd=0.00001)
    assert [got.status for got in (fits, dear, looser, tighter)] == [200, 400, 400, 400]


async def test_a_named_budget_that_went_away_is_no_freedom() -> None:
    def draws(config: dict[str, Any]) -> None:
        key(budgets=["shared"])(config)
        shared = {"name": "shared", "scope": "named", "limit_usd": 1}
        config["budgets"] = [shared, everyone(1)]

    async with open_house(draws) as house:
        assert (await house.chat("hi", max_tokens=10)).status == 200
        house.gateway.books.follow(())
        got = await house.chat("hi", max_tokens=10)
        assert (got.status, got.error["code"], got.error["param"]) == (
            403,
            "unknown_budget",
            "shared",
        )
        assert got.headers["x-should-retry"] == "false"


async def test_a_model_without_a_price_answers_nobody_who_has_a_budget() -> None:
    unpriced = [
        {
            "name": "unpriced",
            "provider": "oa",
            "model": "mystery",
            "tier": "workhorse",
            "price": "unknown",
        }
    ]
    mixed = [
        {"name": "blind", "deployments": ["unpriced"]},
        {
            "name": "mixed",
            "deployments": ["unpriced", "first"],
            "strategy": "static",
            "order": ["unpriced", "first"],
        },
    ]
    async with opened(everyone(1), deployments=unpriced, routes=mixed) as house:
        got = await house.chat("hi", model="blind", max_tokens=10)
        assert (got.status, got.error["code"], got.error["param"]) == (400, "unpriced_model", "all")
        assert house.asked()["openai"] == 0
        # Where another has one, it answers.
        other = await house.chat("hi", model="mixed", max_tokens=10)
        assert other.headers["x-pointsman-deployment"] == "first"


async def test_a_run_has_its_budget_and_another_run_its_own() -> None:
    budget = {"name": "each run", "scope": "run", "limit_usd": 0.0006, "window": "total"}
    async with opened(budget) as house:
        body = {
            "model": "solo",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hi"}],
        }

        async def ask(run: str) -> int:
            headers = {"x-pointsman-run": run}
            return (await house.post("/v1/chat/completions", body, headers)).status

        statuses = [await ask("r1") for _ in range(30)]
        assert set(statuses) == {200, 402} and sorted(statuses) == statuses
        assert await ask("r2") == 200
        told = await house.chat("hi", model="solo", max_tokens=100, pointsman={"run": "r1"})
        assert told.status == 402
        assert "run 'r1'" in told.error["message"]


async def test_the_tag_that_a_key_has_counts_whatever_the_request_says() -> None:
    budget = {
        "name": "red",
        "scope": "tag",
        "tag": "team",
        "match": ["red"],
        "limit_usd": 0.000001,
    }

    def tagged(config: dict[str, Any]) -> None:
        config["server"]["keys"][0]["tags"] = {"team": "red"}
        config["budgets"] = [budget]

    async with open_house(tagged) as house:
        got = await house.chat("hi", max_tokens=10, metadata={"tags": {"team": "blue"}})
        assert (got.status, got.error["param"]) == (402, "red")


async def test_a_strict_budget_that_refuses_tells_its_last_threshold() -> None:
    """Though it is not spent to the last cent, and will never be."""
    async with opened(everyone(0.01)) as house:
        while (got := await house.chat("hi", max_tokens=200)).status == 200:
            pass
        assert got.status == 402
        spent, _ = await standing(house)
        assert 0.8 * CENT < spent < CENT
        alerts = house.gateway.alerts
        await alerts.tick()
        lines = await alerts.ask(lambda db: list_alerts(db, EVERYTHING))
        (line,) = [each for each in lines if each.facts.get("threshold") == 1.0]
        assert (line.kind, line.facts["budget"]) == ("threshold", "all")
        assert line.severity == "critical" and line.text.endswith("does not fit: refused")
        told = (await house.get("/metrics")).body.decode()
        assert 'pointsman_alerts_raised_total{kind="threshold"}' in told


# Rates.


async def test_requests_a_minute_are_told_and_kept() -> None:
    rate = {"name": "three", "scope": "key", "requests_per_minute": 3}
    async with opened(rates=(rate,)) as house:
        got = [await house.chat("hi") for _ in range(4)]
        assert [each.status for each in got] == [200, 200, 200, 429]
        left = [each.headers["x-ratelimit-remaining-requests"] for each in got]
        assert left == ["2", "1", "0", "0"]
        assert got[0].headers["x-ratelimit-limit-requests"] == "3"
        assert got[0].headers["x-ratelimit-reset-requests"] in ("60s", "61s")  # All is free again.
        refused = got[3]
        assert refused.error["code"] == "rate_limited"
        assert "key" in refused.error["message"] and "3 requests" in refused.error["message"]
        assert refused.headers["x-should-retry"] == "true"
        assert 0 < int(refused.headers["retry-after"]) <= 61
        assert house.asked()["openai"] == 3


async def test_tokens_are_held_by_estimate_and_then_corrected() -> None:
    rate = {"name": "tokens", "scope": "everyone", "tokens_per_minute": 10_000}
    async with opened(rates=(rate,)) as house:
        streamed = await house.chat("hi", stream=True)
        got = await house.chat("hi")
        entries = await house.told(2)
        used = sum(entry.usage.total for entry in entries)
        during = int(streamed.headers["x-ratelimit-remaining-tokens"])
        assert during < 10_000 - entries[0].usage.total
        assert int(got.headers["x-ratelimit-remaining-tokens"]) == 10_000 - used


@pytest.mark.slow
async def test_slots_come_back_however_a_request_ends() -> None:
    rate = {"name": "two", "scope": "key", "max_in_flight": 2}
    async with opened(rates=(rate,)) as house:
        slow = (Answer("hello"), Slow(first_token_s=0.15))
        house.openai.script(slow, slow)
        got = await asyncio.gather(*(house.chat("hi") for _ in range(5)))
        assert Counter(each.status for each in got) == {200: 2, 429: 3}
        house.openai.script(Hang())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await house.chat("hi")
        house.openai.script(Fail(500), Fail(500))
        house.claude.script(Fail(500), Fail(500))
        assert (await house.chat("hi")).status == 502
        await house.told(7)
        got = await asyncio.gather(*(house.chat("hi") for _ in range(2)))
        assert [each.status for each in got] == [200, 200]


async def test_metrics_tell_what_is_left_and_who_was_refused(a_cent: House) -> None:
    await a_cent.chat("hi", max_tokens=100)
    await a_cent.chat("hi", max_tokens=19_000)
    await standing(a_cent)
    a_cent.gateway.books.accounts = await a_cent.gateway.books.treasury.standing()
    text = (await a_cent.get("/metrics")).body.decode()
    denied = 'pointsman_budget_denials_total{budget="all",code="budget_exceeded"} 1.0'
    assert denied in text
    assert 'pointsman_budget_limit_usd{budget="all"} 0.01' in text
    spent = billed(a_cent) / 1e9
    assert f'pointsman_budget_spent_usd{{budget="all"}} {spent}' in text


async def test_a_reload_applies_to_the_window_that_runs(a_cent: House) -> None:
    assert (await a_cent.chat("hi", max_tokens=19_000)).status == 402
    settings = a_cent.gateway.settings
    raised = replace(settings, budgets=(msgspec.structs.replace(settings.budgets[0], limit=10**9),))
    a_cent.gateway.reload(raised)
    assert (await a_cent.chat("hi", max_tokens=19_000)).status == 200
    a_cent.gateway.reload(settings)
    assert (await a_cent.chat("hi", max_tokens=19_000)).status == 402


MONEY = "budgets: [{name: b, scope: everyone, limit_usd: 1}]\n"
RATE = "rates: [{name: r, scope: everyone, requests_per_minute: 9}]\n"
REDIS = "redis: {url: 'env:REDIS'}\n"
LEDGER = "ledger: {path: ledger.db}\n"


def read(text: str) -> Settings:
    text += "deployments: [{model: ollama/x, tier: local}]\n"
    return loads(text, "pointsman.yaml", {"REDIS": "redis://127.0.0.1"}, Path.cwd())


@pytest.mark.parametrize("text", ["", REDIS, LEDGER + MONEY + RATE, REDIS + RATE, LEDGER + RATE])
def test_several_workers_may_count_where_they_count_together(text: str) -> None:
    check_shared(read(text))
    check_shared(read(text), started=read(text))


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (MONEY, r"need `ledger.path` or `ledger.url` with several"),
        (RATE, r"\(rates alone may have `redis`\)"),
        (REDIS.replace("}", ", rates: false}") + RATE, r"\(rates alone may have `redis`\)"),
        (REDIS + RATE + MONEY, r"budget b needs `ledger.path` or `ledger.url` with several"),
    ],
)
def test_several_workers_without_a_store_are_refused_with_the_remedy(
    text: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=remedy):
        check_shared(read(text))


def test_a_reload_brings_several_workers_no_store() -> None:
    for more in (LEDGER, REDIS):
        with pytest.raises(ConfigError, match="from the start, with several workers"):
            check_shared(read(more + RATE), started=read(""))
    check_shared(read(RATE), started=read(LEDGER))
