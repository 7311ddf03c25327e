"""Dispatch: try whom `Choice` names, and on failure the next, within one deadline and one purse.

It owns no policy of its own: `next_step` says what follows a failure, and its word is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.config.settings import Route
from pointsman.domain.deployment import Deployment
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.attempt import Asking
from pointsman.pipeline.bill import Bill
from pointsman.pipeline.breaker import Random
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.choice import Choice, Chosen
from pointsman.pipeline.hedge import Hedge
from pointsman.pipeline.holding import Holding
from pointsman.pipeline.purse import Purse
from pointsman.pipeline.refused import final_refusal, unpaid, unsupported
from pointsman.pipeline.service import Reply
from pointsman.routing.estimate import expected_cost, left_cost, longest_answer, worst_cost
from pointsman.routing.failover import GiveUp, Wait, next_step, retry_cost
from pointsman.routing.hedging import second_choice
from pointsman.routing.plan import AMPLE, Failed, Plan
from pointsman.routing.retries import RetrySource
from pointsman.routing.signals import RequestFeatures


class Dispatch:
    """`stacks` holds every deployment of the gateway: a fallback chain may leave the route."""

    def __init__(
        self,
        route: Route,
        stacks: Mapping[str, DeploymentStack],
        clock: Clock,
        rng: Random,
        retries: RetrySource,
        new_attempt_id: Callable[[], str],
        holding: Holding | None = None,
    ) -> None:
        self.route = route
        self.choice = choice = Choice(route, stacks, clock, rng)
        self.policy = choice.policy
        self.consider = choice.consider
        self._stacks = stacks
        self._clock = clock
        self._rng = rng
        self._retries = retries
        self._new_attempt_id = new_attempt_id
        self._holding = holding
        own = tuple(each.name for each in route.deployments)
        self._hedge = Hedge(route.hedge, stacks, own, clock) if route.hedge.enabled else None
        self._bound_nano = choice.policy.constraints.max_cost_nano

    def features(self, call: Call) -> RequestFeatures:
        """What a policy may know of the request, and of the money that there is for it."""
        features = self.choice.features(call)
        if self._holding is None:
            return features
        left = self._holding.affordable_nano(call)
        return features if left is None else replace(features, budget_nano=left)

    async def __call__(self, call: Call) -> Reply:
        clock, choice = self._clock, self.choice
        features = self.features(call)
        self._open_purse(call, features)
        tenant = call.caller.tenant or call.caller.key
        retries = self._retries.of(tenant, self.route.name)
        chosen = choice.choose(call, features)
        if chosen is None:
            chosen = await choice.make_do(call, features, retries)
        if not call.avoid:  # Else it continues an answer: no first attempt.
            retries.deposit(clock.now())
        if self._hedge is not None:
            self._hedge.deposit()
        failures: list[Failed] = []
        while True:
            now = clock.now()
            step = next_step(
                chosen.plan,
                failures,
                now=now,
                deadline=call.deadline,
                retry_allowed=not failures or retries.allows(retry_cost(failures), now),
                means=choice.means(call, chosen, now, is_first=not failures) or AMPLE,
                may_wait=choice.may_hold,
            )
            if isinstance(step, Wait):
                await choice.hold(step.seconds)
                continue
            if isinstance(step, GiveUp):
                raise unsupported(failures) or unpaid(failures) or step.error
            if step.cost > 0:
                retries.spend(step.cost, now)
            if step.backoff_s > 0:
                await clock.sleep(self._rng.random() * step.backoff_s)
            attempt = replace(
                call,
                expected_tokens=(features.input_tokens, features.output_tokens),
                last_resort=_is_last(chosen.plan, failures),
                panic=chosen.in_panic,
                attempt_id=self._new_attempt_id(),
            )
            before = len(failures)
            reply = await self._ask(attempt, chosen, step.deployment, failures, tenant)
            if reply is not None:
                choice.has_read(reply.deployment, features)
                return reply
            if (refusal := final_refusal(failures[before:])) is not None:
                raise refusal

    async def _ask(
        self,
        call: Call,
        chosen: Chosen,
        deployment: Deployment,
        failures: list[Failed],
        tenant: str,
    ) -> Reply | None:
        """Call one deployment, and perhaps a second beside it; None where it failed, which is then
        in `failures`."""
        hedge = self._hedge
        told = None if hedge is None else hedge.payer(tenant)
        first = self._asking(call, chosen, deployment, told=told)
        after_s = None if hedge is None else hedge.after_s(call, chosen.features, first.name)
        if hedge is None or after_s is None:
            ended = await first.run()
            if isinstance(ended, Reply):
                return ended
            failures.append(ended)
            return None

        def second() -> Asking | None:
            now = self._clock.now()
            means = self.choice.means(call, chosen, now, is_first=False) or AMPLE
            other = second_choice(
                chosen.plan, failures, deployment, means, now=now, deadline=call.deadline
            )
            if other is None:
                return None
            beside = replace(call, attempt_id=self._new_attempt_id())
            return self._asking(beside, chosen, other, told=told, is_hedge=True)

        finish = await hedge.run(tenant, chosen.features, first, after_s, second)
        # Our own refusal first: what follows is paid for by how a provider failed.
        failures.extend(sorted(finish.failures, key=lambda failed: failed.kind is not None))
        return finish.reply

    def _asking(
        self,
        call: Call,
        chosen: Chosen,
        deployment: Deployment,
        *,
        told: Callable[[Attempt], None] | None,
        is_hedge: bool = False,
    ) -> Asking:
        stack = self._stacks[deployment.name]
        purse, holding = call.trail.purse, self._holding
        if purse is None and holding is None:
            return Asking(
                *(call, stack, self._clock),
                is_hedge=is_hedge,
                told=told,
                features=chosen.features,
            )
        features, state = chosen.features, stack.state()
        if purse is not None or (holding is not None and holding.is_strict(call, deployment)):
            # What is paid for is said to the provider, where the client states no longest answer.
            most = longest_answer(features, deployment)
            call = replace(call, most_tokens=most or None, is_paid=True)
        else:
            call = replace(call, is_paid=True)
        bill = Bill(
            deployment,
            worst_cost(features, deployment, state),
            expected_cost(features, deployment, state),
            sum(call.expected_tokens),
            left_nano=partial(left_cost, features, deployment, state),
            purse=purse,
            holding=holding,
            is_hedge=is_hedge,
        )
        return Asking(
            *(call, stack, self._clock),
            bill=bill,
            is_hedge=is_hedge,
            told=told,
            features=features,
        )

    def _open_purse(self, call: Call, features: RequestFeatures) -> None:
        """Give the call its purse, where the caller or the route limits what it may cost."""
        limits = [n for n in (features.max_cost_nano, self._bound_nano) if n is not None]
        if limits and call.trail.purse is None:
            call.trail.purse = Purse(min(limits))

    def __repr__(self) -> str:
        hedge = "" if self._hedge is None else f", {self._hedge!r}"
        return f"Dispatch({self.choice!r}{hedge})"


def _is_last(plan: Plan, failures: Sequence[Failed]) -> bool:
    """Nothing is left to try after this attempt."""
    if not failures:
        return plan.max_attempts <= 1 or len(plan.chain) <= 1
    tried = {failed.deployment for failed in failures}
    attempts = sum(1 for failed in failures if failed.kind is not None)
    left = sum(1 for each in plan.chain if each.name not in tried)
    return attempts + 1 >= plan.max_attempts or left <= 1
