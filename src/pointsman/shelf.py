"""The shelf: where a process keeps answers, and what lays a cache over a route's stack.

It lives as long as the process; what it was built of at the start (memory or a shared store, and
how much of it) stays until the next start. Modes, times and rules are each generation's own.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from pointsman.cache.answers import Answers, MemoryAnswers
from pointsman.cache.near import NearQuestions
from pointsman.clock import Clock
from pointsman.composition import CacheLayer
from pointsman.config.settings import Route, Settings
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.cached import Cached
from pointsman.pipeline.service import Service

_log = logging.getLogger("pointsman")


class Shelf:
    def __init__(self, settings: Settings, clock: Clock, answers: Answers | None = None) -> None:
        self._clock = clock
        self._own_secret = secrets.token_bytes(32)
        self._is_shared = settings.cache.store == "redis" and settings.redis is not None
        self.redis_uses: Mapping[str, Callable[[], bool]] = {}
        """What the shared server is used for, and whether it answers."""
        self.answers = answers if answers is not None else self._made(settings)

    def _made(self, settings: Settings) -> Answers:
        if settings.cache.store != "redis" or settings.redis is None:
            return MemoryAnswers(self._clock, settings.cache.most_bytes)
        from pointsman.shared.answers import RedisAnswers

        shared = RedisAnswers(settings.redis, self._clock)
        self.redis_uses = {"cache": lambda: shared.is_well}
        return shared

    def secret(self, settings: Settings) -> bytes:
        """What keys of questions are made with: the same on all that share their answers.

        It comes from the configuration's secrets, all of them together and slowly, so that none
        can be found by trying. Where another key is configured, older answers are not found.
        """
        if not self._is_shared:
            return self._own_secret
        known = b"\0".join(each.encode() for each in secrets_of(settings))
        if not known:
            _log.warning("cache.unshared reason='no secret is configured that others have too'")
            return self._own_secret
        return hashlib.scrypt(known, salt=b"pointsman cache 1", n=2**12, r=8, p=1, dklen=32)

    def layer(self, settings: Settings, epoch: str) -> CacheLayer | None:
        """What lays the cache over a generation's routes; None where none of them has one."""
        modes = {settings.cache.mode, *(route.cache or "off" for route in settings.routes)}
        if modes == {"off"}:
            return None
        return partial(self._over, settings, epoch, self.secret(settings))

    def _over(
        self,
        settings: Settings,
        epoch: str,
        secret: bytes,
        inner: Service,
        route: Route,
        stacks: Mapping[str, DeploymentStack],
    ) -> Service:
        mode = route.cache or settings.cache.mode
        if mode == "off":
            return inner
        names = [each.name for each in route.deployments]
        near = NearQuestions(self._clock, settings.cache.similarity) if mode == "semantic" else None
        return Cached(
            inner,
            self._clock,
            self.answers,
            replace(settings.cache, mode=mode),
            "\n".join([epoch, route.name, *names]),
            {name: stacks[name].deployment for name in names},
            secret,
            near,
        )

    async def close(self) -> None:
        await self.answers.close()

    def __repr__(self) -> str:
        return f"Shelf({self.answers!r})"


def secrets_of(settings: Settings) -> Iterator[str]:
    """All secrets that every worker and replica has, but for the shared store's own address."""
    for _, provider in sorted(settings.providers.items()):
        for key in (provider.key, *provider.spare_keys):
            if key is not None:
                yield key.reveal()
    for api_key in settings.server.keys:
        yield api_key.secret.reveal()
    for token in settings.admin.tokens:
        yield token.secret.reveal()
