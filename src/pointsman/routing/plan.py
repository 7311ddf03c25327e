"""Who may be asked for one request, in which order, and what has failed so far.

`plan_of` fixes this once, from the Decision; every name in a chain that did not pass the route's
filters is skipped, with the reason kept. `failover.next_step` walks along it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from pointsman.domain.deployment import Deployment
from pointsman.domain.request import RouteOptions
from pointsman.errors import FailureKind, ProviderFailure, Rejected
from pointsman.routing.decision import Decision, Ranking, Rejection
from pointsman.routing.filters import matches
from pointsman.routing.spec import FallbackSpec


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


class Plan(msgspec.Struct, frozen=True, gc=False):
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

    @property
    def everyone(self) -> dict[str, Deployment]:
        """All that may be asked, by name."""
        found = {each.name: each for each in self.chain}
        for chain in self.by_kind.values():
            found.update((each.name, each) for each in chain)
        return found


class Means(msgspec.Struct, frozen=True, gc=False):
    """What is there for the next attempt, and what it would take, by the deployment's name.

    first_content_s: the median, in seconds; who was not measured is missing. worst_nano: the most
    an attempt may cost in nano-USD, None where the price is unknown. left_nano: what is left of
    the call's purse, None where it has no limit.
    """

    first_content_s: Mapping[str, float] = msgspec.field(default_factory=dict)
    worst_nano: Mapping[str, int | None] = msgspec.field(default_factory=dict)
    left_nano: int | None = None


AMPLE = Means()
"""Nothing is known to be short."""


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
    passed = Ranking.of(decision.candidates).ranked
    attempts = fallback.max_attempts
    if options.max_attempts is not None:
        attempts = min(attempts, options.max_attempts)
    plan = Plan(
        route=decision.route,
        chain=passed,
        max_attempts=max(1, attempts),
        retry_same=max(0, fallback.retry_same) if fallback.enabled else 0,
        on_content_filter=fallback.on_content_filter,
    )
    own = fallback.chain if options.fallbacks is None else options.fallbacks
    if fallback.enabled and own is None and not fallback.by_kind:
        return plan  # Nobody has named anybody: in the order of the decision.
    if not fallback.enabled and options.fallbacks is None:
        return replace(plan, chain=passed[:1])
    known = (*passed, *(each for each in deployments if each not in passed))
    reasons = (*decision.rejected, *refused)
    skipped: dict[str, str] = {}

    def chain_of(patterns: Iterable[str]) -> tuple[Deployment, ...]:
        found: dict[str, Deployment] = {}
        for pattern in patterns:
            fits = [deployment for deployment in known if matches(pattern, deployment)]
            found.update((deployment.name, deployment) for deployment in fits)
            if not fits:
                skipped[pattern] = _reason(pattern, reasons)
        return tuple(found.values())

    rest = passed[1:] if own is None else chain_of(own)
    by_kind = {
        kind: chain_of(patterns if options.fallbacks is None or not patterns else options.fallbacks)
        for kind, patterns in fallback.by_kind.items()
    }
    return replace(
        plan,
        chain=tuple({each.name: each for each in (*passed[:1], *rest)}.values()),
        by_kind=by_kind,
        skipped=tuple(skipped.items()),
    )


def _reason(pattern: str, rejected: Sequence[Rejection]) -> str:
    reasons = [each.reason for each in rejected if matches(pattern, each.deployment)]
    return "; ".join(reasons) or "not a deployment of this route"
