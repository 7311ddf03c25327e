"""When a second attempt may run beside a late first one, and what all of them may cost. Pure.

Theory
------
A hedge buys a shorter tail with money. It pays only where being late says something: after
max(factor * p95, min_s), with the deployment's own p95 to first content for inputs of this size.
The bare p95 would fire on one of twenty healthy requests. (Dean and Barroso, The Tail at Scale,
2013.)

It must never feed an overload: where many are late at once, the model is busy and more requests
make it busier. So there is a bucket of hedges filled by requests, none while anybody involved has
been throttled lately, and none while several deployments are out.

What is hedged: streams only, for a whole answer is late by its length, and no percentile of
it is known here. Not where a provider itself acts for the request (web search, code execution):
that would be done twice. The client's own tools are no obstacle: nobody runs them before the
client has an answer, and it gets exactly one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

import msgspec

from pointsman.domain.deployment import Deployment
from pointsman.domain.request import ChatRequest, Request
from pointsman.routing.failover import MARGIN_S, fitting
from pointsman.routing.plan import Failed, Means, Plan
from pointsman.routing.signals import DeploymentState
from pointsman.routing.spec import HedgeSpec

WINDOW_S: Final = 60.0
"""Seconds over which hedges are counted against requests. Our own choice: a minute of one
request a second pays for two."""
FLOOR_PER_S: Final = 1 / WINDOW_S
"""A quiet route may hedge once a window."""
CALM_S: Final = 30.0
"""Seconds after a deployment's 429 has been waited out in which it is not hedged (the breaker's
own window)."""
MOST_OUT: Final = 1
"""With more of the route's deployments than this out, lateness is a brown-out."""
MINUTES: Final = 60
"""How long money is remembered: the trailing hour."""
MOST_TENANTS: Final = 1024
ACTING_FIELDS: Final = frozenset({"web_search_options", "mcp_servers", "container"})
"""Fields of the body that have the provider itself act."""


class Track(msgspec.Struct, frozen=True):
    """What is known of a deployment that a hedge involves. `success`: the share of its calls in
    the breaker's window, 1 where there were none. `calm_s`: seconds since its last 429 was waited
    out, negative while it cools down."""

    name: str
    state: DeploymentState
    success: float = 1.0
    calm_s: float = float("inf")


def is_hedgeable(spec: HedgeSpec, request: Request, input_tokens: int) -> bool:
    """May this request be sent twice at all?"""
    if not spec.enabled or not isinstance(request, ChatRequest) or not request.stream:
        return False
    if input_tokens > spec.max_input_tokens:
        return False
    # A dialect keeps a provider's own tool as it came: with its type. Functions have none left.
    acts = any("type" in tool.extra for tool in request.tools)
    return not acts and request.extra.keys().isdisjoint(ACTING_FIELDS)


def hedge_after_s(spec: HedgeSpec, p95_s: float | None) -> float | None:
    """How late the first attempt may be; None where its deployment was measured too little."""
    return None if p95_s is None else max(spec.factor * p95_s, spec.min_s)


def objection(spec: HedgeSpec, first: Track, second: Track, out: int) -> str | None:
    """Say what speaks against asking `second` too while `first` is late; None: nothing.

    `out` counts the route's deployments that are not closed."""
    if out > MOST_OUT:
        return f"{out} deployments are out"
    for track in (first, second):
        if track.calm_s < CALM_S:
            return f"{track.name} was throttled lately"
    state = second.state
    if state.breaker != "closed" or state.share < 1:
        return f"{second.name}'s breaker is {state.breaker}"
    if state.headroom <= 0:
        return f"{second.name} has no slot left"
    if second.success < spec.success:
        return f"only {second.success:.0%} of {second.name}'s answers succeed"
    return None


def second_choice(
    plan: Plan,
    failures: Sequence[Failed],
    under_way: Deployment,
    means: Means,
    *,
    now: float,
    deadline: float,
) -> Deployment | None:
    """Find who would be asked beside `under_way`: the next of the plan that fits and was not
    asked yet. Both count as attempts."""
    attempts = 1 + sum(1 for failed in failures if failed.kind is not None)
    left_s = deadline - now - MARGIN_S
    if attempts >= plan.max_attempts or left_s <= 0:
        return None
    for each in fitting(plan, plan.chain, failures, means, left_s, [], []):
        if each.name != under_way.name:
            return each
    return None


class HedgeSpend:
    """What each tenant paid in the last hour, by the minute, and how much of it for hedges.

    There is no allowance for a cold start: a tenant's first hedge comes when `share` of what it
    paid within the hour covers it (with the default of 2 %, after about fifty like requests).
    Models that cost nothing may be hedged from the start.
    """

    __slots__ = ("_most", "_share", "_tenants")

    def __init__(self, share: float, *, most: int = MOST_TENANTS) -> None:
        self._share = share
        self._most = most
        self._tenants: OrderedDict[str, _Hour] = OrderedDict()

    def allows(self, tenant: str, extra_nano: int, now: float) -> bool:
        """Would hedges, with this one, be at most their share of the hour's cost?"""
        hour = self._tenants.get(tenant)
        if hour is None:
            return extra_nano <= 0
        hour.forget(now)
        return max(0, hour.extra) + extra_nano <= self._share * hour.cost

    def pay(self, tenant: str, cost_nano: int, now: float) -> None:
        """Count what answers cost."""
        self._hour(tenant).add(now, cost_nano, 0)

    def hedge(self, tenant: str, extra_nano: int, now: float) -> None:
        """Count what a hedge is expected to cost; later, the difference to what it did cost."""
        self._hour(tenant).add(now, 0, extra_nano)

    def _hour(self, tenant: str) -> _Hour:
        hour = self._tenants.get(tenant)
        if hour is None:
            hour = self._tenants[tenant] = _Hour()
            if len(self._tenants) > self._most:
                self._tenants.popitem(last=False)
        else:
            self._tenants.move_to_end(tenant)
        return hour

    def __len__(self) -> int:
        return len(self._tenants)

    def __repr__(self) -> str:
        return f"HedgeSpend({self._share:.0%}, {len(self._tenants)} tenants)"


class _Hour:
    """Two sums over the last sixty minutes, in nano-USD."""

    __slots__ = ("_minutes", "cost", "extra")

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, int, int]] = deque()
        self.cost = 0
        self.extra = 0

    def add(self, now: float, cost: int, extra: int) -> None:
        minute = int(now / 60)
        self.forget(now)
        if self._minutes and self._minutes[-1][0] == minute:
            _, cost_before, extra_before = self._minutes.pop()
            self._minutes.append((minute, cost_before + cost, extra_before + extra))
        else:
            self._minutes.append((minute, cost, extra))
        self.cost += cost
        self.extra += extra

    def forget(self, now: float) -> None:
        oldest = int(now / 60) - MINUTES
        while self._minutes and self._minutes[0][0] <= oldest:
            _, cost, extra = self._minutes.popleft()
            self.cost -= cost
            self.extra -= extra
