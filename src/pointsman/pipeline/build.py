"""The order of both stacks, a reason per line.

Route stack: `Account` over `Dispatch` (gateway.py puts them together, since a route's
configuration is its business). Deployment stack: this file.
"""

from __future__ import annotations

from pointsman.clock import Clock
from pointsman.config.settings import BreakerSettings
from pointsman.domain.deployment import Deployment
from pointsman.pipeline.breaker import Breaker, Random
from pointsman.pipeline.limits import Limits
from pointsman.pipeline.meter import Meter
from pointsman.pipeline.service import Service
from pointsman.pipeline.timeout import Timeout
from pointsman.routing.signals import COLD, DeploymentState


class DeploymentStack:
    """One deployment with its guards; `service` is the outermost."""

    __slots__ = (
        "_clock",
        "_fresh_until",
        "_state",
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
        self._state = COLD
        self._version = -1
        self._fresh_until = 0.0

    def state(self, now: float | None = None) -> DeploymentState:
        """What a policy may know of this deployment now (in the clock's seconds).

        Every decision asks every deployment, and most have not changed since: what was read is
        kept while nothing was measured, nothing that time changes is in it, and no guard acts.
        """
        meter, breaker = self.meter, self.breaker
        if now is None:
            now = self._clock.now()
        is_calm = breaker.is_closed and now >= breaker.cooling_until
        if is_calm and meter.version == self._version and now < self._fresh_until:
            return self._state
        state = self._read()
        if is_calm and self.limits.is_unlimited and state.penalty_s == 0.0:
            self._state = state
            self._version = meter.version
            self._fresh_until = meter.stale_at if state.samples else float("inf")
        return state

    def _read(self) -> DeploymentState:
        meter, breaker = self.meter, self.breaker
        return DeploymentState(
            in_flight=meter.in_flight,
            ttft_s=meter.ttft_s,
            per_token_s=meter.per_token_s,
            samples=meter.samples,
            headroom=self.limits.headroom,
            share=breaker.share,
            reopens_in_s=breaker.reopens_in_s,
            breaker=breaker.state,
            token_scale=meter.tokens.ratio,
            penalty_s=meter.penalty_s,
        )

    def __repr__(self) -> str:
        layers = (self.meter, self.breaker, self.limits)
        return f"{self.deployment.name}: {' > '.join(map(repr, layers))} > Timeout > Upstream"


def deployment_stack(
    upstream: Service,
    deployment: Deployment,
    clock: Clock,
    breaker: BreakerSettings,
    rng: Random,
) -> DeploymentStack:
    """Wrap an upstream, innermost first."""
    # Above Upstream only, so that all above see a timeout as the failure it is.
    timeout = Timeout(upstream, clock, deployment.name)
    # Above Timeout: a refused call starts no timer.
    limits = Limits(timeout, clock, deployment)
    # Above Limits: an open breaker spends no slot, and a full deployment is no failing one.
    guard = Breaker(limits, clock, breaker, rng, deployment.name)
    # Outermost: sees every attempt once, also those that a breaker turned away.
    meter = Meter(guard, clock)
    return DeploymentStack(deployment, meter, guard, limits, clock)
