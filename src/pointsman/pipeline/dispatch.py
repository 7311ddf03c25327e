"""Dispatch: decide, try, and on failure try the next, within one deadline.

It owns no policy of its own: `decide` says who may answer and in which order, `next_step` what
follows a failure. Here they are fed with what was measured, and their word is carried out.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.config.settings import Route
from pointsman.domain.deployment import Deployment
from pointsman.domain.outcome import Outcome, OutcomeKind
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import (
    ContextTooLong,
    DeadlineExceeded,
    InvalidRequest,
    NoCandidate,
    PointsmanError,
    ProviderFailure,
    Rejected,
    Unsupported,
)
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.breaker import Random
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.routing.decision import Decision, Rejection
from pointsman.routing.failover import Failed, GiveUp, Plan, Wait, next_step, plan_of, retry_cost
from pointsman.routing.features import features_of
from pointsman.routing.filters import TRANSIENT, matches
from pointsman.routing.policy import compile_policy, decide, screen
from pointsman.routing.retries import Retries
from pointsman.routing.signals import DeploymentState, RequestFeatures


class Dispatch:
    """`stacks` holds every deployment of the gateway: a fallback chain may leave the route."""

    def __init__(
        self,
        route: Route,
        stacks: Mapping[str, DeploymentStack],
        clock: Clock,
        rng: Random,
        retries: Retries,
    ) -> None:
        self.route = route
        self.policy = compile_policy(route.policy, route.deployments)
        self._stacks = stacks
        self._clock = clock
        self._rng = rng
        self._retries = retries
        self._turns = itertools.count()
        self._own = tuple((each.name, stacks[each.name]) for each in route.deployments)
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
        return features_of(
            call.request, call.options, self.policy.needs, self._clock.now(), call.deadline
        )

    def consider(self, features: RequestFeatures, rng: Random, turn: int) -> Decision:
        """Decide, with the states as they are now; calls nobody and changes nothing."""
        now = self._clock.now()
        states = {name: stack.state(now) for name, stack in self._own}
        return decide(
            self.policy, self.route.name, features, self.route.deployments, states, rng, turn
        )

    async def __call__(self, call: Call) -> Reply:
        features = self.features(call)
        decision = self.consider(features, self._rng, next(self._turns))
        call.trail.decision = decision
        if not decision.candidates:
            raise self._nobody(decision)
        plan = self._plan(call, features, decision)
        expected = (features.input_tokens, features.output_tokens)
        clock = self._clock
        self._retries.deposit(clock.now())
        failures: list[Failed] = []
        while True:
            now = clock.now()
            cost = retry_cost(failures)
            step = next_step(
                plan,
                failures,
                now=now,
                deadline=call.deadline,
                retry_allowed=self._retries.allows(cost, now),
            )
            if isinstance(step, Wait):
                await clock.sleep(step.seconds)
                continue
            if isinstance(step, GiveUp):
                raise _unsupported(failures) or step.error
            self._retries.spend(step.cost, now)
            if step.backoff_s > 0:
                await clock.sleep(self._rng.random() * step.backoff_s)
            attempt = replace(call, expected_tokens=expected, last_resort=_is_last(plan, failures))
            reply = await self._attempt(attempt, step.deployment, failures)
            if reply is not None:
                return reply

    def _plan(self, call: Call, features: RequestFeatures, decision: Decision) -> Plan:
        foreign = self._foreign
        if call.options.fallbacks is not None:
            foreign = self._named_outside(call.options.fallbacks)
        if not foreign:
            return plan_of(decision, self.route.fallback, call.options)
        states: dict[str, DeploymentState] = {
            each.name: self._stacks[each.name].state() for each in foreign
        }
        passed, refused = screen(self.policy, features, foreign, states)
        return plan_of(decision, self.route.fallback, call.options, passed, refused)

    async def _attempt(
        self, call: Call, deployment: Deployment, failures: list[Failed]
    ) -> Reply | None:
        """Call one deployment; None where it failed, which is then in `failures`."""
        clock = self._clock
        started = clock.now()

        def note(
            kind: OutcomeKind,
            usage: Usage,
            *,
            ttft_s: float | None = None,
            http_status: int | None = None,
            detail: str = "",
        ) -> None:
            price = deployment.price
            call.trail.attempts.append(
                Attempt(
                    deployment=deployment.name,
                    provider=deployment.provider,
                    model=deployment.model,
                    tier=deployment.tier,
                    outcome=kind,
                    usage=usage,
                    cost_nano=None if price is None else price.cost(usage),
                    price_version="" if price is None else price.version,
                    started_s=started - call.started,
                    seconds=clock.now() - started,
                    ttft_s=ttft_s,
                    http_status=http_status,
                    detail=detail[:300],
                )
            )

        unreported = Usage(input=call.expected_tokens[0], estimated=True)
        try:
            reply = await self._stacks[deployment.name].service(call)
        except Rejected as error:
            # Our own layers refused: nobody was called, nothing is in the ledger.
            failures.append(Failed(deployment.name, error, clock.now()))
            return None
        except ProviderFailure as failure:
            usage = unreported if failure.maybe_billed else NO_USAGE
            note(failure.kind, usage, http_status=failure.http_status, detail=failure.message)
            failures.append(Failed(deployment.name, failure, clock.now()))
            return None
        except InvalidRequest as error:
            note("rejected", NO_USAGE, http_status=error.status, detail=error.message)
            raise
        except DeadlineExceeded as error:
            note("timeout", unreported, detail=error.message)
            raise
        except asyncio.CancelledError:
            note("abandoned", unreported)
            raise

        def closed(outcome: Outcome) -> None:
            note(
                outcome.kind,
                outcome.usage,
                ttft_s=outcome.ttft_s,
                http_status=outcome.http_status,
                detail=outcome.detail,
            )

        reply.on_close(closed)
        return reply

    def _nobody(self, decision: Decision) -> PointsmanError:
        # 1. some would do but are out just now: wait for the soonest. 2. all are too small.
        # 3. the constraints leave nobody.
        out = [each for each in decision.rejected if each.filter in TRANSIENT]
        if out:
            return self._all_out(decision, out)
        filters = {each.filter for each in decision.rejected}
        if filters == {"context"}:
            return ContextTooLong(f"route {decision.route}: {decision.why}")
        return NoCandidate(f"route {decision.route}: {decision.why}")

    def _all_out(self, decision: Decision, out: Sequence[Rejection]) -> PointsmanError:
        breakers = [self._stacks[each.deployment.name].breaker for each in out]
        soonest = min((each.reopens_in_s for each in breakers), default=1.0)
        cooling = all(each.state == "closed" and each.share == 0 for each in breakers)
        error = Rejected(
            f"route {decision.route}: {decision.why}",
            status=429 if cooling else 503,
            code="upstream_rate_limited" if cooling else "upstream_unavailable",
            retry_after_s=max(1.0, soonest),
        )
        error.should_retry = True
        return error

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self._own)
        return f"Dispatch({self.route.policy.strategy}: {names})"


def _unsupported(failures: Sequence[Failed]) -> InvalidRequest | None:
    """The request's own fault, where no deployment's dialect could say it."""
    errors = [failed.error for failed in failures]
    if not errors or not all(isinstance(error, Unsupported) for error in errors):
        return None
    return InvalidRequest(errors[-1].message, param=errors[-1].param)


def _is_last(plan: Plan, failures: Sequence[Failed]) -> bool:
    """Nothing is left to try after this attempt."""
    if not failures:
        return plan.max_attempts <= 1 or len(plan.chain) <= 1
    tried = {failed.deployment for failed in failures}
    attempts = sum(1 for failed in failures if failed.kind is not None)
    left = sum(1 for each in plan.chain if each.name not in tried)
    return attempts + 1 >= plan.max_attempts or left <= 1
