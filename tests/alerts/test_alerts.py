"""Alerts as a whole: from what the gateway tells to what a sink is told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.alerts.conftest import BUDGET, USD, Hook, Lines, entry, hooked, stands
from tests.alerts.test_loops import CALLER, question

from pointsman.access.principal import EVERYTHING, Sight
from pointsman.alerts.alerts import Alerts
from pointsman.alerts.book import Line, acknowledge, list_alerts
from pointsman.config.settings_money import (
    AlertSettings,
    AnomalySettings,
    LoopSettings,
    SinkSettings,
)
from pointsman.domain.budgets import Budget
from pointsman.domain.secret import Secret
from pointsman.domain.windows import Window
from pointsman.providers.lean import LeanTransport
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing import FakeClock, settle

PATIENCE_S = 5.0
PLAIN = AlertSettings()


@asynccontextmanager
async def running(
    clock: FakeClock,
    settings: AlertSettings = PLAIN,
    store: Store | None = None,
    worker: str = "w1",
) -> AsyncIterator[Alerts]:
    transport = LeanTransport()
    alerts = Alerts(settings, store, clock, transport, rng=random.Random(1), worker=worker)
    try:
        yield alerts
    finally:
        await alerts.close()
        await transport.close()


def to(hook: Hook, **fields: object) -> AlertSettings:
    sink = SinkSettings("hook", "webhook", url=Secret(hook.url))
    return AlertSettings(sinks=(sink,), **fields)  # type: ignore[arg-type]


async def standing(alerts: Alerts) -> list[Line]:
    return await alerts.ask(lambda db: list_alerts(db, EVERYTHING))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_one_settling_over_three_thresholds_sends_one_alert(clock: FakeClock) -> None:
    async with hooked() as hook, running(clock, to(hook)) as alerts:
        alerts.settled(stands(99.9))
        await alerts.tick()
        await alerts.tick()
        await until(lambda: len(hook.taken) == 1)
        said = json.loads(hook.taken[0][2])
        assert (said["kind"], said["event"]) == ("threshold", "raised")
        assert said["facts"]["threshold"] == 0.8
        assert said["facts"]["spent_nano_usd"] == 99_900_000_000
        assert said["tenant"] == "north"
        alerts.settled(stands(99.95))
        await alerts.tick()
    assert len(hook.taken) == 1


async def test_a_refusal_by_a_budget_that_is_not_quite_full_is_told(clock: FakeClock) -> None:
    async with running(clock) as alerts:
        alerts.refused(BUDGET, ("month", "north/web"), USD // 1000)
        await alerts.tick()
        [line] = await standing(alerts)
        assert (line.severity, line.facts["threshold"]) == ("critical", 1.0)


async def test_it_goes_round_once_a_second_and_ends_with_a_last_look(clock: FakeClock) -> None:
    async with hooked() as hook:
        async with running(clock, to(hook)) as alerts:
            await alerts.start()
            await settle()
            alerts.settled(stands(60))
            clock.advance(1.0)
            await until(lambda: len(hook.taken) == 1)
            alerts.settled(stands(90))
        said = [json.loads(each[2]) for each in hook.taken]
        # $30 within a second is a burn rate too.
        assert [each["facts"].get("threshold") for each in said] == [0.5, None, 0.8]


async def test_what_a_sink_does_not_take_is_tried_again(clock: FakeClock) -> None:
    async with hooked(statuses=[500, 200]) as hook, running(clock, to(hook)) as alerts:
        alerts.settled(stands(60))
        await alerts.tick()
        await until(lambda: len(hook.taken) == 1 and alerts._courier.idle == ["hook"])
        clock.advance(3.0)
        await alerts.tick()
        await until(lambda: len(hook.taken) == 2 and alerts._courier.idle == ["hook"])
        [line] = await standing(alerts)
        assert line.deliveries == {"hook": "done"}
        first, second = (each[1]["x-pointsman-delivery"] for each in hook.taken)
        assert first == second


async def test_no_sink_is_the_log_and_no_secret_is_in_it(clock: FakeClock, logged: Lines) -> None:
    async with running(clock) as alerts:
        alerts.settled(stands(60))
        await alerts.tick()
        await settle()
    async with hooked(statuses=[500]) as hook, running(clock, to(hook)) as alerts:
        alerts.settled(stands(60))
        await alerts.tick()
        await until(lambda: len(hook.taken) == 1)
    assert "alert.raised" in logged.text
    assert "alert.not_delivered" in logged.text
    assert "secret-path" not in logged.text + repr(alerts)


async def test_an_acknowledged_alert_says_by_whom(clock: FakeClock) -> None:
    async with running(clock) as alerts:
        alerts.settled(stands(60))
        await alerts.tick()
        [line] = await standing(alerts)
        assert not await alerts.ask(lambda db: acknowledge(db, line.id, Sight("south"), "eve"))
        assert await alerts.ask(lambda db: acknowledge(db, line.id, Sight("north"), "ada"))
        assert [each.acked_by for each in await standing(alerts)] == ["ada"]


async def test_a_spike_of_one_key_is_told_without_a_ledger(clock: FakeClock) -> None:
    settings = AlertSettings(anomaly=AnomalySettings(by=("key",), every_s=60.0))
    async with running(clock, settings) as alerts:
        for minute in range(30):
            alerts.entry(entry(clock.wall(), USD // 100, "steady"))
            alerts.entry(entry(clock.wall(), USD * (20 if minute == 25 else 1), "odd"))
            clock.advance(60)
            await alerts.tick()
        lines = await alerts.ask(lambda db: list_alerts(db, EVERYTHING, is_all=True))
        assert [(each.kind, each.facts["value"]) for each in lines] == [("anomaly", "odd")]


async def test_a_loop_is_told_and_held_up(clock: FakeClock) -> None:
    settings = AlertSettings(loop=LoopSettings(repeats=10, within_s=60.0, throttle=True))
    async with running(clock, settings) as alerts:
        waits = [alerts.allows(CALLER, question("again"), None) for _ in range(12)]
        assert waits == [None] * 10 + [10.0] * 2
        await alerts.tick()
        [line] = await standing(alerts)
        assert line.text == (
            "key k, app agent asks nearly the same again and again: 12 times in 60 s; "
            "held to one in 10 s"
        )
        alerts.follow(AlertSettings(loop=LoopSettings(enabled=False)))
        assert alerts.allows(CALLER, question("again"), None) is None


# With a ledger.


def spend(db: Database, budget: Budget, subject: str, now: float, usd: float) -> None:
    """Let an account have spent so much in a slice, as another worker writes it down."""
    db.run(
        "INSERT INTO budget_account (budget, subject, unit) VALUES (?, ?, ?)"
        " ON CONFLICT (budget, subject) DO NOTHING",
        (budget.name, subject, budget.unit),
    )
    [(account,)] = db.rows(
        "SELECT id FROM budget_account WHERE budget = ? AND subject = ?", (budget.name, subject)
    )
    start, until = budget.window.slice_at(now)
    db.run(
        "INSERT INTO budget_slice (account, start, until, lim, spent) VALUES (?, ?, ?, ?, ?)",
        (account, start, until, budget.limit, round(usd * USD)),
    )


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Store:
    return Store.of(tmp_path / "ledger.db", clock)


async def test_with_a_ledger_what_all_workers_spent_is_told_once(
    clock: FakeClock, store: Store
) -> None:
    db = store.open()
    async with (
        hooked() as hook,
        running(clock, to(hook), store, "w1") as one,
        running(clock, to(hook), store, "w2") as two,
    ):
        for each in (one, two):
            each.settled(stands(85))  # what others hold leases of counts here, and is not spent
            await each.tick()
        assert await standing(one) == []
        spend(db, BUDGET, "north/web", clock.wall(), 81)  # arrives a moment later
        clock.advance(11)
        await asyncio.gather(one.tick(), two.tick())
        await until(lambda: len(hook.taken) == 2)
        said = [json.loads(each[2]) for each in hook.taken]
        assert sorted(each["kind"] for each in said) == ["burn_rate", "threshold"]
        assert {each["facts"]["spent_nano_usd"] for each in said} == {81 * USD}
        clock.advance(61)
        await asyncio.gather(one.tick(), two.tick())
    assert len(hook.taken) == 2
    db.close()


async def test_a_rolling_window_is_the_sum_of_its_slices(clock: FakeClock, store: Store) -> None:
    db = store.open()
    budget = Budget("day", "everyone", 100 * USD, window=Window("day", rolling=True))
    for hours, usd in ((30, 90), (20, 30), (1, 21)):
        spend(db, budget, "", clock.wall() - hours * 3_600, usd)
    async with running(clock, store=store) as alerts:
        alerts.settled(stands(95, budget, ""))
        await alerts.tick()
        [line] = await standing(alerts)
        assert line.facts["spent_nano_usd"] == 51 * USD
    db.close()


async def test_a_store_that_is_away_is_told_once_and_nothing_is_lost(
    clock: FakeClock, store: Store, tmp_path: Path, logged: Lines
) -> None:
    db = store.open()
    spend(db, BUDGET, "north/web", clock.wall(), 81)
    db.close()
    (tmp_path / "ledger.db").rename(tmp_path / "gone.db")
    (tmp_path / "ledger.db").mkdir()
    async with running(clock, store=store) as alerts:
        alerts.settled(stands(81))
        for _ in range(3):
            await alerts.tick()
        (tmp_path / "ledger.db").rmdir()
        (tmp_path / "gone.db").rename(tmp_path / "ledger.db")
        await alerts.tick()
        assert len(await standing(alerts)) == 1
    assert logged.text.count("alerts.stalled") == 1
    assert logged.text.count("alerts.recovered") == 1


async def test_a_spike_is_found_in_the_ledger_and_history_is_read_at_the_start(
    clock: FakeClock, store: Store
) -> None:
    from pointsman.ledger.rows import ENTRY_COLUMNS, entry_row

    db = store.open()
    start = clock.wall() // 300 * 300
    columns = ", ".join(ENTRY_COLUMNS)
    marks = ", ".join("?" * len(ENTRY_COLUMNS))
    for at in range(60):
        usd = 30 if at == 59 else 1
        row = entry_row(at + 1, entry(start - (59 - at) * 300 + 1, usd * USD))
        db.run(f"INSERT INTO entry ({columns}) VALUES ({marks})", row)
    db.close()
    settings = AlertSettings(anomaly=AnomalySettings(by=("key", "tenant", "route")))
    async with running(clock, settings, store) as alerts:
        clock.advance(306)
        for _ in range(20):  # three days are learned from, some hours a round
            await alerts.tick()
        lines = await standing(alerts)
        assert sorted(str(each.facts["value"]) for each in lines) == ["auto", "k", "north"]
        assert all(each.facts["spent_nano_usd"] == 30 * USD for each in lines)


async def test_workers_count_a_loop_together(clock: FakeClock, store: Store) -> None:
    settings = AlertSettings(loop=LoopSettings(repeats=12, within_s=60.0, throttle=True))
    async with (
        running(clock, settings, store, "w1") as one,
        running(clock, settings, store, "w2") as two,
    ):
        for _ in range(2):
            for each in (one, two):
                assert [each.allows(CALLER, question("again"), None) for _ in range(3)] == [
                    None
                ] * 3
            await one.tick()
            await two.tick()
            await one.tick()
        assert one.allows(CALLER, question("again"), None) is None  # the thirteenth
        assert one.allows(CALLER, question("again"), None) == 10.0
        await one.tick()
        await two.tick()
        assert len(await standing(two)) == 1
