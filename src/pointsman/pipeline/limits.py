"""Limits: what one deployment can take: attempts at once, requests and tokens a minute.

Four bounds, and the tightest holds. Declared by the operator: slots, and buckets of requests and
tokens a minute. Said by the provider with its answers: what is left of both (last_word.py).
Learnt: how many attempts at once it bears (adaptive.py). Beyond one of them nobody is called.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Final, NoReturn

from pointsman.clock import Clock
from pointsman.domain.deployment import Deployment
from pointsman.domain.granted import Granted
from pointsman.domain.outcome import Outcome
from pointsman.errors import ProviderFailure, Rejected
from pointsman.pipeline.adaptive import UNBOUNDED, Adaptive
from pointsman.pipeline.call import Call
from pointsman.pipeline.last_word import LastWord
from pointsman.pipeline.service import Reply, Service
from pointsman.routing.signals import size_of

SIGNALS: Final = frozenset({"throttled", "overloaded"})
"""Failures by which a provider says that it was too many: 429, 503, 529."""

STILL_S: Final = 0.05
"""Refills are looked at this often, in seconds: a thousandth of a minute's grant."""


class TokenBucket:
    """A bucket that refills to `per_minute` over a minute; may be overdrawn by corrections."""

    __slots__ = ("_at", "_level", "per_minute")

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def level(self, now: float) -> float:
        refilled = self._level + (now - self._at) * self.per_minute / 60.0
        self._level = min(float(self.per_minute), refilled)
        self._at = now
        return self._level

    def share(self, least: float, now: float) -> float:
        """The share in [0, 1] that is left; 0 where that is less than `least`."""
        level = self.level(now)
        return 0.0 if level < least else max(0.0, level / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        self._level = self.level(now) - amount

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` could be taken (at most a whole minute's grant is asked for)."""
        missing = min(amount, self.per_minute) - self.level(now)
        return max(0.0, missing * 60.0 / self.per_minute)


class Limits:
    """Above Timeout: a refused call starts no timer. Tokens are taken by estimate before the
    call and corrected by what was used when it closes."""

    def __init__(
        self, inner: Service, clock: Clock, deployment: Deployment, adaptive: Adaptive = UNBOUNDED
    ) -> None:
        self.inner = inner
        self._clock = clock
        self._name = deployment.name
        limits = deployment.limits
        now = clock.now()
        self._slots = limits.max_in_flight
        self._taken = 0
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._requests = TokenBucket(requests, now) if requests else None
        self._tokens = TokenBucket(tokens, now) if tokens else None
        self._has_buckets = bool(requests or tokens)
        self.adaptive = adaptive
        self._said_requests = LastWord()
        self._said_tokens = LastWord()
        self._said_until = -math.inf
        self.version = 0
        """Changes with what a provider says; attempts are counted by the Meter's version."""

    @property
    def headroom(self) -> float:
        """The share in [0, 1] that is free of the scarcest limit."""
        return self.free_share(self._clock.now())

    def free_share(self, now: float) -> float:
        """The share in [0, 1] that is free of the scarcest limit at `now`."""
        free = 1.0
        taken = self._taken
        if self._slots:
            free = 1.0 - taken / self._slots
        bound = self.adaptive.bound
        if bound != math.inf:
            free = min(free, 1.0 - taken / int(bound))
        if self._requests is not None:
            free = min(free, self._requests.share(1.0, now))
        if self._tokens is not None:
            free = min(free, self._tokens.share(0.0, now))
        if now < self._said_until:
            free = min(free, self._said_requests.share(now), self._said_tokens.share(now))
        return max(0.0, free)

    def free_in_s(self, now: float) -> float:
        """Seconds until requests and tokens a minute grant something again."""
        wait = 0.0
        if self._has_buckets:
            for bucket in (self._requests, self._tokens):
                if bucket is not None:
                    wait = max(wait, bucket.wait_s(1.0, now))
        if now < self._said_until:
            wait = max(wait, self._said_requests.wait_s(1, now), self._said_tokens.wait_s(1, now))
        return wait

    def still_until(self, now: float) -> float:
        """The moment, in the clock's seconds, until which time alone changes next to nothing."""
        moves = self._has_buckets or now < self._said_until
        return now + STILL_S if moves else math.inf

    async def __call__(self, call: Call) -> Reply:
        now = self._clock.now()
        expected = sum(call.expected_tokens)
        self._take(call.expected_tokens[0], expected, now)
        in_flight = self._taken
        try:
            reply = await self.inner(call)
        except ProviderFailure as failure:
            self._failed(failure, in_flight, now)
            self._taken -= 1
            # What was provably not worked on has used none of the tokens granted.
            if not failure.maybe_billed and self._tokens is not None:
                self._tokens.take(-expected, self._clock.now())
            raise
        except BaseException:
            self._taken -= 1
            raise
        if reply.granted is not None:
            self._hear(reply.granted)
        reply.on_close(partial(self._closed, call, in_flight, now))
        return reply

    def _take(self, input_tokens: int, expected: int, now: float) -> None:
        # 1. slots. 2. learnt. 3. buckets. 4. the provider's word. Only then all are taken.
        if self._slots and self._taken >= self._slots:
            self._refuse(f"all {self._slots} slots (max_in_flight) are taken")
        bound = self.adaptive.bound
        if self._taken + 1 > bound:
            self.adaptive.blocked(now)
            self._refuse(f"it bears {int(bound)} attempts at once just now (learnt)")
        if self._has_buckets:
            for bucket, amount, what in (
                (self._requests, 1, "requests_per_minute"),
                (self._tokens, expected, "tokens_per_minute"),
            ):
                if bucket is not None and (wait := bucket.wait_s(amount, now)) > 0.0:
                    self._refuse(f"{what} ({bucket.per_minute}) is used up", wait)
        if now < self._said_until:
            for word, amount, what in (
                (self._said_requests, 1, "requests"),
                (self._said_tokens, max(1, input_tokens), "tokens"),
            ):
                # More than there ever is cannot be waited for: the provider may say so itself.
                most = amount if word.limit is None else min(amount, word.limit)
                if (wait := word.wait_s(most, now)) > 0.0:
                    self._refuse(f"by its provider's word too few {what} are left", wait)
            self._said_requests.sent += 1
            self._said_tokens.sent += expected
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(expected, now)
        self._taken += 1

    def _refuse(self, why: str, wait: float | None = None) -> NoReturn:
        when = "" if wait is None else f"; free again in {wait:.1f} s"
        raise Rejected(
            f"deployment {self._name}: {why}{when}", code="deployment_busy", retry_after_s=wait
        )

    def _failed(self, failure: ProviderFailure, in_flight: int, started: float) -> None:
        granted = failure.granted
        if granted is not None:
            self._hear(granted)
        # A used-up minute or quota says nothing about how many at once are too many.
        if failure.kind in SIGNALS and failure.cause != "quota" and not _is_used_up(granted):
            self.adaptive.signalled(self._taken, started, self._clock.now())

    def _hear(self, granted: Granted) -> None:
        now = self._clock.now()
        until = -math.inf
        for said, word in (
            (granted.requests, self._said_requests),
            (granted.tokens, self._said_tokens),
        ):
            if said is not None:
                word.hear(said, now)
            until = max(until, word.until())
        self._said_until = until
        self.version += 1

    def _closed(self, call: Call, in_flight: int, started: float, outcome: Outcome) -> None:
        if outcome.kind == "ok":
            size = size_of(call.expected_tokens[0])
            self.adaptive.succeeded(in_flight, size, outcome.ttft_s, self._clock.now())
        elif outcome.kind in SIGNALS:
            self.adaptive.signalled(self._taken, started, self._clock.now())
        self._taken -= 1
        if self._tokens is not None:
            expected = sum(call.expected_tokens)
            self._tokens.take(outcome.usage.total - expected, self._clock.now())

    def __repr__(self) -> str:
        return f"Limits(taken={self._taken}, headroom={self.headroom:.2f}, {self.adaptive!r})"


def _is_used_up(granted: Granted | None) -> bool:
    if granted is None:
        return False
    return any(
        said is not None and said.remaining == 0 for said in (granted.requests, granted.tokens)
    )
