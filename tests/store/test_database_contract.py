"""What every Database does, whichever the engine: the same statements, the same answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pointsman.store.database import Database, Value
from pointsman.store.errors import BadStatement, RowRefused, StorageError, StorageUnavailable

Open = Callable[..., Database]

SPEND = "UPDATE account SET spent = spent + ? WHERE id = 1 AND spent + ? <= lim RETURNING spent"


def spent(database: Database) -> Any:
    return database.rows("SELECT spent FROM account WHERE id = 1")[0][0]


# Values.


def test_values_come_back_as_they_went_in(database: Database) -> None:
    values: list[tuple[Value, ...]] = [
        (1, 2**63 - 1, 0.1, b"\x00\xff"),
        (1, -(2**63), 3.0, b""),
        (1, None, None, None),
    ]
    database.run_many("INSERT INTO spending VALUES (?, ?, ?, ?)", values)
    assert database.rows("SELECT * FROM spending") == values


def test_text_comes_back_as_it_went_in(database: Database) -> None:
    name = "Zoë 漢字 🚂 '\"?$1--\n"
    database.run("""INSERT INTO account ("user", spent, lim) VALUES (?, 0, 0)""", (name,))
    assert database.rows("""SELECT id FROM account WHERE "user" = ?""", (name,)) == [(2,)]


def test_a_nul_in_a_text_costs_nobody_the_row(database: Database) -> None:
    """PostgreSQL has none; there the sign for what cannot be shown stands in its place."""
    said = 'UPDATE account SET "user" = ? WHERE "user" = ?'
    kept = "a\0b" if database.kind == "sqlite" else "a\ufffdb"
    assert database.run(said, ("a\0b", "ann")) == 1
    assert database.rows('SELECT "user" FROM account WHERE "user" = ?', ("a\0b",)) == [(kept,)]
    database.run_many("""INSERT INTO account ("user", spent, lim) VALUES (?, 0, 0)""", [("c\0",)])


def test_a_named_row_answers_to_column_and_number(database: Database) -> None:
    (row,) = database.named("""SELECT "user", lim AS most FROM account""")
    assert (row["user"], row["most"], row[0], row[1]) == ("ann", 100, "ann", 100)


def test_question_marks_in_text_names_and_comments_are_no_values(database: Database) -> None:
    sql = """SELECT '?''?', "user" AS "what?" /* ? */ FROM account WHERE id = ? -- ?"""
    assert database.rows(sql, (1,)) == [("?'?", "ann")]


def test_sums_of_integers_are_integers_and_means_are_floats(database: Database) -> None:
    rows = [(1, amount, None, None) for amount in (2**62, 2**61, 1, None)]
    database.run_many("INSERT INTO spending VALUES (?, ?, ?, ?)", rows)
    ((total, mean, count),) = database.rows(
        "SELECT sum(amount), avg(amount % 4), count(amount) FROM spending"
    )
    assert (total, count) == (2**62 + 2**61 + 1, 3)
    assert isinstance(total, int)
    assert isinstance(mean, float)


# Statements.


def test_run_tells_how_many_rows_it_changed(database: Database) -> None:
    insert = """INSERT INTO account (id, "user", spent, lim) VALUES (?, ?, 1, 9)"""
    assert database.run(insert, (7, "bob")) == 1
    assert database.run(insert + " ON CONFLICT (id) DO NOTHING", (7, "eve")) == 0
    more = " ON CONFLICT (id) DO UPDATE SET spent = account.spent + excluded.spent"
    assert database.run(insert + more, (7, "eve")) == 1
    assert database.run("UPDATE account SET spent = spent + ? WHERE spent >= 0", (1,)) == 2
    assert database.run("DELETE FROM account WHERE id > ?", (100,)) == 0
    assert database.rows("""SELECT "user", spent FROM account WHERE id = 7""") == [("bob", 3)]


def test_a_change_returns_what_it_made(database: Database) -> None:
    assert database.rows(SPEND, (60, 60)) == [(60,)]
    assert database.rows(SPEND, (60, 60)) == []
    assert database.run(SPEND, (40, 40)) == 1


def test_a_row_without_a_number_is_numbered(database: Database) -> None:
    insert = """INSERT INTO account ("user", spent, lim) VALUES (?, 0, 0) RETURNING id"""
    assert database.rows(insert, ("bob",)) == [(2,)]


# Transactions.


def test_what_is_done_in_a_transaction_is_seen_by_others_at_its_end(
    database: Database, opened: Open
) -> None:
    other = opened()
    states = [database.in_transaction]
    with database.transaction():
        states.append(database.in_transaction)
        database.rows(SPEND, (5, 5))
        assert spent(other) == 0
    assert spent(other) == 5
    assert [*states, database.in_transaction] == [False, True, False]


def test_whatever_is_raised_undoes_the_whole_transaction(database: Database) -> None:
    with pytest.raises(KeyError), database.transaction():
        database.rows(SPEND, (5, 5))
        raise KeyError
    assert spent(database) == 0
    with database.transaction():
        database.rows(SPEND, (7, 7))
    assert spent(database) == 7


def test_a_failure_that_was_caught_still_spoils_the_transaction(database: Database) -> None:
    with pytest.raises(RowRefused), database.transaction():
        database.rows(SPEND, (5, 5))
        with pytest.raises(RowRefused):
            database.run("UPDATE account SET spent = 101")
        with pytest.raises(RowRefused):
            database.rows("SELECT 1")
    assert spent(database) == 0
    assert database.rows(SPEND, (5, 5)) == [(5,)]


def test_transactions_do_not_nest(database: Database) -> None:
    with pytest.raises(RuntimeError, match="nest"), database.transaction(), database.transaction():
        raise AssertionError("it was begun")
    assert not database.in_transaction


def test_many_rows_are_taken_all_or_none(database: Database) -> None:
    rows: list[Sequence[Value]] = [(1, n, None, None) for n in range(2_500)]
    with pytest.raises(RowRefused):
        database.run_many("INSERT INTO spending VALUES (?, ?, ?, ?)", [*rows, (99, 1, None, None)])
    assert database.rows("SELECT count(*) FROM spending") == [(0,)]
    database.run_many("INSERT INTO spending VALUES (?, ?, ?, ?)", iter(rows))
    database.run_many("INSERT INTO spending VALUES (?, ?, ?, ?)", [])
    assert database.rows("SELECT count(*), sum(amount) FROM spending") == [(2_500, 3_123_750)]


def test_what_a_source_of_rows_raises_comes_out_and_undoes_them(database: Database) -> None:
    def source() -> Any:
        yield (1, 1, None, None)
        raise LookupError("no more")

    with pytest.raises(LookupError):
        database.run_many("INSERT INTO spending VALUES (?, ?, ?, ?)", source())
    assert database.rows("SELECT count(*) FROM spending") == [(0,)]


# Whose fault it is.

REFUSED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "unique": ("""INSERT INTO account ("user", spent, lim) VALUES ('ann', 0, 0)""", ()),
    "check": ("UPDATE account SET spent = ?", (101,)),
    "not null": ("UPDATE account SET spent = ?", (None,)),
    "foreign key": ("INSERT INTO spending VALUES (?, 0, 0, NULL)", (99,)),
    "too large": ("UPDATE account SET lim = ?", (2**63,)),
    "sum too large": ("UPDATE account SET lim = ?", (10**30,)),
    "no number": ("UPDATE account SET lim = ?", ("many",)),
    "half a surrogate": ("""UPDATE account SET "user" = ?""", ("\ud800",)),
    "no value of ours": ("""UPDATE account SET "user" = ?""", (object(),)),
}
OURS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "no such table": ("SELECT * FROM nowhere", ()),
    "no such column": ("SELECT nothing FROM account", ()),
    "no sense": ("SELEKT 1", ()),
    "too few values": ("SELECT id FROM account WHERE id = ? AND lim = ?", (1,)),
    "too many values": ("SELECT id FROM account WHERE id = ?", (1, 2)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_row_cannot_hold_is_the_rows_fault(database: Database, case: str) -> None:
    with pytest.raises(RowRefused) as refused:
        database.run(*REFUSED[case])
    assert refused.value.__cause__ is not None
    assert database.rows("""SELECT "user", spent, lim FROM account""") == [("ann", 0, 100)]


@pytest.mark.parametrize("case", OURS)
def test_a_statement_that_does_not_fit_is_our_fault(database: Database, case: str) -> None:
    with pytest.raises(BadStatement):
        database.rows(*OURS[case])
    assert spent(database) == 0


def test_a_storage_failure_is_told_to_a_client_as_such() -> None:
    """And not where the store is, which the message says."""
    failure = StorageUnavailable("/srv/ledger.db: the file is locked")
    assert "srv" not in failure.told and "srv" not in RowRefused("/srv/ledger.db: no").told
    assert (failure.status, failure.code) == (503, "storage_unavailable")
    assert failure.should_retry
    assert isinstance(failure, StorageError)


# Several at once.


@pytest.mark.slow
def test_of_two_that_race_for_the_last_of_it_exactly_one_wins(
    database: Database, opened: Open
) -> None:
    rounds = 100
    barrier = threading.Barrier(2)
    rivals = (opened(), opened())

    def race(rival: Database) -> list[bool]:
        won = []
        for _ in range(rounds):
            barrier.wait(10)
            won.append(bool(rival.rows(SPEND, (60, 60))))
            barrier.wait(10)
            if rival is rivals[0]:
                rival.run("UPDATE account SET spent = 0")
            barrier.wait(10)
        return won

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(race, rivals)
    assert [sum(pair) for pair in zip(first, second, strict=True)] == [1] * rounds


@pytest.mark.slow
def test_what_is_read_for_update_is_not_changed_by_others_meanwhile(
    database: Database, opened: Open
) -> None:
    """Four threads read, think and write: no spending is lost."""

    def spend(_: int) -> None:
        own = opened()
        for _ in range(25):
            with own.transaction():
                ((before,),) = own.rows(f"SELECT spent FROM account WHERE id = 1{own.for_update}")
                own.run("UPDATE account SET spent = ? WHERE id = 1", (before + 1,))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(spend, range(4)))
    assert spent(database) == 100


@pytest.mark.slow
def test_anothers_lock_is_waited_for_only_so_long(database: Database, opened: Open) -> None:
    hasty = opened(timeout_s=0.3)
    assert spent(hasty) == 0
    with database.transaction():
        database.rows(SPEND, (5, 5))
        began = time.monotonic()
        with pytest.raises(StorageUnavailable) as refused:
            hasty.rows(SPEND, (5, 5))
        assert time.monotonic() - began < 1.0
        assert refused.value.is_busy
    assert hasty.rows(SPEND, (5, 5)) == [(10,)]


@pytest.mark.slow
def test_who_has_patience_waits_for_longer(database: Database, opened: Open) -> None:
    patient = opened(timeout_s=0.05)
    assert spent(patient) == 0
    is_held, enough = threading.Event(), threading.Event()

    def hold() -> None:
        own = opened()
        with own.transaction():
            own.rows(SPEND, (5, 5))
            is_held.set()
            enough.wait(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(10)
    with patient.transaction(patience_s=10.0):
        assert patient.rows(SPEND, (5, 5)) == [(10,)]
    holder.join(10)
    with database.transaction():
        database.rows(SPEND, (5, 5))
        with pytest.raises(StorageUnavailable):  # Its patience was for that one time.
            patient.rows(SPEND, (5, 5))


def test_a_connection_may_be_handed_to_another_thread(database: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(spent, database).result(10) == 0
    assert spent(database) == 0


def test_a_closed_connection_is_opened_anew_by_its_next_use(database: Database) -> None:
    database.close()
    database.close()
    assert spent(database) == 0


def test_the_clock_is_the_stores(database: Database) -> None:
    assert abs(database.now() - time.time()) < 5
