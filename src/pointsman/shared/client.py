"""Clients of a Redis or Valkey: one try within the timeout, no retries of their own.

The library is an extra (`pointsman[redis]`) and imported only where one is configured.
"""

from __future__ import annotations

from typing import Any, Final

from pointsman.config.settings_money import RedisSettings
from pointsman.errors import ConfigError

try:
    import redis
    import redis.asyncio
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ConfigError(
        "redis: the library for it is not installed; install pointsman[redis], or leave `redis` out"
    ) from error

MOST_CONNECTIONS: Final = 16

FAULTS: Final = (redis.RedisError, OSError, TimeoutError)
"""Whatever can be wrong with a server, a connection or an answer."""


def blocking_client(settings: RedisSettings) -> redis.Redis:
    """For one thread."""
    return redis.Redis.from_url(
        settings.url.reveal(), retry=Retry(NoBackoff(), 0), **_options(settings)
    )


def async_client(settings: RedisSettings) -> redis.asyncio.Redis:
    """For an event loop; who finds all connections in use waits for one, within the timeout."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.url.reveal(),
        max_connections=MOST_CONNECTIONS,
        timeout=settings.timeout_s,
        retry=AsyncRetry(NoBackoff(), 0),
        **_options(settings),
    )
    return redis.asyncio.Redis.from_pool(pool)


def _options(settings: RedisSettings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        # The oldest protocol, and nothing said of ourselves: one round trip less to connect.
        "protocol": 2,
        "driver_info": None,
    }
