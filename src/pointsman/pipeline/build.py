"""The order of both stacks, a reason per line.

Route stack: `Account` over `Dispatch` (gateway.py puts them together, since a route's
configuration is its business). Deployment stack: this file.
"""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.clock import Clock
from pointsman.config.settings import BreakerSettings
from pointsman.domain.deployment import Deployment
from pointsman.pipeline.breaker import Breaker, Random
from pointsman.pipeline.limits import Limits
from pointsman.pipeline.meter import Meter
from pointsman.pipeline.service import Service
from pointsman.pipeline.timeout import Timeout
from pointsman.routing.signals import DeploymentState


@dataclass(frozen=True, slots=True)
class DeploymentStack:
    """One deployment with its guards; `service` is the outermost."""

    deployment: Deployment
    service: Service
    meter: Meter
    breaker: Breaker
    limits: Limits

    def state(self) -> DeploymentState:
        """What a policy may know of this deployment now."""
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
    return DeploymentStack(deployment, meter, meter, guard, limits)
