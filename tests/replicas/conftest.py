"""Two fleets of three replicas over one real PostgreSQL: with a real Valkey, and without."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.replicas.replica_house import Fleet, fleet_of
from tests.servers.fixtures import ask

from pointsman.testing.servers import PostgresServer, ValkeyServer

pytest.register_assert_rewrite(
    "tests.replicas.rate_checks"
)  # so that a failure shows what was told

_numbers = itertools.count(1)


async def _over(
    postgres: PostgresServer, folder: Path, redis_url: str | None
) -> AsyncIterator[Fleet]:
    name = f"fleet_{next(_numbers)}"
    ask(postgres, f"CREATE DATABASE {name} TEMPLATE template0")
    async with fleet_of(folder, postgres.url_of(name), redis_url) as fleet:
        yield fleet
    ask(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(
    _postgres: PostgresServer, _valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    async for each in _over(_postgres, folder, _valkey.url):
        yield each


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain_fleet(
    _postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    """Without a Valkey: rates are counted in the store."""
    folder = tmp_path_factory.mktemp("plain")
    async for each in _over(_postgres, folder, None):
        yield each
