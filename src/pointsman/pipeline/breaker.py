"""Breaker: stop asking a deployment that fails; come back carefully.

    closed --streak or ratio--> open --backoff over--> half_open --a probe's first content-->
    ramping --ramp over--> closed        (a failed probe or a failure while ramping: open again)

Two conditions open it: hard failures in a row (a hard outage shows at once) or a low share of
successes in a window of exact counts (half-broken shows too). A 429 is load and no failure: it
closes the track for as long as the provider asks, and leaves the counts alone. A refused
credential opens it after two. Neutral are the caller's mistakes, content filters, full contexts,
callers who left, and our own refusals. One probe at a time; the backoff is equal-jitter. While
ramping, every call is let through: the policy gives a deployment no more than its share of first
choices, and as a fallback it is better than nobody.
"""

from __future__ import annotations

from typing import Literal, Protocol

from pointsman.clock import Clock
from pointsman.config.settings import BreakerSettings
from pointsman.domain.outcome import Outcome
from pointsman.errors import FailureKind, ProviderFailure, Rejected
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, Service
from pointsman.routing.contract import kinds_with

State = Literal["closed", "open", "half_open", "ramping"]

HARD = kinds_with("hard")
REFUSED_STREAK = 2
"""401 and 403 in a row before a credential is put aside."""

RAMP_START = 0.1
"""Share of traffic right after a good probe."""

PROBE_SHARE = 1.0
"""What a half-open deployment shows to the policy while no probe is under way: the next request
that would have gone there is the probe, and falls back if it fails."""

BUCKETS = 10


class Random(Protocol):
    def random(self) -> float: ...


class Window:
    """Exact counts of successes and failures over the last `seconds`, in ten buckets."""

    __slots__ = ("_buckets", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        self._buckets: list[list[int]] = []  # [index, successes, failures], oldest first

    def add(self, now: float, success: bool) -> None:
        index = int(now / self._width)
        buckets = self._buckets
        if not buckets or buckets[-1][0] != index:
            buckets.append([index, 0, 0])
            while buckets[0][0] <= index - BUCKETS:
                del buckets[0]
        buckets[-1][1 if success else 2] += 1

    def counts(self, now: float) -> tuple[int, int]:
        oldest = int(now / self._width) - BUCKETS
        live = [bucket for bucket in self._buckets if bucket[0] > oldest]
        return sum(bucket[1] for bucket in live), sum(bucket[2] for bucket in live)

    def clear(self) -> None:
        self._buckets.clear()


class Breaker:
    """Above Limits: an open breaker spends no slot."""

    def __init__(
        self, inner: Service, clock: Clock, settings: BreakerSettings, rng: Random, name: str
    ) -> None:
        self.inner = inner
        self.name = name
        self._clock = clock
        self._settings = settings
        self._rng = rng
        self._window = Window(settings.window_s)
        self._streak = 0
        self._refused = 0
        self._openings = 0
        self._state: State = "closed"
        self.is_closed = True
        """As `state` was last set: a closed breaker does not open by time alone."""
        self._until = 0.0
        self.cooling_until = 0.0
        self._ramp_from = 0.0
        self._probing = False
        self.reason = ""
        self.opened = 0
        """How often it has opened, ever growing."""

    @property
    def state(self) -> State:
        if self._state == "open" and self._clock.now() >= self._until:
            self._state = "half_open"
        elif self._state == "ramping" and (
            self._clock.now() - self._ramp_from >= self._settings.ramp_s
        ):
            self._close()
        return self._state

    @property
    def share(self) -> float:
        """The share of calls in [0, 1] that would be let through now."""
        # 1. cooling after a 429: none. 2. by state.
        now = self._clock.now()
        if now < self.cooling_until:
            return 0.0
        match self.state:
            case "closed":
                return 1.0
            case "open":
                return 0.0
            case "half_open":
                return 0.0 if self._probing else PROBE_SHARE
            case "ramping":
                done = (now - self._ramp_from) / self._settings.ramp_s
                return min(1.0, RAMP_START + (1.0 - RAMP_START) * done)

    @property
    def reopens_in_s(self) -> float:
        """Seconds until a closed track may be tried again; 0 where it may be tried now."""
        now = self._clock.now()
        until = self.cooling_until
        if self.state == "open":
            until = max(until, self._until)
        return max(0.0, until - now)

    async def __call__(self, call: Call) -> Reply:
        probe = self._admit()
        try:
            reply = await self.inner(call)
        except ProviderFailure as failure:
            self._failed(failure.kind, failure.retry_after_s)
            raise
        finally:
            if probe:
                self._probing = False
        if probe:
            self._ramp()
        reply.on_close(self._closed)
        return reply

    def _admit(self) -> bool:
        """Let the call pass, or raise Rejected; True if it is the probe."""
        share = self.share
        if share == 0.0:
            raise Rejected(
                f"deployment {self.name}: breaker {self._state} ({self.reason}); "
                f"next try in {self.reopens_in_s:.1f} s",
                code="breaker_open",
                retry_after_s=self.reopens_in_s,
            )
        if self._state == "half_open":
            self._probing = True
            return True
        return False

    def _closed(self, outcome: Outcome) -> None:
        if outcome.kind == "ok":
            self._streak = self._refused = 0
            self._window.add(self._clock.now(), success=True)
        elif outcome.is_failure:
            self._failed(outcome.kind, None)

    def _failed(self, kind: FailureKind | str, retry_after_s: float | None) -> None:
        # 1. throttled: cool down for as long as asked, at least a second; the longer one holds.
        # 2. refused: the credential. 3. hard. 4. a filter or a full context: neutral.
        now = self._clock.now()
        if kind == "throttled":
            wait = min(max(retry_after_s or 0.0, 1.0), self._settings.retry_after_max_s)
            self.cooling_until = max(self.cooling_until, now + wait)
            self.reason = "throttled"
            return
        if kind == "refused":
            self._refused += 1
            if self._refused >= REFUSED_STREAK or self._state == "half_open":
                self._open(now, "credential refused", retry_after_s)
            return
        if kind not in HARD:
            return
        self._streak += 1
        self._window.add(now, success=False)
        good, bad = self._window.counts(now)
        settings = self._settings
        if self._state in ("half_open", "ramping"):
            self._open(now, f"{kind} after reopening", retry_after_s)
        elif self._streak >= settings.streak:
            self._open(now, f"{self._streak} failures in a row, last {kind}", retry_after_s)
        elif good + bad >= settings.min_samples and good < settings.ratio * (good + bad):
            reason = f"{bad} of {good + bad} failed in {settings.window_s:.0f} s"
            self._open(now, reason, retry_after_s)

    def _open(self, now: float, reason: str, retry_after_s: float | None) -> None:
        if self._state == "open":
            return
        settings = self._settings
        base = min(settings.max_s, settings.base_s * 2.0**self._openings)
        wait = base / 2 + self._rng.random() * base / 2
        if retry_after_s is not None:
            wait = max(wait, min(retry_after_s, settings.retry_after_max_s))
        self._openings += 1
        self.opened += 1
        self._state = "open"
        self.is_closed = False
        self._until = now + wait
        self.reason = reason

    def _ramp(self) -> None:
        self._state = "ramping"
        self._ramp_from = self._clock.now()
        self._streak = self._refused = 0
        self._window.clear()

    def _close(self) -> None:
        self._state = "closed"
        self.is_closed = True
        self._openings = 0
        self.reason = ""

    def __repr__(self) -> str:
        return f"Breaker({self.state}, share={self.share:.2f}, streak={self._streak})"
