"""Leases in a store, with both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pointsman.budgets.check import check
from pointsman.budgets.escrow import Back, Fenced, Lease, Refused, Want
from pointsman.budgets.escrow_sql import (
    Charge,
    adjust,
    close_worker,
    expire,
    release_suspense,
    settle,
)
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.budgets.membership import Membership
from pointsman.domain.budgets import Budget
from pointsman.domain.windows import Window
from pointsman.store.database import Database
from pointsman.store.errors import RowRefused
from pointsman.store.open import Store

ALL = Budget("all", "everyone", 1000, window=Window("total"))
TEAM = Budget("team", "team", 100, window=Window("total"))
SLOTS = Budget("slots", "everyone", 10, unit="at_once", window=Window("total"))
MINUTE = Budget("rpm", "everyone", 10, unit="requests", window=Window("minute", rolling=True))

Join = Callable[..., StoreEscrow]


@pytest.fixture
def join(store: Store) -> Iterator[Join]:
    joined: list[StoreEscrow] = []

    def make(worker: str = "w1", lease_s: float = 60.0) -> StoreEscrow:
        escrow = StoreEscrow(store, Membership(worker, "host", "boot", lease_s))
        assert escrow.renew()
        joined.append(escrow)
        return escrow

    yield make
    for escrow in joined:
        escrow.close()


def want(budget: Budget, least: int, wish: int = 0, subject: str = "") -> Want:
    return Want(budget, (budget.name, subject), least, wish)


def got(answer: list[Lease] | Refused) -> list[Lease]:
    assert isinstance(answer, list), answer
    return answer


def charge(attempt: str, lease: Lease, amount: int, seq: int = 1) -> Charge:
    return Charge(attempt, lease.id, amount, amount, True, seq, 1.0)


def told(db: Database, worker: str, *charges: Charge) -> None:
    with db.transaction():
        settle(db, worker, 1, charges)


def test_all_or_nothing_and_a_lease_grows(join: Join, db: Database) -> None:
    escrow = join()
    (refused) = escrow.grant([want(ALL, 50), want(TEAM, 101, subject="red")])
    assert isinstance(refused, Refused)
    assert (refused.account, refused.left) == (("team", "red"), 100)
    first = got(escrow.grant([want(ALL, 50), want(TEAM, 60, subject="red")]))
    assert [(lease.granted, lease.left) for lease in first] == [(50, 950), (60, 40)]
    (again,) = got(escrow.grant([want(ALL, 10, wish=500)]))
    assert (again.id, again.granted) == (first[0].id, 50 + 950 // 50)
    assert check(db) == []


def test_two_workers_have_leases_of_their_own_and_one_limit(join: Join, db: Database) -> None:
    one, two = join("w1"), join("w2")
    got(one.grant([want(TEAM, 60, subject="x")]))
    assert isinstance(two.grant([want(TEAM, 41, subject="x")]), Refused)
    got(two.grant([want(TEAM, 40, subject="x")]))
    assert check(db) == []


def test_what_is_given_back_is_given_back_once(join: Join, db: Database) -> None:
    escrow = join()
    (lease,) = got(escrow.grant([want(ALL, 100)]))
    for _ in range(2):
        escrow.give_back([Back(lease.id, 30)])
    (standing,) = escrow.standing([ALL])
    assert (standing.spent, standing.leased) == (0, 70)
    escrow.give_back([Back(lease.id, 500, ended=True)])
    (standing,) = escrow.standing([ALL])
    assert standing.leased == 0
    (other,) = got(escrow.grant([want(ALL, 100)]))
    assert other.id != lease.id
    assert check(db) == []


def test_a_charge_counts_once(join: Join, db: Database) -> None:
    escrow = join()
    lease, other = got(escrow.grant([want(ALL, 100), want(TEAM, 100)]))
    for _ in range(2):
        told(db, "w1", charge("a", lease, 30), charge("a", other, 30), charge("b", lease, 5, 2))
    told(db, "w1", charge("b", lease, 5, 2), charge("c", lease, 7, 3))
    standing = escrow.standing([ALL, TEAM])
    assert [(each.spent, each.leased) for each in standing] == [(42, 58), (30, 70)]
    assert check(db) == []
    assert len(db.rows("SELECT 1 FROM shipment")) == 2


def test_what_was_too_little_held_is_over(join: Join, db: Database) -> None:
    escrow = join()
    (lease,) = got(escrow.grant([want(TEAM, 90)]))
    told(db, "w1", charge("a", lease, 130))
    (standing,) = escrow.standing([TEAM])
    assert (standing.spent, standing.leased, standing.over, standing.left) == (130, 0, 30, 0)
    assert isinstance(escrow.grant([want(TEAM, 1)]), Refused)
    assert check(db) == []


def test_a_lease_nobody_knows_is_refused(join: Join, db: Database) -> None:
    join()
    with pytest.raises(RowRefused):
        told(db, "w1", Charge("a", 99, 1, 1, True, 1, 1.0))


def test_postings_are_not_changed(join: Join, db: Database) -> None:
    escrow = join()
    (lease,) = got(escrow.grant([want(ALL, 100)]))
    told(db, "w1", charge("a", lease, 30))
    with pytest.raises(RowRefused):
        db.run("UPDATE posting SET amount = 1")


def test_a_correction_is_a_posting_of_its_own(join: Join, db: Database) -> None:
    escrow = join()
    (lease,) = got(escrow.grant([want(ALL, 100)]))
    told(db, "w1", charge("a", lease, 30))
    for _ in range(2):
        with db.transaction():
            adjust(db, "a", -10, 2.0)
    (standing,) = escrow.standing([ALL])
    assert (standing.spent, standing.leased) == (20, 70)
    assert check(db) == []


def test_a_dead_workers_money_is_in_suspense_until_its_log_was_read(
    join: Join, db: Database
) -> None:
    dead, other = join("w1"), join("w2")
    (lease,) = got(dead.grant([want(TEAM, 80)]))
    with db.transaction():
        db.run("UPDATE worker SET expires = 0 WHERE id = 'w1'")
        assert expire(db, db.now()) == ["w1"]
    (standing,) = other.standing([TEAM])
    assert (standing.leased, standing.suspense) == (80, 80)
    assert isinstance(other.grant([want(TEAM, 30)]), Refused)
    told(db, "w1", charge("a", lease, 50))
    with db.transaction():
        assert close_worker(db, "w1") == 30
    (standing,) = other.standing([TEAM])
    assert (standing.spent, standing.leased, standing.suspense) == (50, 0, 0)
    assert check(db, quiet=True) == []


def test_after_a_loss_of_power_an_operator_decides(join: Join, db: Database) -> None:
    dead = join("w1")
    got(dead.grant([want(TEAM, 80)]))
    with db.transaction():
        assert close_worker(db, "w1", is_sure=False) == 0
    (standing,) = dead.standing([TEAM])
    assert standing.suspense == 80
    with db.transaction():
        assert release_suspense(db, budget="other") == 0
        assert release_suspense(db, budget="team") == 80
    (standing,) = dead.standing([TEAM])
    assert (standing.leased, standing.suspense) == (0, 0)


def test_a_dead_workers_slots_come_back_and_its_rates_do_not(join: Join, db: Database) -> None:
    dead, other = join("w1"), join("w2")
    got(dead.grant([want(SLOTS, 10), want(MINUTE, 10)]))
    assert isinstance(other.grant([want(SLOTS, 1)]), Refused)
    with db.transaction():
        db.run("UPDATE worker SET expires = 0 WHERE id = 'w1'")
    assert other.renew()
    got(other.grant([want(SLOTS, 10)]))
    assert isinstance(other.grant([want(MINUTE, 1)]), Refused)
    assert check(db) == []


def test_who_was_declared_dead_begins_anew(join: Join, db: Database) -> None:
    escrow = join("w1")
    (lease,) = got(escrow.grant([want(TEAM, 80)]))
    with db.transaction():
        db.run("UPDATE worker SET expires = 0 WHERE id = 'w1'")
        expire(db, db.now())
    with pytest.raises(Fenced):
        escrow.grant([want(TEAM, 1)])
    assert not escrow.renew()
    (fresh,) = got(escrow.grant([want(TEAM, 20)]))
    assert fresh.id != lease.id
    told(db, "w1", charge("late", lease, 30))
    escrow.give_back([Back(lease.id, 50)])
    (standing,) = escrow.standing([TEAM])
    assert (standing.spent, standing.leased, standing.suspense) == (30, 20, 0)
    assert check(db) == []


def test_limits_are_followed_by_windows_that_run(join: Join, db: Database) -> None:
    escrow = join()
    (lease,) = got(escrow.grant([want(TEAM, 80)]))
    escrow.follow([Budget("team", "team", 50, window=Window("total"))])
    assert db.rows("SELECT lim, leased, over FROM budget_slice") == [(50, 80, 30)]
    assert check(db) == []
    escrow.give_back([Back(lease.id, 40)])
    assert db.rows("SELECT lim, leased, over FROM budget_slice") == [(50, 40, 0)]
    escrow.follow([Budget("team", "team", 200, window=Window("total"))])
    raised = Budget("team", "team", 200, window=Window("total"))
    got(escrow.grant([want(raised, 160)]))
    assert check(db) == []


def test_a_doctored_posting_is_found(join: Join, db: Database) -> None:
    escrow = join()
    (lease,) = got(escrow.grant([want(ALL, 100)]))
    told(db, "w1", charge("a", lease, 30))
    if db.kind == "sqlite":
        db.run("DROP TRIGGER posting_is_not_changed")
    else:
        db.run("ALTER TABLE posting DISABLE TRIGGER posting_is_append_only")
    db.run("UPDATE posting SET amount = 20")
    assert {violation.invariant for violation in check(db)} == {"I2", "I9", "I11"}
