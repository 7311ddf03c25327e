"""A PostgreSQL server that hangs, dies or says no: nobody waits long, nothing is half done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.servers.fixtures import ask

from pointsman.store.errors import StorageUnavailable
from pointsman.store.postgres import PostgresDatabase
from pointsman.testing.servers import PostgresServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

Open = Callable[..., PostgresDatabase]
HASTE_S = 0.4


@pytest.fixture
def opened(postgres_database: str) -> Iterator[Open]:
    databases: list[PostgresDatabase] = []

    def make(**settings: Any) -> PostgresDatabase:
        hasty = {"timeout_s": HASTE_S, "connect_s": HASTE_S, **settings}
        database = PostgresDatabase(postgres_database, **hasty)
        databases.append(database)
        return database

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def database(opened: Open) -> PostgresDatabase:
    database = opened()
    database.run("CREATE TABLE t (n BIGINT)")
    return database


def count(database: PostgresDatabase) -> Any:
    return database.rows("SELECT count(*) FROM t")[0][0]


def unavailable(ask_it: Callable[[], object]) -> float:
    """Have it fail as unavailable; return after how many seconds."""
    began = time.monotonic()
    with pytest.raises(StorageUnavailable) as failure:
        ask_it()
    assert not failure.value.is_busy
    return time.monotonic() - began


# A server that hangs.


def test_a_server_that_hangs_holds_nobody_longer_than_the_timeout(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    postgres.freeze()
    assert HASTE_S * 0.9 < unavailable(lambda: count(database)) < HASTE_S + 0.3
    # Nor at the next use, where connecting is what hangs.
    assert HASTE_S * 0.9 < unavailable(lambda: count(database)) < HASTE_S + 0.3
    postgres.thaw()
    assert count(database) == 0


def test_what_hangs_in_a_transaction_is_not_done(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    with pytest.raises(StorageUnavailable), database.transaction():
        database.run("INSERT INTO t VALUES (1)")
        postgres.freeze()
        assert unavailable(lambda: count(database)) < HASTE_S + 0.3
        # The transaction is spoilt: it says so at once, and connects to nobody.
        assert unavailable(lambda: count(database)) < 0.1
    postgres.thaw()
    assert count(database) == 0


def test_closing_at_a_server_that_hangs_is_soon_over(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    postgres.freeze()
    began = time.monotonic()
    database.close()
    assert time.monotonic() - began < 1.0


def test_a_statement_that_is_slow_itself_keeps_its_connection(database: PostgresDatabase) -> None:
    ((before,),) = database.rows("SELECT pg_backend_pid()")
    with pytest.raises(StorageUnavailable) as slow:
        database.rows("SELECT pg_sleep(10)")
    assert slow.value.is_busy
    assert database.rows("SELECT pg_backend_pid()") == [(before,)]


# A server that goes away.


def test_a_server_that_is_gone_is_unavailable_at_once(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    postgres.stop()
    assert unavailable(lambda: count(database)) < 0.2
    assert unavailable(lambda: count(database)) < 0.2
    postgres.start()
    assert count(database) == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_between_statements_is_not_noticed(
    database: PostgresDatabase, postgres: PostgresServer, how: str
) -> None:
    database.run("INSERT INTO t VALUES (1)")
    getattr(postgres, how)()
    postgres.start()
    assert count(database) == 1
    getattr(postgres, how)()
    postgres.start()
    with database.transaction():
        database.run("INSERT INTO t VALUES (2)")
    assert count(database) == 2


def test_a_connection_lost_in_a_transaction_spoils_it(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    with pytest.raises(StorageUnavailable), database.transaction():
        database.run("INSERT INTO t VALUES (1)")
        postgres.restart()
        unavailable(lambda: database.run("INSERT INTO t VALUES (2)"))
        unavailable(lambda: database.run("INSERT INTO t VALUES (3)"))
    assert count(database) == 0


def test_a_connection_lost_before_the_commit_is_told_by_it(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    with pytest.raises(StorageUnavailable), database.transaction():
        database.run("INSERT INTO t VALUES (1)")
        postgres.restart()
    assert count(database) == 0


def test_a_statement_under_way_ends_when_the_server_does(
    opened: Open, postgres: PostgresServer
) -> None:
    database = opened(timeout_s=30.0)
    ((pid,),) = database.rows("SELECT pg_backend_pid()")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(unavailable, lambda: database.rows("SELECT pg_sleep(20)"))
        is_asleep = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
        until = time.monotonic() + 10
        while ask(postgres, is_asleep) != "1":
            assert time.monotonic() < until
        ask(postgres, f"SELECT pg_terminate_backend({pid})")
        assert waiting.result(10) < 10
    assert database.rows("SELECT 1") == [(1,)]


# A server that says no.


def test_a_read_only_server_is_unavailable_until_it_is_not(
    database: PostgresDatabase, postgres: PostgresServer, postgres_database: str
) -> None:
    name = postgres_database.rpartition("/")[2]
    ask(postgres, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database.close()
    unavailable(lambda: database.run("INSERT INTO t VALUES (1)"))
    ask(postgres, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert database.run("INSERT INTO t VALUES (1)") == 1


def test_a_database_that_is_not_there_is_unavailable(postgres: PostgresServer) -> None:
    database = PostgresDatabase(postgres.url_of("nobody_made_it"))
    unavailable(lambda: database.rows("SELECT 1"))
    database.close()


def test_two_that_wait_for_each_other_are_told_apart(opened: Open) -> None:
    """One is told to try again; the other goes on."""
    first, second = opened(timeout_s=8.0), opened(timeout_s=8.0)
    first.run("CREATE TABLE t (n BIGINT, v BIGINT)")
    first.run_many("INSERT INTO t VALUES (?, 0)", [(1,), (2,)])
    meet = threading.Barrier(2)

    def cross(database: PostgresDatabase, order: tuple[int, int]) -> str:
        try:
            with database.transaction():
                database.run("UPDATE t SET v = v + 1 WHERE n = ?", order[:1])
                meet.wait(10)
                database.run("UPDATE t SET v = v + 1 WHERE n = ?", order[1:])
        except StorageUnavailable as failure:
            assert failure.is_busy
            return "again"
        return "done"

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(cross, (first, second), ((1, 2), (2, 1))))
    assert sorted(results) == ["again", "done"]
    assert first.rows("SELECT v FROM t") == [(1,), (1,)]


def test_who_falls_silent_in_a_transaction_loses_its_locks(opened: Open) -> None:
    """A process that was stopped in the middle must not stop the others."""
    silent, other = opened(timeout_s=0.2), opened(timeout_s=5.0)
    other.run("CREATE TABLE t (n BIGINT)")
    other.run("INSERT INTO t VALUES (0)")
    with pytest.raises(StorageUnavailable), silent.transaction():
        silent.run("UPDATE t SET n = 1")
        began = time.monotonic()
        assert other.run("UPDATE t SET n = n + 10") == 1
        assert time.monotonic() - began < 2.0
        silent.run("UPDATE t SET n = 2")
    assert other.rows("SELECT n FROM t") == [(10,)]


def test_tables_that_change_beneath_a_known_statement_cost_one_failure_at_most(
    database: PostgresDatabase, opened: Open
) -> None:
    other = opened()
    find = "SELECT * FROM t"
    assert database.rows(find) == []
    other.run("ALTER TABLE t ADD COLUMN more BIGINT DEFAULT 7")
    other.run("INSERT INTO t (n) VALUES (1)")
    try:
        with database.transaction():
            found = database.rows(find)
    except StorageUnavailable:
        found = database.rows(find)
    assert found == [(1, 7)]


# Its use.


async def test_it_refuses_to_block_an_event_loop(postgres_database: str) -> None:
    database = PostgresDatabase(postgres_database)
    with pytest.raises(RuntimeError, match="thread of its own"):
        database.rows("SELECT 1")
    assert await asyncio.to_thread(database.rows, "SELECT 1") == [(1,)]
    await asyncio.to_thread(database.close)


def test_an_interrupted_statement_gives_its_connection_up(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((before,),) = database.rows("SELECT pg_backend_pid()")

    def interrupted(*_: object, **__: object) -> Any:
        async def never() -> None:
            raise KeyboardInterrupt

        return never()

    connection: Any = database._connection
    monkeypatch.setattr(type(connection), "fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        database.rows("SELECT 1")
    monkeypatch.undo()
    ((after,),) = database.rows("SELECT pg_backend_pid()")
    assert after != before
