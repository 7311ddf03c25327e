"""What follows a failed attempt: try another, wait, or give up with the right words. Pure.

Theory
------
`plan_of` has fixed who may still be asked. `next_step` is asked after every failure, with all
failures so far. It always ends: each failure uses up an attempt or a deployment, and a Wait is
returned only before its time has come.

No attempt is started that cannot fit: not into the time that is left (its deployment's median to
first content is longer), nor into the money (the most it may cost is more than the call has left).

The commit rule is the caller's: nothing is repeated after the first content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from pointsman.domain.deployment import Deployment
from pointsman.domain.money import format_usd
from pointsman.errors import DeadlineExceeded, NoCandidate, PointsmanError
from pointsman.routing.contract import KINDS
from pointsman.routing.plan import AMPLE, Failed, Means, Plan, plan_of
from pointsman.routing.retries import UNLIMITED, Retries, RetryBudget
from pointsman.routing.verdict import BUSY, verdict

__all__ = [
    "AMPLE",
    "UNLIMITED",
    "Failed",
    "GiveUp",
    "Means",
    "Plan",
    "Retries",
    "RetryBudget",
    "Step",
    "Try",
    "Wait",
    "fitting",
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
LONGEST_WAIT_S: Final = 2.0
"""A request is not held for a longer Retry-After, nor for more than half of its time that is
left; its client is told instead, and can do something else. Our own choice."""


class Try(msgspec.Struct, frozen=True, gc=False):
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


def retry_cost(failures: Sequence[Failed]) -> float:
    """What the next attempt costs the RetryBudget: 0, 1, or 2 after a timeout."""
    if not failures:
        return 0.0
    kind = failures[-1].kind
    return 0.0 if kind is None else float(KINDS[kind].retry_cost)


def longest_wait_s(now: float, deadline: float) -> float:
    """How long a request may be held, in seconds, for a moment that somebody has named."""
    return min(LONGEST_WAIT_S, (deadline - now) / 2)


def next_step(
    plan: Plan,
    failures: Sequence[Failed],
    *,
    now: float,
    deadline: float,
    retry_allowed: bool,
    means: Means = AMPLE,
    may_wait: bool = True,
) -> Step:
    """Say what follows `failures`; none yet: the first attempt.

    `retry_allowed` is the RetryBudget's answer for `retry_cost(failures)`. In this order:
    1. no time left. 2. the kind does not fall back. 3. attempts or budget used up. 4. another
    deployment of the chain for this kind, if it fits. 5. the same one again. 6. a wait that a
    provider asked for. 7. nothing.
    """

    def give_up(why: str) -> GiveUp:
        return GiveUp(
            verdict(plan.route, failures, now=now, retry_allowed=retry_allowed, why=why), why
        )

    cost = retry_cost(failures)
    if deadline - now < MARGIN_S:
        return _too_late(plan, failures, now, "the deadline has passed")
    if not failures and means is AMPLE and plan.chain:
        return Try(plan.chain[0])  # Almost every request's first and only step.
    last = failures[-1].kind if failures else None
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
    if not chain and not failures:
        return give_up("no deployment may answer")
    left_s = deadline - now - MARGIN_S
    late: list[str] = []
    dear: list[str] = []
    for deployment in fitting(plan, chain, failures, means, left_s, late, dear):
        return Try(deployment, cost=cost)
    again = _same_again(plan, failures, now, deadline, cost, means, may_wait)
    if again is not None:
        return again
    if late and not dear:
        return _too_late(plan, failures, now, "; ".join(late))
    why = "; ".join(("nobody else is left", *late, *dear))
    if failures:
        return give_up(why)
    return GiveUp(NoCandidate(f"route {plan.route}: {why}"), why)


def fitting(
    plan: Plan,
    chain: Sequence[Deployment],
    failures: Sequence[Failed],
    means: Means,
    left_s: float,
    late: list[str],
    dear: list[str],
) -> Iterator[Deployment]:
    """Go through those of `chain` that were not tried and fit, best first; why another does not
    fit is put into `late` or `dear`."""
    tried = {failed.deployment for failed in failures}
    least = _known_too_small(plan, failures)
    for deployment in chain:
        if deployment.name in tried or not _may_hold(deployment, least):
            continue
        if reason := _late(deployment.name, means, left_s):
            late.append(reason)
        elif reason := _dear(deployment.name, means):
            dear.append(reason)
        else:
            yield deployment


def _late(name: str, means: Means, left_s: float) -> str | None:
    expected = means.first_content_s.get(name, 0.0)
    if expected <= left_s:
        return None
    return f"{name} begins after {expected:.1f} s, {left_s:.1f} s are left"


def _dear(name: str, means: Means) -> str | None:
    left = means.left_nano
    if left is None:
        return None
    worst = means.worst_nano.get(name)
    if worst is None:
        return f"{name} has no known price and {format_usd(left)} are left of what it may cost"
    if worst <= left:
        return None
    return f"{name} may cost {format_usd(worst)}, {format_usd(left)} are left of what it may cost"


def _too_late(plan: Plan, failures: Sequence[Failed], now: float, why: str) -> GiveUp:
    if failures:
        return GiveUp(verdict(plan.route, failures, now=now, late=True, why=why), why)
    message = f"route {plan.route}: nobody was called: {why}; give the request more time"
    return GiveUp(DeadlineExceeded(message), why)


def _known_too_small(plan: Plan, failures: Sequence[Failed]) -> float:
    """Find the greatest context window that was too small; 0 where none was, infinity where
    one without a stated window was."""
    full = {failed.deployment for failed in failures if failed.kind == "context_length"}
    if not full:
        return 0.0
    windows = {name: each.limits.context_tokens for name, each in plan.everyone.items()}
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
    plan: Plan,
    failures: Sequence[Failed],
    now: float,
    deadline: float,
    cost: float,
    means: Means,
    may_wait: bool,
) -> Step | None:
    """Find a deployment to try again: at once with backoff, or after the wait it asked for.

    One whose limits were used up was not called: it is waited for once, however often the same
    one may be called again."""
    deployments = plan.everyone
    left_s = deadline - now - MARGIN_S
    latest = {failed.deployment: failed for failed in failures}
    soonest: Wait | None = None
    for name, failed in latest.items():
        count = sum(1 for each in failures if each.deployment == name)
        kind, hint = failed.kind, failed.error.retry_after_s
        most = plan.retry_same if kind is not None else int(failed.error.code == BUSY)
        if name not in deployments or count > most:
            continue
        if _late(name, means, left_s) or _dear(name, means):
            continue
        if hint is None and kind is not None and KINDS[kind].again:
            backoff = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (count - 1))
            return Try(deployments[name], min(backoff, left_s), cost)
        if hint is None or (kind is not None and not KINDS[kind].waits):
            continue
        seconds = failed.at + (hint if kind is None else max(hint, COOL_S)) - now
        if seconds <= 0:
            return Try(deployments[name], cost=cost)
        fits = may_wait and seconds <= longest_wait_s(now, deadline)
        if fits and (soonest is None or seconds < soonest.seconds):
            soonest = Wait(seconds, deployments[name])
    return soonest
