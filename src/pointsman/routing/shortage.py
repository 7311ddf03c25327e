"""When nobody of a route may be asked just now: what to do instead, and what to say. Pure.

Theory
------
There are two reasons to be out, and they ask for opposite things. A deployment that cools down
after a 429, or whose limits are used up, will take requests at a known moment: a short wait may
be better than an error (`wait_s`), and the client is told 429. One whose breaker is open is
broken, nobody knows for how long: to wait for it would only pile up requests, so they are refused
at once with 503. But where all are broken, refusing everything could keep a route dead that has
long been well, and the breakers might be what is wrong: then a trickle is let through all the
same, to the best of them (panic; after Envoy's panic threshold). What was asked for by a provider
is never overridden so: who cools down is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pointsman.errors import (
    ContextTooLong,
    DeadlineExceeded,
    FailureKind,
    NoCandidate,
    PointsmanError,
    Rejected,
)
from pointsman.routing.contract import COOLING, UNAVAILABLE
from pointsman.routing.decision import Decision, Rejection
from pointsman.routing.failover import longest_wait_s
from pointsman.routing.filters import TRANSIENT
from pointsman.routing.signals import DeploymentState

LEAST_RETRY_AFTER_S = 1.0


def short_of(decision: Decision) -> tuple[Rejection, ...]:
    """Those that would do, but are out just now."""
    return tuple(each for each in decision.rejected if each.filter in TRANSIENT)


def reopens_s(rejection: Rejection, state: DeploymentState) -> float:
    """Seconds until it may be asked again, 0 where nobody knows."""
    return state.reopens_in_s if rejection.filter == "healthy" else state.free_in_s


def is_broken(rejection: Rejection, state: DeploymentState) -> bool:
    """Out by its breaker, not by a 429 or a limit."""
    return rejection.filter == "healthy" and state.breaker != "closed"


def stand_in_for(decision: Decision, broken: Sequence[bool]) -> FailureKind | None:
    """The kind of failure that this shortage is like, for the chains of fallbacks; None where
    the constraints themselves leave nobody. `broken` goes with `short_of`."""
    if broken:
        return "unavailable" if any(broken) else "throttled"
    if {each.filter for each in decision.rejected} == {"context"}:
        return "context_length"
    return None


def healed(state: DeploymentState) -> DeploymentState:
    """The state as if the breaker were closed: to choose the best of those that are out."""
    return replace(state, share=1.0, breaker="closed", reopens_in_s=0.0)


def wait_s(waits: Sequence[float], broken: Sequence[bool], now: float, until: float) -> float:
    """How long to wait for the soonest that is not broken; 0: not at all.

    `waits` are seconds, 0 where nobody knows; `until` is when the request must stop waiting."""
    known = [s for s, out in zip(waits, broken, strict=True) if s > 0 and not out]
    soonest = min(known, default=0.0)
    return soonest if now + soonest <= until else 0.0


def wait_until(now: float, deadline: float) -> float:
    """The moment up to which a request may be held in all."""
    return now + longest_wait_s(now, deadline)


def nobody(
    decision: Decision,
    waits: Sequence[float],
    broken: Sequence[bool],
    *,
    retry_allowed: bool,
) -> PointsmanError:
    """Make the error that the client gets where nobody may be asked."""
    # 1. some would do but are out just now: come back at the soonest. 2. all are too small.
    # 3. there is not enough time. 4. the constraints leave nobody.
    message = f"route {decision.route}: {decision.why}"
    if broken:
        face = UNAVAILABLE if any(broken) else COOLING
        error = Rejected(
            message,
            status=face.status,
            code=face.code,
            retry_after_s=max(LEAST_RETRY_AFTER_S, min((s for s in waits if s > 0), default=0.0)),
        )
        error.should_retry = retry_allowed
        return error
    filters = {each.filter for each in decision.rejected}
    if filters == {"context"}:
        return ContextTooLong(message)
    if "deadline" in filters:
        return DeadlineExceeded(f"{message}; give the request more time")
    return NoCandidate(message)
