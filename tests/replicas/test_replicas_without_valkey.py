"""Three replicas over PostgreSQL alone: it counts rates as well."""

from __future__ import annotations

import pytest
from tests.replicas import rate_checks
from tests.replicas.replica_house import Fleet

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def test_requests_a_minute(plain_fleet: Fleet) -> None:
    await rate_checks.requests_a_minute(plain_fleet)


async def test_tokens_a_minute(plain_fleet: Fleet) -> None:
    await rate_checks.tokens_a_minute(plain_fleet)


async def test_requests_at_once(plain_fleet: Fleet) -> None:
    await rate_checks.at_once(plain_fleet)
