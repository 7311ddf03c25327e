"""Breaker: stop asking a deployment that fails; come back carefully.

    closed --streak or ratio--> open --backoff over--> half_open --a probe's first content-->
    ramping --ramp over--> closed        (a failed or lost probe, or a bad ramp: open again)

What each kind of failure does is read in routing/contract.py. Two conditions open it: hard
failures in a row (a hard outage shows at once) or a low share of successes in a window of exact
counts (half-broken shows too). A 429 is load and no failure: it closes the track for as long as
the provider asks, and leaves the counts alone; only a probe it fails. A refused credential opens
it after two, a used-up quota at once and until its date, or for `quota_s` at a time. Neutral are
the caller's mistakes, content filters, full contexts, callers who left, and our own refusals: a
probe that ends so has said nothing, and makes room for the next.

While ramping, every call is let through: the policy gives a deployment no more than its share of
first choices, and as a fallback it is better than nobody. Two hard failures in a row end a ramp:
one alone would keep a busy deployment with the usual few errors from ever coming back.

What was let through before it opened says nothing of what is now, and is not counted. In a panic
(every deployment of a route is out) a few calls pass all the same; a good one is a good probe,
a bad one tells nothing new.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

from pointsman.clock import Clock
from pointsman.config.settings import BreakerSettings
from pointsman.domain.outcome import Outcome
from pointsman.errors import Cause, FailureKind, ProviderFailure, Rejected
from pointsman.pipeline.call import Call
from pointsman.pipeline.outage import (
    Change,
    ChangeListener,
    Outage,
    OutageCause,
    Probe,
    Random,
    silent,
)
from pointsman.pipeline.provider_health import UNREACHED, ProviderHealth
from pointsman.pipeline.service import Reply, Service
from pointsman.pipeline.window import Window
from pointsman.routing.contract import KINDS

__all__ = ["Breaker", "Random"]

State = Literal["closed", "open", "half_open", "ramping"]

REFUSED_STREAK: Final = 2
"""401 and 403 in a row before a credential is put aside."""

RAMP_STREAK: Final = 2
"""Hard failures in a row that end a ramp; our choice."""

RAMP_START: Final = 0.1
"""Share of traffic right after a good probe."""

PROBE_SHARE: Final = 1.0
"""What a half-open deployment shows to the policy while no probe is under way: the next request
that would have gone there is the probe, and falls back if it fails."""

COOL_S: Final = 1.0
"""Shortest rest after a 429, in seconds."""

STEADY: Final[frozenset[OutageCause]] = frozenset({"credential", "quota"})
"""Outages that no try mends: panics leave them alone."""


class Admission:
    """On which terms a call was let through. `era` counts the openings before it."""

    __slots__ = ("era", "is_panic", "probe", "shared")

    def __init__(
        self,
        era: int,
        probe: Probe | None = None,
        shared: Probe | None = None,
        is_panic: bool = False,
    ) -> None:
        self.era = era
        self.probe = probe
        self.shared = shared
        """Its provider's probe."""
        self.is_panic = is_panic


class Breaker:
    """Above Limits: an open breaker spends no slot."""

    def __init__(
        self,
        inner: Service,
        clock: Clock,
        settings: BreakerSettings,
        rng: Random,
        name: str,
        provider: ProviderHealth | None = None,
        tell: ChangeListener = silent,
    ) -> None:
        self.inner = inner
        self.name = name
        self._clock = clock
        self._settings = settings
        self._tell = tell
        self._window = Window(settings.window_s)
        self._streak = 0
        self._refused = 0
        self._outage = Outage(settings, rng)
        self._plain = Admission(0)
        self._ramp_from: float | None = None
        self._panicked_at = float("-inf")
        self.cooling_until = 0.0
        self.answered_at = float("-inf")
        """When an answer last ended well."""
        self.is_closed = True
        """As `state` was last set: a closed breaker does not open by time alone."""
        self._provider = provider or ProviderHealth(name, clock, settings, rng)
        if self._provider.is_out:
            self.is_closed = False

    @property
    def opened(self) -> int:
        """How often it has opened, ever growing; failed probes included."""
        return self._outage.began

    @property
    def is_failing(self) -> bool:
        """Did failures open it, and is it still out? Not for a credential or a quota."""
        return self._outage.is_on and self._outage.cause not in STEADY

    @property
    def state(self) -> State:
        """Its own state, or its provider's where that is worse."""
        now = self._clock.now()
        own, provider = self._own_state(now), self._provider.state(now)
        return own if own == "open" or provider == "closed" else provider

    @property
    def reason(self) -> str:
        """Why it is out, "" where it is not."""
        if self._outage.is_on:
            return self._outage.reason
        if self._provider.is_out:
            return self._provider.reason
        return "throttled" if self._clock.now() < self.cooling_until else ""

    @property
    def share(self) -> float:
        """The share of calls in [0, 1] that would be let through now."""
        return self._share(self._clock.now())

    @property
    def reopens_in_s(self) -> float:
        """Seconds until a closed track may be tried again; 0 where it may be tried now."""
        now = self._clock.now()
        until = self.cooling_until
        if self._own_state(now) == "open":
            until = max(until, self._outage.until)
        if self._provider.state(now) == "open":
            until = max(until, self._provider.outage.until)
        return max(0.0, until - now)

    def success_ratio(self, now: float) -> float:
        """The share of attempts in the window that ended well; 1 where there were none."""
        good, bad = self._window.counts(now)
        return good / (good + bad) if good + bad else 1.0

    def may_panic(self, now: float) -> bool:
        """Would a call in a panic be let through at `now` (the clock's seconds)? Takes nothing."""
        per_s = self._settings.panic_per_s
        if per_s <= 0 or now < self.cooling_until:
            return False
        if self._outage.is_on and self._outage.cause in STEADY:
            return False
        return now - self._panicked_at >= 1.0 / per_s

    async def __call__(self, call: Call) -> Reply:
        admission = self._admit(call)
        is_plain = admission is self._plain
        try:
            reply = await self.inner(call)
        except ProviderFailure as failure:
            self._failed(admission, failure.kind, failure.retry_after_s, failure.cause)
            raise
        finally:
            if not is_plain:
                self._give_back(admission)
        if not is_plain:
            self._probed(admission)
        reply.on_close(partial(self._closed, admission))
        return reply

    def _own_state(self, now: float) -> State:
        outage = self._outage
        if outage.is_on:
            probe = outage.probe
            if probe is not None and outage.is_lost(now):
                self._open(probe.due, "lost", f"its probe had no content in {probe.limit_s:g} s")
            return "open" if now < outage.until else "half_open"
        if self._ramp_from is not None:
            if now - self._ramp_from < self._settings.ramp_s:
                return "ramping"
            self._close()
        return "closed"

    def _share(self, now: float) -> float:
        # 1. cooling after a 429. 2. open. 3. half-open, its provider or itself: one probe at a
        # time. 4. ramping. 5. closed.
        if now < self.cooling_until:
            return 0.0
        own, provider = self._own_state(now), self._provider.state(now)
        if "open" in (own, provider):
            return 0.0
        if "half_open" in (own, provider):
            probing = (self._outage.probe, self._provider.outage.probe)
            return PROBE_SHARE if probing == (None, None) else 0.0
        if self._ramp_from is not None:
            done = (now - self._ramp_from) / self._settings.ramp_s
            return min(1.0, RAMP_START + (1.0 - RAMP_START) * done)
        return 1.0

    def _admit(self, call: Call) -> Admission:
        """Let the call pass, or raise Rejected."""
        now = self._clock.now()
        if self.is_closed and now >= self.cooling_until:
            return self._plain
        if self._share(now) > 0.0:
            if not (self._outage.is_on or self._provider.is_out):
                return self._plain
            limit_s = call.timeouts.first_content_s
            probe = self._outage.take_probe(now, limit_s) if self._outage.is_on else None
            shared = self._provider.take_probe(now, limit_s) if self._provider.is_out else None
            return Admission(self._outage.began, probe, shared)
        if call.panic and self.may_panic(now):
            self._panicked_at = now
            return Admission(self._outage.began, is_panic=True)
        wait = self.reopens_in_s
        when = f"next try in {wait:.1f} s" if wait > 0 else "its probe is under way"
        raise Rejected(
            f"deployment {self.name}: breaker {self.state} ({self.reason}); {when}",
            code="breaker_open",
            retry_after_s=wait,
        )

    def _give_back(self, admission: Admission) -> None:
        if admission.probe is not None:
            self._outage.give_back(admission.probe)
        if admission.shared is not None:
            self._provider.outage.give_back(admission.shared)

    def _probed(self, admission: Admission) -> None:
        """A probe, or a call in a panic, had content."""
        now = self._clock.now()
        if admission.shared is not None or admission.is_panic:
            self._provider.answered(now)
        outage = self._outage
        looked = admission.probe is not None or admission.is_panic
        # Content that comes after the probe was called lost is good news too, except where a
        # key or a quota was refused since.
        is_told = admission.era == outage.began or outage.cause not in STEADY
        if outage.is_on and looked and is_told:
            outage.end(now)
            self._ramp(now)
            self._tell(Change(self.name, "recovered"))

    def _closed(self, admission: Admission, outcome: Outcome) -> None:
        if outcome.kind == "ok":
            self._provider.unreached = 0
            if admission.era == self._outage.began:
                self._streak = self._refused = 0
                self.answered_at = now = self._clock.now()
                self._window.add(now, success=True)
        elif outcome.is_failure:
            self._failed(admission, outcome.kind, None, "")

    def _failed(
        self,
        admission: Admission,
        kind: FailureKind | str,
        retry_after_s: float | None,
        cause: Cause,
    ) -> None:
        # 1. its provider: whether there was a connection at all, and the provider's own probe.
        # 2. throttled: cool down for as long as asked, at least a second; the longer one holds.
        # 3. the quota. 4. of an earlier era. 5. the credential. 6. hard. 7. neutral: nothing.
        now = self._clock.now()
        effect = KINDS[kind].breaker  # type: ignore[index]  # an Outcome that is a failure
        provider = self._provider
        if cause in UNREACHED:
            provider.missed(cause, now)
        else:
            provider.unreached = 0
        shared = admission.shared
        if shared is not None and shared is provider.outage.probe and effect in ("hard", "cool"):
            provider.probe_failed(now, kind, retry_after_s)
        outage = self._outage
        is_probe = admission.probe is not None and admission.probe is outage.probe
        if effect == "cool":
            wait = min(max(retry_after_s or 0.0, COOL_S), self._settings.retry_after_max_s)
            self.cooling_until = max(self.cooling_until, now + wait)
            if is_probe:
                self._open(now, "throttled", "its probe was throttled", retry_after_s)
        elif cause == "quota":
            if is_probe or not (outage.is_on and outage.cause == "quota"):
                self._open(now, "quota", "the account's quota is used up", retry_after_s)
        elif admission.era != outage.began or admission.is_panic:
            return
        elif effect == "credential":
            self._refused += 1
            if self._refused >= REFUSED_STREAK or is_probe:
                self._open(now, "credential", "credential or model refused", retry_after_s)
        elif effect == "hard":
            self._count_failure(now, kind, retry_after_s, is_probe)

    def _count_failure(
        self, now: float, kind: str, retry_after_s: float | None, is_probe: bool
    ) -> None:
        settings = self._settings
        if self._ramp_from is not None:
            self._own_state(now)  # The ramp may be over by now, and its counts with it.
        self._streak += 1
        self._window.add(now, success=False)
        good, bad = self._window.counts(now)
        most = settings.streak
        if self._ramp_from is not None:
            most = min(most, RAMP_STREAK)
        if is_probe:
            self._open(now, "failing", f"its probe failed: {kind}", retry_after_s)
        elif self._streak >= most:
            reason = f"{self._streak} failures in a row, last {kind}"
            self._open(now, "failing", reason, retry_after_s)
        elif good + bad >= settings.min_samples and good < settings.ratio * (good + bad):
            reason = f"{bad} of {good + bad} failed in {settings.window_s:.0f} s"
            self._open(now, "failing", reason, retry_after_s)

    def _open(
        self, now: float, cause: OutageCause, reason: str, retry_after_s: float | None = None
    ) -> None:
        outage = self._outage
        was_in = not outage.is_on
        again = outage.is_on and (outage.cause == cause or cause not in STEADY)
        wait = outage.begin(now, cause, reason, retry_after_s)
        self._ramp_from = None
        self._refused = 0
        self.is_closed = False
        self._plain = Admission(outage.began)
        self._tell(Change(self.name, cause, reason, wait, again))
        if was_in and cause == "failing":
            self._provider.opened(now)

    def _ramp(self, now: float) -> None:
        self._ramp_from = now
        self.is_closed = False
        self._streak = self._refused = 0
        self._window.clear()

    def _close(self) -> None:
        self._ramp_from = None
        self.is_closed = not self._provider.is_out
        self._streak = self._refused = 0
        self._window.clear()

    def provider_changed(self, now: float, is_out: bool) -> None:
        """Its provider went out, or came back: then what was well ramps up too."""
        self.is_closed = False
        if not is_out and not self._outage.is_on:
            self._ramp(now)

    def __repr__(self) -> str:
        return f"Breaker({self.state}, share={self.share:.2f}, streak={self._streak})"
