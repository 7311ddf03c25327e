"""What follows a failed attempt: try another, wait, or give up with the right words. Pure.

Theory
------
`plan_of` fixes once, from the Decision, who may still be asked; every name in a chain that did
not pass the route's filters is skipped, with the reason kept. `next_step` is then asked after
every failure, with all failures so far. It always ends: each failure uses up an attempt or a
deployment, and a Wait is returned only before its time has come.

The commit rule is the caller's: nothing is repeated after the first content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from pointsman.domain.deployment import Deployment
from pointsman.domain.request import RouteOptions
from pointsman.errors import FailureKind, PointsmanError, ProviderFailure, Rejected
from pointsman.routing.contract import KINDS
from pointsman.routing.decision import Decision, Rejection
from pointsman.routing.filters import matches
from pointsman.routing.retries import UNLIMITED, Retries, RetryBudget
from pointsman.routing.spec import FallbackSpec
from pointsman.routing.verdict import verdict

__all__ = [
    "UNLIMITED",
    "Failed",
    "GiveUp",
    "Plan",
    "Retries",
    "RetryBudget",
    "Step",
    "Try",
    "Wait",
    "next_step",
    "plan_of",
    "retry_cost",
]

MARGIN_S: Final = 0.05
"""Nothing is started with less than this left before the deadline."""
BACKOFF_BASE_S: Final = 0.1
BACKOFF_MAX_S: Final = 2.0
"""Full jitter on min(2 s, 0.1 * 2^n). After AWS, Exponential Backoff and Jitter (2015)."""
COOL_S: Final = 1.0
"""A provider that asked for a wait is left alone for at least this."""
LONGEST_WAIT_S: Final = 60.0
"""A request is not held for a longer Retry-After; its client is told instead (Portkey's cap)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that failed before any content; `at` is the clock's seconds when it ended.

    `error` is a Rejected where our own layers refused (breaker, slots): nobody was called.
    """

    deployment: str
    error: ProviderFailure | Rejected
    at: float

    @property
    def kind(self) -> FailureKind | None:
        """The failure's kind, None for our own refusal."""
        return self.error.kind if isinstance(self.error, ProviderFailure) else None


class Try(msgspec.Struct, frozen=True):
    """Call `deployment`, after waiting a random part (full jitter) of `backoff_s` seconds.

    `cost` is what a RetryBudget is charged: 0 for a first attempt.
    """

    deployment: Deployment
    backoff_s: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait `seconds`, then ask again: `deployment` asked for that long."""

    seconds: float
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Raise `error`; `why` says in words why nobody else is tried."""

    error: PointsmanError
    why: str


Step = Try | Wait | GiveUp


class Plan(msgspec.Struct, frozen=True):
    """Who may be asked, in which order. The first of `chain` is the chosen one.

    by_kind: what follows one kind of failure, instead of the rest of the chain. skipped: names
    that a chain states but that may not answer this request: (name, reason).
    """

    route: str
    chain: tuple[Deployment, ...]
    by_kind: Mapping[FailureKind, tuple[Deployment, ...]] = msgspec.field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    max_attempts: int = 3
    retry_same: int = 1
    on_content_filter: bool = False


def plan_of(
    decision: Decision,
    fallback: FallbackSpec,
    options: RouteOptions,
    deployments: Sequence[Deployment] = (),
    refused: Sequence[Rejection] = (),
) -> Plan:
    """Turn a decision into a plan.

    `deployments` are fallback targets from outside the route that passed its filters, `refused`
    those that did not (policy.screen gives both). The caller's own `fallbacks` replace every
    chain of the route except an empty one, by which the operator forbids a kind to fall back.
    """
    passed = [candidate.deployment for candidate in decision.candidates]
    known = (*passed, *(each for each in deployments if each not in passed))
    reasons = (*decision.rejected, *refused)
    skipped: dict[str, str] = {}
    first = passed[:1]

    def chain_of(patterns: Iterable[str]) -> tuple[Deployment, ...]:
        found: dict[str, Deployment] = {}
        for pattern in patterns:
            fits = [deployment for deployment in known if matches(pattern, deployment)]
            found.update((deployment.name, deployment) for deployment in fits)
            if not fits:
                skipped[pattern] = _reason(pattern, reasons)
        return tuple(found.values())

    own = fallback.chain if options.fallbacks is None else options.fallbacks
    if not fallback.enabled and options.fallbacks is None:
        rest: tuple[Deployment, ...] = ()
    elif own is None:
        rest = tuple(passed[1:])
    else:
        rest = chain_of(own)
    by_kind = {
        kind: chain_of(patterns if options.fallbacks is None or not patterns else options.fallbacks)
        for kind, patterns in fallback.by_kind.items()
    }
    if not fallback.enabled and options.fallbacks is None:
        by_kind = {}
    attempts = fallback.max_attempts
    if options.max_attempts is not None:
        attempts = min(attempts, options.max_attempts)
    return Plan(
        route=decision.route,
        chain=tuple({deployment.name: deployment for deployment in (*first, *rest)}.values()),
        by_kind=by_kind,
        skipped=tuple(skipped.items()),
        max_attempts=max(1, attempts),
        retry_same=max(0, fallback.retry_same) if fallback.enabled else 0,
        on_content_filter=fallback.on_content_filter,
    )


def _reason(pattern: str, rejected: Sequence[Rejection]) -> str:
    reasons = [each.reason for each in rejected if matches(pattern, each.deployment)]
    return "; ".join(reasons) or "not a deployment of this route"


def retry_cost(failures: Sequence[Failed]) -> float:
    """What the next attempt costs the RetryBudget: 0, 1, or 2 after a timeout."""
    if not failures:
        return 0.0
    kind = failures[-1].kind
    return 0.0 if kind is None else float(KINDS[kind].retry_cost)


def next_step(
    plan: Plan, failures: Sequence[Failed], *, now: float, deadline: float, retry_allowed: bool
) -> Step:
    """Say what follows `failures`; none yet: the first attempt.

    `retry_allowed` is the RetryBudget's answer for `retry_cost(failures)`. In this order:
    1. no time left. 2. the kind does not fall back. 3. attempts or budget used up. 4. another
    deployment of the chain for this kind. 5. the same one again. 6. a wait that a provider
    asked for. 7. nothing.
    """

    def give_up(why: str) -> GiveUp:
        return GiveUp(
            verdict(plan.route, failures, now=now, retry_allowed=retry_allowed, why=why), why
        )

    cost = retry_cost(failures)
    if deadline - now < MARGIN_S:
        why = "the deadline has passed"
        error = verdict(plan.route, failures, now=now, late=True, why=why)
        return GiveUp(error, why)
    if not failures:
        return Try(plan.chain[0]) if plan.chain else give_up("no deployment may answer")
    last = failures[-1].kind
    chain = plan.chain if last is None else plan.by_kind.get(last, plan.chain)
    if last is not None and plan.by_kind.get(last) == ():
        return give_up(f"{last} does not fall back on this route")
    if last == "content_filter" and not plan.on_content_filter and last not in plan.by_kind:
        return give_up("a content filter's verdict is not taken elsewhere on this route")
    attempts = sum(1 for failed in failures if failed.kind is not None)
    if attempts >= plan.max_attempts:
        return give_up(f"{attempts} attempts are all it may have")
    if cost > 0 and not retry_allowed:
        return give_up("the retry budget is used up")
    tried = {failed.deployment for failed in failures}
    least = _known_too_small(plan, failures)
    for deployment in chain:
        if deployment.name not in tried and _may_hold(deployment, least):
            return Try(deployment, cost=cost)
    return _same_again(plan, failures, now, deadline, cost) or give_up("nobody else is left")


def _known_too_small(plan: Plan, failures: Sequence[Failed]) -> float:
    """Find the greatest context window that was too small; 0 where none was, infinity where
    one without a stated window was."""
    full = {failed.deployment for failed in failures if failed.kind == "context_length"}
    if not full:
        return 0.0
    named = (*plan.chain, *(each for chain in plan.by_kind.values() for each in chain))
    windows = {each.name: each.limits.context_tokens for each in named}
    stated = [window for name in full if (window := windows.get(name)) is not None]
    return max(stated, default=float("inf"))


def _may_hold(deployment: Deployment, least: float) -> bool:
    """Is this window larger than `least`? After an unstated one any stated one may be."""
    window = deployment.limits.context_tokens
    if least == 0:
        return True
    if least == float("inf"):
        return window is not None
    return window is None or window > least


def _same_again(
    plan: Plan, failures: Sequence[Failed], now: float, deadline: float, cost: float
) -> Step | None:
    """Find a deployment to try again: at once with backoff, or after the wait it asked for."""
    if plan.retry_same <= 0:
        return None
    deployments = {each.name: each for each in plan.chain}
    for chain in plan.by_kind.values():
        deployments.update((each.name, each) for each in chain)
    latest = {failed.deployment: failed for failed in failures}
    soonest: Wait | None = None
    for name, failed in latest.items():
        count = sum(1 for each in failures if each.deployment == name)
        if name not in deployments or count > plan.retry_same or failed.kind is None:
            continue
        hint = failed.error.retry_after_s
        if hint is None and KINDS[failed.kind].again:
            backoff = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (count - 1))
            return Try(deployments[name], min(backoff, deadline - now - MARGIN_S), cost)
        if hint is None or not KINDS[failed.kind].waits:
            continue
        seconds = failed.at + max(hint, COOL_S) - now
        if seconds <= 0:
            return Try(deployments[name], cost=cost)
        fits = seconds <= LONGEST_WAIT_S and now + seconds < deadline - MARGIN_S
        if fits and (soonest is None or seconds < soonest.seconds):
            soonest = Wait(seconds, deployments[name])
    return soonest
