"""Meter: what one deployment is doing now, and how fast it has been.

How fast is speed.py's business. A failure adds a penalty that wears off, or a deployment that
fails fast would look like the best of all (after Linkerd's biaser). What a local server reports
of its own load is kept here too: it tells of requests that came by other ways.
"""

from __future__ import annotations

import math

from pointsman.clock import Clock
from pointsman.domain.outcome import FAILURES, Outcome
from pointsman.errors import ProviderFailure
from pointsman.pipeline.call import Call
from pointsman.pipeline.quantiles import RecentQuantiles
from pointsman.pipeline.service import Reply, Service
from pointsman.pipeline.speed import NEVER, STALE_S, TAU_S, PeakEwma, Speed
from pointsman.routing.estimate import SIZE_FACTORS
from pointsman.routing.signals import REPORT_S, LoadReport, size_of
from pointsman.routing.tokens import TokenScale

__all__ = ["NO_REPORT", "PENALTY_S", "STALE_S", "TAU_S", "Meter", "PeakEwma"]

PENALTY_S = 5.0
"""What a failure counts as, in seconds (Linkerd's biaser)."""

PENALTY_GONE_S = 60.0
"""After six `tau` a penalty is a hundredth of a second and is left out."""

NO_REPORT = LoadReport(running=0, waiting=0, memory_used=0.0, at=NEVER)


class Meter:
    """Outermost of a deployment's layers: sees every attempt once."""

    def __init__(self, inner: Service, clock: Clock) -> None:
        self.inner = inner
        self._clock = clock
        self.in_flight = 0
        self.begun = 0
        """Attempts so far, ever growing: whether there is traffic."""
        self.version = 0
        """Changes with everything measured here: what was read at one version holds for it."""
        self.report = NO_REPORT
        self._samples = 0
        self._learnt_at = NEVER
        self._failed_at = NEVER
        self._speed = Speed()
        self._streams = tuple(RecentQuantiles(STALE_S) for _ in SIZE_FACTORS)
        self.tokens = TokenScale()
        """How this model counts, against the estimator."""

    def fresh_until(self, now: float) -> float:
        """The moment, in the clock's seconds, until which nothing here changes by time alone."""
        until = self._speed.stale_at(now)
        if self.report.at != NEVER:
            due = self.report.at + REPORT_S
            until = until if now > due else min(until, due)
        return until

    def samples(self, now: float) -> int:
        """Answers that were measured, 0 where the last one says nothing of now."""
        return 0 if now - self._learnt_at > STALE_S else self._samples

    def ttft_s(self, size: int, now: float) -> float | None:
        """Expected seconds to the first content of inputs of `size` (signals.size_of)."""
        return self._speed.first_content_s(size, now)

    def per_token_s(self, now: float) -> float | None:
        return self._speed.per_token_s(now)

    def first_content_quantile(self, q: float, size: int, now: float) -> float | None:
        """Seconds within which a share `q` of recent streams of `size` began; None where there
        were too few (quantiles.FEWEST)."""
        return self._streams[size].at(q, now)

    def penalty_s(self, now: float) -> float:
        """What recent failures count as, in seconds; wears off over `tau`."""
        since = now - self._failed_at
        return 0.0 if since > PENALTY_GONE_S else PENALTY_S * math.exp(-since / TAU_S)

    def fresh_report(self, now: float) -> LoadReport:
        """The local server's last word, NO_REPORT where that is too old."""
        report = self.report
        return report if now - report.at <= REPORT_S else NO_REPORT

    def told(self, report: LoadReport) -> None:
        """Take a local server's word on its load."""
        self.report = report
        self.version += 1

    async def __call__(self, call: Call) -> Reply:
        self.in_flight += 1
        self.begun += 1
        self.version += 1
        try:
            reply = await self.inner(call)
        except ProviderFailure as failure:
            self.in_flight -= 1
            self.version += 1
            if failure.kind in FAILURES:
                self._failed_at = self._clock.now()
            raise
        except BaseException:
            self.in_flight -= 1
            self.version += 1
            raise
        estimated = call.expected_tokens[0]
        reply.on_close(lambda outcome: self._closed(outcome, estimated))
        return reply

    def _closed(self, outcome: Outcome, estimated: int) -> None:
        self.in_flight -= 1
        self.version += 1
        if outcome.is_failure:
            self._failed_at = self._clock.now()
        elif outcome.kind == "ok":
            self._learn(outcome, size_of(estimated), self._clock.now())
            if not outcome.usage.estimated:
                self.tokens = self.tokens.observe(estimated, outcome.usage.input)

    def _learn(self, outcome: Outcome, size: int, now: float) -> None:
        self._samples = self.samples(now) + 1
        self._learnt_at = now
        tokens = max(1, outcome.usage.output)
        if outcome.ttft_s is None:
            self._speed.learn_whole(size, outcome.seconds, tokens, now)
        else:
            self._speed.learn_stream(size, outcome.ttft_s, outcome.seconds, tokens, now)
            self._streams[size].add(outcome.ttft_s, now)

    def __repr__(self) -> str:
        return f"Meter(in_flight={self.in_flight}, samples={self._samples}, ttft={self._speed!r})"
