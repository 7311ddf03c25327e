"""Hedge: ask a second deployment while the first is late.

Theory. Whether to hedge is decided by `routing.hedging`; here it is fed with what was measured,
and the race is run. The loser is called off at the winner's first content, which closes its
connection and frees its slots, and is noted as `abandoned` with what it may have cost. Where the
first one fails while the second runs, the second simply is the attempt; where both fail, failing
over goes on with both failures.

One of these stands in each route that hedges, and none in the others: off costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pointsman.clock import Clock
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.attempt import Asking
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.race import Finish, race
from pointsman.routing.estimate import expected_cost
from pointsman.routing.hedging import (
    FLOOR_PER_S,
    WINDOW_S,
    HedgeSpend,
    Track,
    hedge_after_s,
    is_hedgeable,
    objection,
)
from pointsman.routing.retries import RetryBudget
from pointsman.routing.signals import RequestFeatures
from pointsman.routing.spec import HedgeSpec

P95 = 0.95


class Hedge:
    """A route's hedges: when, how many and for how much."""

    def __init__(
        self,
        spec: HedgeSpec,
        stacks: Mapping[str, DeploymentStack],
        own: Iterable[str],
        clock: Clock,
    ) -> None:
        self.spec = spec
        self._stacks = stacks
        self._own = tuple(own)
        self._clock = clock
        # A bucket like that of retries: filled by requests, emptied by hedges.
        self._bucket = RetryBudget(spec.share, WINDOW_S, FLOOR_PER_S if spec.share > 0 else 0.0)
        self._spend = HedgeSpend(spec.spend_share)

    def deposit(self) -> None:
        """A request of the route has come: it pays for its share of a hedge."""
        self._bucket.deposit(self._clock.now())

    def payer(self, tenant: str) -> Callable[[Attempt], None]:
        """What hears of each attempt: hedges may cost their share of what all of them do."""

        def pay(attempt: Attempt) -> None:
            self._spend.pay(tenant, attempt.cost_nano or 0, self._clock.now())

        return pay

    def after_s(self, call: Call, features: RequestFeatures, first: str) -> float | None:
        """How long to wait for `first` before a second one is asked; None: no hedge.

        A call has one hedge at most, and none in a panic."""
        if call.panic or any(each.hedge for each in call.trail.attempts):
            return None
        if not is_hedgeable(self.spec, call.request, features.input_tokens):
            return None
        p95 = self._stacks[first].first_content_quantile(P95, features.input_tokens)
        return hedge_after_s(self.spec, p95)

    async def run(
        self,
        tenant: str,
        features: RequestFeatures,
        first: Asking,
        after_s: float,
        choose: Callable[[], Asking | None],
    ) -> Finish:
        """Run `first`, and what `choose` gives beside it when it is late and nothing speaks
        against it."""
        rival: Asking | None = None
        reserved = 0

        def second() -> Asking | None:
            nonlocal rival, reserved
            chosen = choose()
            if chosen is not None:
                reserved = self._extra(features, first, chosen)
                if self._grants(tenant, first, chosen, reserved):
                    rival = chosen
            return rival

        winner: Asking | None = None
        try:
            finish = await race(first, after_s, second, self._clock)
            winner = finish.winner
            return finish
        finally:
            if rival is not None:
                loser = first if winner is rival else rival
                # One that failed by itself would have been followed by the other anyway.
                extra = loser.cost_nano if loser is rival or loser.was_called_off else 0
                self._spend.hedge(tenant, extra - reserved, self._clock.now())

    def _grants(self, tenant: str, first: Asking, second: Asking, extra_nano: int) -> bool:
        """May `second` be asked too, now? If so, the hedge is taken out of its buckets."""
        now = self._clock.now()
        out = sum(not self._stacks[name].breaker.is_closed for name in self._own)
        if objection(self.spec, self._track(first, now), self._track(second, now), out):
            return False
        if not self._spend.allows(tenant, extra_nano, now) or not self._bucket.spend(1, now):
            return False
        self._spend.hedge(tenant, extra_nano, now)
        return True

    def _extra(self, features: RequestFeatures, first: Asking, second: Asking) -> int:
        """What a hedge may add in nano-USD: the dearer of the two answers, whichever loses."""
        costs = (
            expected_cost(features, asking.stack.deployment, asking.stack.state())
            for asking in (first, second)
        )
        return max(cost or 0 for cost in costs)

    def _track(self, asking: Asking, now: float) -> Track:
        stack = asking.stack
        cooled_at = stack.breaker.cooling_until
        calm_s = now - cooled_at if cooled_at else float("inf")
        return Track(asking.name, stack.state(now), stack.success_ratio(now), calm_s)

    def __repr__(self) -> str:
        return f"Hedge({self.spec.share:.0%} of requests, {self._spend!r})"
