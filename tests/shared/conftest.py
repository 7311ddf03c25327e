"""A real Valkey, and settings that name it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pointsman.clock import SystemClock
from pointsman.config.settings_money import RedisSettings
from pointsman.domain.secret import Secret
from pointsman.shared.escrow import RedisEscrow
from pointsman.testing.servers import ValkeyServer


@pytest.fixture
def settings(valkey: ValkeyServer) -> RedisSettings:
    return RedisSettings(Secret(valkey.url), timeout_s=0.25)


@pytest.fixture
def workers(settings: RedisSettings) -> Iterator[tuple[RedisEscrow, RedisEscrow]]:
    """Two that have said they live."""
    pair = (RedisEscrow(settings, SystemClock()), RedisEscrow(settings, SystemClock()))
    for escrow in pair:
        assert escrow.renew()
    yield pair
    for escrow in pair:
        escrow.close()
