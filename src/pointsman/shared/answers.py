"""Answers kept in a Redis or Valkey, so that all workers and machines have them.

Theory. Who can write into a shared server could have us tell clients anything, so what is kept
there is sealed: an HMAC-SHA256 over the answer, keyed by the question's own key, which itself is
an HMAC that only who knows our secrets and the question can make. The server has neither: it sees
a digest of that key as the name. An answer put under another question's name, changed, cut or made
up does not fit its seal and is not there for us. What it can do is to forget.

The answers themselves can be read there: that server is as much in the house as the ledger.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Coroutine
from typing import Any, Final

from pointsman.cache.answers import encoded
from pointsman.cache.kept import Kept, decode
from pointsman.clock import Clock
from pointsman.config.settings_money import RedisSettings
from pointsman.shared.client import FAULTS, async_client
from pointsman.shared.guard import Guard

STREAK: Final = 3
"""Failures in a row after which nobody asks."""
MOST_TASKS: Final = 64
"""Answers that are on their way to the server at a time; one more is not kept."""
SEAL_BYTES: Final = 32


class RedisAnswers:
    """Satisfy `Answers`."""

    def __init__(self, settings: RedisSettings, clock: Clock) -> None:
        self._clock = clock
        self._timeout_s = settings.timeout_s
        self._client = async_client(settings)
        self._guard = Guard("cache", clock, STREAK)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_well(self) -> bool:
        return self._guard.is_up

    async def take(self, key: bytes) -> Kept | None:
        if not self._may_ask():
            return None
        sealed = await self._asked(self._client.get(_name(key)))
        if not isinstance(sealed, bytes) or len(sealed) < SEAL_BYTES:
            return None
        seal, body = sealed[:SEAL_BYTES], sealed[SEAL_BYTES:]
        if not hmac.compare_digest(seal, _seal(key, body)):
            return None
        return decode(body)

    def keep(self, key: bytes, kept: Kept) -> None:
        body = encoded(kept)
        lasts_ms = int((kept.until - self._clock.wall()) * 1e3)
        if body is None or lasts_ms <= 0 or not self._may_ask() or len(self._tasks) >= MOST_TASKS:
            return
        self._begin(self._kept(_name(key), _seal(key, body) + body, lasts_ms))

    async def _kept(self, name: bytes, sealed: bytes, lasts_ms: int) -> None:
        await self._asked(self._client.set(name, sealed, px=lasts_ms))

    async def _asked(self, question: Any) -> object:
        """Ask within the timeout; None where there is no answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer: object = await question
        except FAULTS as fault:
            self._guard.failed(fault)
            return None
        self._guard.answered()
        return answer

    def _may_ask(self) -> bool:
        """Whether the server is well; where it is not, see to it that it is asked how it is."""
        if self._guard.is_up:
            return True
        if self._guard.is_probe_due():
            self._begin(self._probe())
        return False

    async def _probe(self) -> None:
        await self._asked(self._client.ping())

    def _begin(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    def __repr__(self) -> str:
        return f"RedisAnswers({self._guard!r})"


def _name(key: bytes) -> bytes:
    return b"{pointsman}:answer:" + hashlib.sha256(b"name" + key).hexdigest().encode()


def _seal(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")
