"""The book of alerts on both engines: one of each condition, told once, to everyone it should."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from tests.alerts.conftest import alert

from pointsman.access.principal import EVERYTHING, Sight
from pointsman.alerts.alert import Alert
from pointsman.alerts.book import (
    HEARD_S,
    KEPT_S,
    MOST_PENDING,
    acknowledge,
    forget,
    list_alerts,
    raise_alerts,
    resolve,
    share_counts,
)
from pointsman.alerts.outbox import TAKEN_S, delivered, not_delivered, take_due
from pointsman.clock import SystemClock
from pointsman.config.settings_money import Severity
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing import FakeClock

SINKS: dict[str, Severity] = {"all": "info", "grave": "critical"}


def raised(db: Database, *alerts: Alert, repeat_s: float = 3_600.0) -> list[str]:
    return [each.key for each in raise_alerts(db, alerts, SINKS, repeat_s)]


def due(db: Database) -> list[tuple[str, str]]:
    """What is due, delivered at once, as (sink, event)."""
    taken = take_due(db, SINKS)
    for each in taken:
        delivered(db, each)
    return [(each.sink, each.told.event) for each in taken]


def test_what_stands_is_raised_once(db: Database) -> None:
    assert raised(db, alert("a"), alert("b")) == ["a", "b"]
    assert raised(db, alert("a"), alert("c")) == ["c"]
    assert due(db) == [("all", "raised")] * 3
    assert due(db) == []


def test_each_sink_is_told_what_is_grave_enough_for_it(db: Database) -> None:
    raised(db, alert("a", severity="critical"), alert("b", severity="info"))
    assert sorted(due(db)) == [("all", "raised"), ("all", "raised"), ("grave", "raised")]


def test_what_is_quiet_is_known_and_told_to_nobody(db: Database) -> None:
    raised(db, alert("a", is_quiet=True))
    assert raised(db, alert("a")) == []
    assert due(db) == []
    assert list_alerts(db, EVERYTHING) == []


def test_what_stands_on_is_told_again_and_then_that_it_is_over(
    db: Database, clock: FakeClock
) -> None:
    raised(db, alert("a"))
    for _ in range(9):
        clock.advance(500)
        resolve(db, SINKS)
        assert raised(db, alert("a")) == []
    assert due(db) == [("all", "raised"), ("all", "again")]
    clock.advance(599)
    assert resolve(db, SINKS) == 0
    clock.advance(1)
    assert resolve(db, SINKS) == 1
    assert due(db) == [("all", "resolved")]
    assert raised(db, alert("a")) == ["a"]


def test_what_was_acknowledged_is_not_told_again(db: Database, clock: FakeClock) -> None:
    raised(db, alert("a", stands_s=9_999))
    number = list_alerts(db, EVERYTHING)[0].id
    assert acknowledge(db, number, EVERYTHING, "ada")
    assert acknowledge(db, number, EVERYTHING, "bob")
    clock.advance(4_000)
    raised(db, alert("a", stands_s=9_999))
    assert due(db) == [("all", "raised")]
    line = list_alerts(db, EVERYTHING)[0]
    assert (line.state, line.acked_by) == ("acknowledged", "ada")


def test_a_threshold_is_told_once_only(db: Database, clock: FakeClock) -> None:
    raised(db, alert("a", repeats=False, stands_s=9_999))
    clock.advance(5_000)
    raised(db, alert("a", repeats=False, stands_s=4_999))
    clock.advance(5_000)
    assert resolve(db, SINKS) == 1
    assert due(db) == [("all", "raised")]


def test_a_tenant_sees_and_acknowledges_its_own_alone(db: Database) -> None:
    raised(db, alert("a"), alert("b", tenant="south"), alert("c", tenant=None))
    lines = list_alerts(db, Sight("north"))
    assert [line.tenant for line in lines] == ["north"]
    others = [line.id for line in list_alerts(db, EVERYTHING) if line.tenant != "north"]
    assert len(others) == 2
    assert not any(acknowledge(db, number, Sight("north"), "eve") for number in others)
    assert not acknowledge(db, 999, EVERYTHING, "ada")
    assert list_alerts(db, Sight(None)) == []


def test_a_delivery_that_was_taken_and_never_ended_comes_back(
    db: Database, clock: FakeClock
) -> None:
    raised(db, alert("a"))
    first = take_due(db, SINKS)
    assert take_due(db, SINKS) == []
    clock.advance(TAKEN_S)
    second = take_due(db, SINKS)
    assert [each.told.delivery for each in first] == [each.told.delivery for each in second]
    assert [each.tries for each in second] == [2]


def test_a_delivery_waits_for_its_next_try_and_says_what_was_wrong(
    db: Database, clock: FakeClock
) -> None:
    raised(db, alert("a"))
    [taken] = take_due(db, SINKS)
    not_delivered(db, taken, "status 500", db.now() + 4)
    assert list_alerts(db, EVERYTHING)[0].deliveries == {"all": "pending after 1 tries: status 500"}
    clock.advance(3.9)
    assert take_due(db, SINKS) == []
    clock.advance(0.1)
    [taken] = take_due(db, SINKS)
    not_delivered(db, taken, "status 500", None)
    clock.advance(9_999)
    assert take_due(db, SINKS) == []


@pytest.mark.slow
def test_a_sink_that_takes_nothing_fills_up_and_no_more(db: Database) -> None:
    raised(db, *(alert(f"{at}") for at in range(MOST_PENDING + 5)))
    states = [line.deliveries["all"] for line in list_alerts(db, EVERYTHING, most=5_000)]
    assert states.count("pending") == MOST_PENDING
    assert states.count("failed after 0 tries: too many are waiting") == 5


def test_old_alerts_are_forgotten_with_their_deliveries(db: Database, clock: FakeClock) -> None:
    raised(db, alert("a"), alert("b", stands_s=2 * KEPT_S))
    clock.advance(700)
    resolve(db, SINKS)
    clock.advance(KEPT_S + 1)
    assert forget(db) == 1
    assert [line.kind for line in list_alerts(db, EVERYTHING, is_all=True)] == ["burn_rate"]
    assert db.rows("SELECT count(*) FROM alert_delivery") == [(1,)]


def test_counts_of_loops_are_shared(db: Database, clock: FakeClock) -> None:
    assert share_counts(db, "w1", {"a": 5, "b": 1}, 60.0) == {"a": 0, "b": 0}
    assert share_counts(db, "w2", {"a": 7}, 60.0) == {"a": 5}
    assert share_counts(db, "w1", {"a": 6}, 60.0) == {"a": 7}
    clock.advance(HEARD_S + 1)
    assert share_counts(db, "w1", {"a": 6}, 60.0) == {"a": 0}


# On the engines that are used.


@pytest.fixture
def opened(store_place: str) -> Iterator[Callable[[], Database]]:
    databases: list[Database] = []

    def make() -> Database:
        databases.append(Store.of(store_place, SystemClock()).open())
        return databases[-1]

    yield make
    for database in databases:
        database.close()


def test_the_whole_life_of_an_alert(opened: Callable[[], Database]) -> None:
    db = opened()
    assert raised(db, alert("a", severity="critical", stands_s=0.0), alert("b", tenant=None))
    assert raised(db, alert("b")) == []
    assert raised(db, alert("b"), repeat_s=0.0) == []
    taken = take_due(db, SINKS)
    assert sorted((each.sink, each.told.event) for each in taken) == [
        ("all", "again"),
        ("all", "raised"),
        ("all", "raised"),
        ("grave", "raised"),
    ]
    delivered(db, taken[0])
    not_delivered(db, taken[1], "reset", db.now() + 60)
    assert resolve(db, SINKS) == 1
    assert [line.tenant for line in list_alerts(db, EVERYTHING)] == [None]
    assert len(list_alerts(db, EVERYTHING, is_all=True)) == 2
    assert [line.state for line in list_alerts(db, Sight("north"), is_all=True)] == ["resolved"]
    number = list_alerts(db, EVERYTHING)[0].id
    assert not acknowledge(db, number, Sight("north"), "eve")
    assert acknowledge(db, number, EVERYTHING, "ada")
    assert share_counts(db, "w1", {"a": 3}, 60.0) == {"a": 0}
    assert share_counts(db, "w2", {"a": 4}, 60.0) == {"a": 3}
    assert forget(db) == 0


@pytest.mark.slow
def test_of_many_workers_one_raises_and_one_delivers(
    opened: Callable[[], Database], store_place: str
) -> None:
    opened().rows("SELECT 1")  # the tables are made
    barrier = threading.Barrier(4)
    new: list[str] = []
    taken: list[str] = []

    def work() -> None:
        db = Store.of(store_place, SystemClock()).open()
        barrier.wait()
        new.extend(raised(db, *(alert(f"{at}") for at in range(25))))
        barrier.wait()
        for _ in range(5):
            taken.extend(each.told.delivery for each in take_due(db, SINKS))
        db.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(new) == sorted(f"{at}" for at in range(25))
    assert len(taken) == len(set(taken)) == 25
