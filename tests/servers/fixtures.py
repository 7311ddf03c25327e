"""Real PostgreSQL and Valkey servers as fixtures: one of each a session, started when asked for.

`make test` makes their environment. Where it is missing the tests that need it fail, so that
nobody takes silence for success; `POINTSMAN_SERVERS=off` skips them on purpose.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from pointsman.testing.servers import PostgresServer, Server, ServerMissing, ValkeyServer

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venvs" / "servers"
_numbers = itertools.count(1)


_Server = TypeVar("_Server", bound=Server)


def _running(make: Callable[[Path], _Server]) -> Iterator[_Server]:
    if os.environ.get("POINTSMAN_SERVERS") == "off":
        pytest.skip("POINTSMAN_SERVERS=off: no real servers")
    try:
        server = make(ENVIRONMENT)
    except ServerMissing as missing:
        pytest.fail(f"{missing}, and POINTSMAN_SERVERS=off skips these tests", pytrace=False)
    with server:
        yield server


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    yield from _running(PostgresServer)


@pytest.fixture(scope="session")
def _valkey() -> Iterator[ValkeyServer]:
    yield from _running(ValkeyServer)


@pytest.fixture
def postgres(_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The session's PostgreSQL, which a test may stop and freeze: it is brought back after."""
    yield _postgres
    _bring_back(_postgres)


@pytest.fixture
def valkey(_valkey: ValkeyServer) -> Iterator[ValkeyServer]:
    """The session's Valkey, emptied, which a test may stop and freeze: it is brought back after."""
    _valkey.say("FLUSHALL")
    yield _valkey
    _bring_back(_valkey)


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a new and empty database, dropped after the test, whoever is still in it."""
    name = f"test_{next(_numbers)}"
    ask(postgres, f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.url_of(name)
    _bring_back(postgres)
    ask(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new and empty store is, for `Store.of`: a test that takes it runs once with each
    engine."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("postgres_database")
    return url


def _bring_back(server: Server) -> None:
    server.thaw()
    if not server.is_well:
        server.start()


def ask(server: PostgresServer, sql: str) -> str:
    """Run one statement in the database `postgres` as its superuser; return what psql prints."""
    command = [str(server.psql), "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
