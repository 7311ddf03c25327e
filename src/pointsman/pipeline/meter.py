"""Meter: what one deployment is doing now, and how fast it has been.

Theory. Two speeds matter apart, since answers differ in length: time to first content, and time
per output token after it. Both are peak-EWMAs (after Finagle's PeakEwma): a slow sample counts
at once, fast ones win back trust over `tau` seconds. A failure adds a penalty that wears off, or
a deployment that fails fast would look like the best of all (after Linkerd's biaser). An answer
that came whole tells only its total; it scales both estimates alike. What was measured too long
ago is forgotten: a deployment that was slow once and is asked no more could never show better.
"""

from __future__ import annotations

import math

from pointsman.clock import Clock
from pointsman.domain.outcome import FAILURES, Outcome
from pointsman.errors import ProviderFailure
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, Service
from pointsman.routing.tokens import TokenScale

TAU_S = 10.0
"""Decay of the peak-EWMAs (Finagle's default)."""

PENALTY_S = 5.0
"""What a failure counts as, in seconds (Linkerd's biaser)."""

STALE_S = 300.0
"""Seconds after which a measurement is forgotten; our own choice, the length of an incident."""

PRIOR_TTFT_S = 1.0
PRIOR_PER_TOKEN_S = 0.02
"""How a first whole answer is split: one second, then fifty tokens a second."""


class PeakEwma:
    """A peak-sensitive moving average in seconds: rises at once, decays with `tau`."""

    __slots__ = ("_at", "tau", "value")

    def __init__(self, tau: float = TAU_S) -> None:
        self.tau = tau
        self.value: float | None = None
        self._at = 0.0

    def observe(self, sample: float, now: float) -> None:
        old = self.value
        if old is None or sample > old:
            self.value = sample
        else:
            keep = math.exp(-max(0.0, now - self._at) / self.tau)
            # At least a little decay a sample, or a burst within one tick would teach nothing.
            keep = min(keep, 0.9)
            self.value = old * keep + sample * (1.0 - keep)
        self._at = now


class Meter:
    """Outermost of a deployment's layers: sees every attempt once."""

    def __init__(self, inner: Service, clock: Clock) -> None:
        self.inner = inner
        self._clock = clock
        self.in_flight = 0
        self.version = 0
        """Changes with everything measured here: what was read at one version holds for it."""
        self._samples = 0
        self._learnt_at = 0.0
        self._failed_at = 0.0
        self._penalty = 0.0
        self._ttft = PeakEwma()
        self._per_token = PeakEwma()
        self.tokens = TokenScale()
        """How this model counts, against the estimator."""

    @property
    def stale_at(self) -> float:
        """The moment, in the clock's seconds, from which nothing measured says anything of now."""
        return self._learnt_at + STALE_S

    def is_stale(self) -> bool:
        return self._clock.now() > self.stale_at

    @property
    def samples(self) -> int:
        return 0 if self.is_stale() else self._samples

    @property
    def ttft_s(self) -> float | None:
        return None if self.is_stale() else self._ttft.value

    @property
    def per_token_s(self) -> float | None:
        return None if self.is_stale() else self._per_token.value

    @property
    def penalty_s(self) -> float:
        """What recent failures count as, in seconds; wears off over `tau`."""
        if self._penalty == 0.0:
            return 0.0
        return self._penalty * math.exp(-(self._clock.now() - self._failed_at) / TAU_S)

    async def __call__(self, call: Call) -> Reply:
        self.in_flight += 1
        self.version += 1
        try:
            reply = await self.inner(call)
        except ProviderFailure as failure:
            self.in_flight -= 1
            self.version += 1
            if failure.kind in FAILURES:
                self._penalise()
            raise
        except BaseException:
            self.in_flight -= 1
            self.version += 1
            raise
        estimated = call.expected_tokens[0]
        reply.on_close(lambda outcome: self._closed(outcome, estimated))
        return reply

    def _penalise(self) -> None:
        self._penalty = PENALTY_S
        self._failed_at = self._clock.now()

    def _closed(self, outcome: Outcome, estimated: int) -> None:
        self.in_flight -= 1
        self.version += 1
        if outcome.is_failure:
            self._penalise()
        elif outcome.kind == "ok":
            self._learn(outcome, self._clock.now())
            if not outcome.usage.estimated:
                self.tokens = self.tokens.observe(estimated, outcome.usage.input)

    def _learn(self, outcome: Outcome, now: float) -> None:
        if self.is_stale():
            self._samples, self._ttft, self._per_token = 0, PeakEwma(), PeakEwma()
        self._samples += 1
        self._learnt_at = now
        tokens = max(1, outcome.usage.output)
        if outcome.ttft_s is not None:
            self._ttft.observe(outcome.ttft_s, now)
            if tokens > 1:
                self._per_token.observe((outcome.seconds - outcome.ttft_s) / (tokens - 1), now)
            return
        ttft = PRIOR_TTFT_S if self._ttft.value is None else self._ttft.value
        per_token = PRIOR_PER_TOKEN_S if self._per_token.value is None else self._per_token.value
        scale = outcome.seconds / max(1e-9, ttft + tokens * per_token)
        self._ttft.observe(ttft * scale, now)
        self._per_token.observe(per_token * scale, now)

    def __repr__(self) -> str:
        return f"Meter(in_flight={self.in_flight}, samples={self.samples}, ttft={self.ttft_s})"
