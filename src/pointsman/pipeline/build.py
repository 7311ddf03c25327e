"""The order of both stacks, a reason per line.

Route stack: `Account` over `Dispatch` (gateway.py puts them together, since a route's
configuration is its business). Deployment stack: this file.
"""

from __future__ import annotations

from math import inf

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.config.settings import BreakerSettings
from pointsman.domain.deployment import Deployment
from pointsman.pipeline.adaptive import UNBOUNDED, Adaptive, Gradient, Signalled
from pointsman.pipeline.breaker import Breaker, Random
from pointsman.pipeline.limits import Limits
from pointsman.pipeline.meter import Meter
from pointsman.pipeline.outage import ChangeListener, silent
from pointsman.pipeline.provider_health import ProviderHealth
from pointsman.pipeline.service import Service
from pointsman.pipeline.timeout import Timeout
from pointsman.routing.signals import DeploymentState, LoadReport, size_of

NEAR_FULL = 0.95
"""Share of a local server's key-value cache in use above which it has as little headroom as it has
free memory: vLLM then lets requests wait, and throws running ones out (its metrics page)."""

LEAST_FREE = 0.01
"""What is left of its headroom at least: it is slow, and refuses nobody."""


class DeploymentStack:
    """One deployment with its guards; `service` is the outermost."""

    __slots__ = (
        "_clock",
        "_fresh_until",
        "_kept",
        "_version",
        "breaker",
        "deployment",
        "limits",
        "meter",
        "service",
    )

    def __init__(
        self, deployment: Deployment, meter: Meter, breaker: Breaker, limits: Limits, clock: Clock
    ) -> None:
        self.deployment = deployment
        self.service: Service = meter
        self.meter = meter
        self.breaker = breaker
        self.limits = limits
        self._clock = clock
        self._kept: dict[int, DeploymentState] = {}
        self._version = -1
        self._fresh_until = 0.0

    def state(self, now: float | None = None, size: int = 0) -> DeploymentState:
        """What a policy may know of this deployment now (in the clock's seconds), for inputs of
        `size` (signals.size_of).

        Every decision asks every deployment, and most have not changed since: what was read is
        kept while nothing was measured, nothing that time changes is in it, and no guard acts.
        """
        meter, breaker, limits = self.meter, self.breaker, self.limits
        if now is None:
            now = self._clock.now()
        version = meter.version + limits.version  # both only grow
        if breaker.is_closed and now >= breaker.cooling_until:
            kept = self._kept
            if version != self._version or now >= self._fresh_until:
                kept.clear()
                self._version = version
                # What wears off is read anew each time.
                wears_off = meter.penalty_s(now) > 0.0
                self._fresh_until = (
                    now if wears_off else min(meter.fresh_until(now), limits.still_until(now))
                )
            state = kept.get(size)
            if state is None:
                state = kept[size] = self._read(now, size)
            return state
        return replace(
            self._read(now, size),
            share=breaker.share,
            reopens_in_s=breaker.reopens_in_s,
            breaker=breaker.state,
            reason=breaker.reason,
        )

    def _read(self, now: float, size: int) -> DeploymentState:
        """As if its breaker were closed."""
        meter, limits = self.meter, self.limits
        report = meter.fresh_report(now)
        headroom = limits.free_share(now)
        if report.memory_used > NEAR_FULL:
            headroom = min(headroom, max(LEAST_FREE, 1.0 - report.memory_used))
        bound = limits.adaptive.bound
        return DeploymentState(
            in_flight=meter.in_flight,
            ttft_s=meter.ttft_s(size, now),
            per_token_s=meter.per_token_s(now),
            samples=meter.samples(now),
            headroom=headroom,
            token_scale=meter.tokens.ratio,
            penalty_s=meter.penalty_s(now),
            waiting=report.waiting,
            memory_used=report.memory_used,
            cold_s=report.cold_s,
            free_in_s=0.0 if headroom > 0.0 else limits.free_in_s(now),
            bears=None if bound == inf else int(bound),
        )

    def told(self, report: LoadReport) -> None:
        """Take a local server's own word on its load."""
        self.meter.told(report)
        if report.slots > 0:
            self.limits.adaptive.has_slots(report.slots)

    def first_content_quantile(self, q: float, input_tokens: int) -> float | None:
        """Seconds within which a share `q` of recent streams with inputs of this size began; None
        where there were too few to say."""
        return self.meter.first_content_quantile(q, size_of(input_tokens), self._clock.now())

    def success_ratio(self, now: float | None = None) -> float:
        """The share of attempts in the breaker's window that ended well; 1 without any."""
        return self.breaker.success_ratio(self._clock.now() if now is None else now)

    def __repr__(self) -> str:
        layers = (self.meter, self.breaker, self.limits)
        return f"{self.deployment.name}: {' > '.join(map(repr, layers))} > Timeout > Upstream"


def deployment_stack(
    upstream: Service,
    deployment: Deployment,
    clock: Clock,
    breaker: BreakerSettings,
    rng: Random,
    provider: ProviderHealth | None = None,
    tell: ChangeListener = silent,
    *,
    is_local: bool = False,
) -> DeploymentStack:
    """Wrap an upstream, innermost first. `provider` is shared with its other deployments; `tell`
    hears of what goes out and comes back; `is_local` says that it is a server of our own, which
    lets requests wait where a hosted provider refuses them."""
    # Above Upstream only, so that all above see a timeout as the failure it is.
    timeout = Timeout(upstream, clock, deployment.name)
    # Above Timeout: a refused call starts no timer.
    limits = Limits(timeout, clock, deployment, _adaptive(deployment, is_local))
    # Above Limits: an open breaker spends no slot, and a full deployment is no failing one.
    guard = Breaker(limits, clock, breaker, rng, deployment.name, provider, tell)
    # Outermost: sees every attempt once, also those that a breaker turned away.
    meter = Meter(guard, clock)
    return DeploymentStack(deployment, meter, guard, limits, clock)


def _adaptive(deployment: Deployment, is_local: bool) -> Adaptive:
    if not deployment.adaptive:
        return UNBOUNDED
    return Gradient(deployment.limits.max_in_flight) if is_local else Signalled()
