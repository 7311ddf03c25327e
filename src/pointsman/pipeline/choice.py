"""Choice: whom to ask for one call, with what was measured; and what to do where nobody may be.

It feeds `decide`, `plan_of` and `shortage` with states, and carries out what they say: chains that
lead out of the route, a short wait for one that cools down, a panic.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.config.settings import Route
from pointsman.domain.deployment import Deployment
from pointsman.pipeline.breaker import Random
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.routing.affinity import Readers, chain_of
from pointsman.routing.decision import Decision, Rejection
from pointsman.routing.estimate import worst_cost
from pointsman.routing.features import features_of
from pointsman.routing.filters import matches
from pointsman.routing.plan import Means, Plan, plan_of
from pointsman.routing.policy import compile_policy, decide, decide_in_order, screen
from pointsman.routing.retries import Retries
from pointsman.routing.shortage import (
    healed,
    is_broken,
    nobody,
    reopens_s,
    short_of,
    stand_in_for,
    wait_s,
    wait_until,
)
from pointsman.routing.signals import RequestFeatures, size_of

MOST_WAITING = 100
"""Requests of a route that may be held at once for a deployment that cools down."""

SPREAD_S = 0.1
"""Those held are let go over this long: all at once they would be the next wave."""

MEDIAN = 0.5


class Chosen:
    """What was chosen for a call: whom to ask in which order, and whether in a panic."""

    __slots__ = ("features", "in_panic", "plan")

    def __init__(self, features: RequestFeatures, plan: Plan, *, in_panic: bool = False) -> None:
        self.features = features
        self.plan = plan
        self.in_panic = in_panic


class Choice:
    """One of a route. `stacks` holds every deployment of the gateway."""

    def __init__(
        self, route: Route, stacks: Mapping[str, DeploymentStack], clock: Clock, rng: Random
    ) -> None:
        self.route = route
        self.policy = compile_policy(route.policy, route.deployments)
        self._stacks = stacks
        self._clock = clock
        self._rng = rng
        self._turns = itertools.count()
        self._waiting = 0
        self._readers = Readers() if route.affinity else None
        self._own = tuple(stacks[each.name] for each in route.deployments)
        own_names = {each.name for each in route.deployments}
        self._others = tuple(
            stack.deployment for name, stack in stacks.items() if name not in own_names
        )
        chains = (route.fallback.chain or (), *route.fallback.by_kind.values())
        self._foreign = self._named_outside(tuple(itertools.chain.from_iterable(chains)))

    def _named_outside(self, patterns: Sequence[str]) -> tuple[Deployment, ...]:
        """Deployments outside the route that a chain names."""
        return tuple(
            each for each in self._others if any(matches(pattern, each) for pattern in patterns)
        )

    def features(self, call: Call) -> RequestFeatures:
        now = self._clock.now()
        features = features_of(call.request, call.options, self.policy.needs, now, call.deadline)
        if self._readers is None:
            return features
        chain = chain_of(call.request, call.caller)
        return replace(features, beginning=chain, read_by=self._readers.find(chain, now))

    def has_read(self, deployment: Deployment, features: RequestFeatures) -> None:
        """Take note of who answers, and so has read what the request begins with."""
        if self._readers is not None:
            self._readers.remember(features.beginning, deployment.name, self._clock.now())

    def consider(
        self,
        features: RequestFeatures,
        rng: Random,
        turn: int,
        avoid: frozenset[str] = frozenset(),
    ) -> Decision:
        """Decide, with the states as they are now; calls nobody and changes nothing."""
        now = self._clock.now()
        route, policy = self.route, self.policy
        size = size_of(features.input_tokens)
        states = [stack.state(now, size) for stack in self._own]
        if not avoid:
            return decide_in_order(
                policy, route.name, features, route.deployments, states, rng, turn
            )
        left = tuple(each for each in route.deployments if each.name not in avoid)
        by_name = {each.name: state for each, state in zip(route.deployments, states, strict=True)}
        decision = decide(policy, route.name, features, left, by_name, rng, turn)
        avoided = (
            Rejection(each, "avoid", "it has failed this very answer")
            for each in route.deployments
            if each.name in avoid
        )
        return replace(decision, rejected=(*decision.rejected, *avoided))

    def choose(self, call: Call, features: RequestFeatures) -> Chosen | None:
        """Choose among those that may be asked now; None where there is nobody."""
        turn = next(self._turns)
        decision = self.consider(features, self._rng, turn, call.avoid)
        if not decision.candidates and any(each.filter == "deadline" for each in decision.rejected):
            # A peak remembers one slow moment for minutes. Where it would leave nobody, those
            # who are late by it may try; `next_step` looks at their medians.
            ample = replace(features, remaining_s=float("inf"))
            decision = self.consider(ample, self._rng, turn, call.avoid)
        if not decision.candidates and any(each.filter == "budget" for each in decision.rejected):
            # What is left was said some time ago: who asks for it knows, and is told whose it is.
            ample = replace(features, budget_nano=None)
            decision = self.consider(ample, self._rng, turn, call.avoid)
        call.trail.decision = decision
        if not decision.candidates:
            return None
        return Chosen(features, self._plan(call, features, decision))

    async def make_do(self, call: Call, features: RequestFeatures, retries: Retries) -> Chosen:
        """Choose where nobody of the route may be asked: go along a chain that leads out of it,
        panic, wait a moment, or raise what the client is told."""
        until = wait_until(self._clock.now(), call.deadline)
        while True:
            now = self._clock.now()
            decision = call.trail.decision
            assert decision is not None and not decision.candidates
            out = short_of(decision)
            states = [self._stacks[each.deployment.name].state(now) for each in out]
            broken = [is_broken(each, state) for each, state in zip(out, states, strict=True)]
            chosen = self._elsewhere(call, features, decision, broken)
            if chosen is None and broken and all(broken):
                chosen = self._panic(call, features, decision, out)
            if chosen is not None:
                return chosen
            waits = [reopens_s(each, state) for each, state in zip(out, states, strict=True)]
            seconds = wait_s(waits, broken, now, until)
            if seconds <= 0 or not self.may_hold:
                allowed = retries.allows(1.0, now)
                raise nobody(decision, waits, broken, retry_allowed=allowed)
            await self.hold(seconds)
            features = replace(features, remaining_s=call.deadline - self._clock.now())
            chosen = self.choose(call, features)
            if chosen is not None:
                return chosen

    @property
    def may_hold(self) -> bool:
        """Is there room for one more request that waits?"""
        return self._waiting < MOST_WAITING

    async def hold(self, seconds: float) -> None:
        """Let a request wait for `seconds` and a little more."""
        self._waiting += 1
        try:
            await self._clock.sleep(seconds + self._rng.random() * SPREAD_S)
        finally:
            self._waiting -= 1

    def means(self, call: Call, chosen: Chosen, now: float, *, is_first: bool) -> Means | None:
        """What the next attempt has and would take; None where nothing can be short.

        A first attempt is cut off long before the deadline, unless that is near; so who may take
        how long is looked up only then, and after a failure."""
        purse = call.trail.purse
        times = call.timeouts
        limit_s = times.first_content_s if call.request.stream else times.whole_s
        if is_first and purse is None and call.deadline - now > limit_s:
            return None
        features = chosen.features
        tokens = features.input_tokens
        first_content_s: dict[str, float] = {}
        worst: dict[str, int | None] = {}
        for name, deployment in chosen.plan.everyone.items():
            stack = self._stacks[name]
            median = stack.first_content_quantile(MEDIAN, tokens)
            if median is not None:
                first_content_s[name] = median
            if purse is not None:
                worst[name] = worst_cost(features, deployment, stack.state(now))
        return Means(first_content_s, worst, None if purse is None else purse.left_nano)

    def _plan(self, call: Call, features: RequestFeatures, decision: Decision) -> Plan:
        foreign = self._foreign
        if call.options.fallbacks is not None:
            foreign = self._named_outside(call.options.fallbacks)
        if call.avoid:
            foreign = tuple(each for each in foreign if each.name not in call.avoid)
        if not foreign:
            return plan_of(decision, self.route.fallback, call.options)
        now, size = self._clock.now(), size_of(features.input_tokens)
        states = {each.name: self._stacks[each.name].state(now, size) for each in foreign}
        passed, refused = screen(self.policy, features, foreign, states)
        return plan_of(decision, self.route.fallback, call.options, passed, refused)

    def _elsewhere(
        self,
        call: Call,
        features: RequestFeatures,
        decision: Decision,
        broken: Sequence[bool],
    ) -> Chosen | None:
        """Follow a chain that leads out of the route, as if one of its own had failed so."""
        kind = stand_in_for(decision, broken)
        if kind is None:
            return None
        plan = self._plan(call, features, decision)
        chain = plan.by_kind.get(kind, plan.chain)
        return Chosen(features, replace(plan, chain=chain)) if chain else None

    def _panic(
        self,
        call: Call,
        features: RequestFeatures,
        decision: Decision,
        out: Sequence[Rejection],
    ) -> Chosen | None:
        """Every deployment is broken: try the best of them all the same, if its breaker lets a
        trickle through."""
        now, size = self._clock.now(), size_of(features.input_tokens)
        pool = tuple(
            each.deployment
            for each in out
            if self._stacks[each.deployment.name].breaker.may_panic(now)
        )
        states = {each.name: healed(self._stacks[each.name].state(now, size)) for each in pool}
        best = decide(
            self.policy, self.route.name, features, pool, states, self._rng, next(self._turns)
        )
        if not best.candidates:
            return None
        left = {each.name for each in pool}
        call.trail.decision = replace(
            best,
            rejected=(
                *best.rejected,
                *(each for each in decision.rejected if each.deployment.name not in left),
            ),
            why=f"panic, every breaker is open; {best.why}",
        )
        plan = plan_of(call.trail.decision, self.route.fallback, call.options)
        return Chosen(features, plan, in_panic=True)

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self.route.deployments)
        return f"{self.route.policy.strategy}: {names}"
