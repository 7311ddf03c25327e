"""Limits: what one deployment has been granted: attempts at once, requests and tokens a minute."""

from __future__ import annotations

from pointsman.clock import Clock
from pointsman.domain.deployment import Deployment
from pointsman.domain.outcome import Outcome
from pointsman.errors import ProviderFailure, Rejected
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, Service


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

    def take(self, amount: float, now: float) -> None:
        self._level = self.level(now) - amount

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` could be taken (at most a whole minute's grant is asked for)."""
        missing = min(amount, self.per_minute) - self.level(now)
        return max(0.0, missing * 60.0 / self.per_minute)


class Limits:
    """Above Timeout: a refused call starts no timer. Tokens are taken by estimate before the
    call and corrected by what was used when it closes."""

    def __init__(self, inner: Service, clock: Clock, deployment: Deployment) -> None:
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
        self.is_unlimited = not (self._slots or self._requests or self._tokens)

    @property
    def headroom(self) -> float:
        """The share in [0, 1] that is free of the scarcest limit."""
        if self.is_unlimited:
            return 1.0
        now = self._clock.now()
        free = [1.0]
        if self._slots:
            free.append(1.0 - self._taken / self._slots)
        buckets = [bucket for bucket in (self._requests, self._tokens) if bucket is not None]
        free.extend(bucket.level(now) / bucket.per_minute for bucket in buckets)
        return max(0.0, min(free))

    async def __call__(self, call: Call) -> Reply:
        if self.is_unlimited:
            return await self.inner(call)
        expected = sum(call.expected_tokens)
        self._take(expected)
        try:
            reply = await self.inner(call)
        except BaseException as error:
            self._taken -= 1
            # What was provably not worked on has used none of the tokens granted.
            is_free = isinstance(error, ProviderFailure) and not error.maybe_billed
            if is_free and self._tokens is not None:
                self._tokens.take(-expected, self._clock.now())
            raise
        reply.on_close(lambda outcome: self._closed(outcome, expected))
        return reply

    def _take(self, expected: int) -> None:
        now = self._clock.now()
        if self._slots and self._taken >= self._slots:
            raise Rejected(
                f"deployment {self._name}: all {self._slots} slots (max_in_flight) are taken",
                code="deployment_busy",
            )
        for bucket, amount, what in (
            (self._requests, 1, "requests_per_minute"),
            (self._tokens, expected, "tokens_per_minute"),
        ):
            if bucket is not None and (wait := bucket.wait_s(amount, now)) > 0.0:
                raise Rejected(
                    f"deployment {self._name}: {what} ({bucket.per_minute}) is used up; "
                    f"free again in {wait:.1f} s",
                    code="deployment_busy",
                    retry_after_s=wait,
                )
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(expected, now)
        self._taken += 1

    def _closed(self, outcome: Outcome, expected: int) -> None:
        self._taken -= 1
        if self._tokens is not None:
            self._tokens.take(outcome.usage.total - expected, self._clock.now())

    def __repr__(self) -> str:
        return f"Limits(taken={self._taken}, headroom={self.headroom:.2f})"
