"""Asking: one attempt under way, and what is written down of it.

An attempt is noted once, when its end is known: when it failed, was called off, or when its reply
closed. Then the call's trail has it and its purse is settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pointsman.clock import Clock
from pointsman.domain.outcome import Outcome, OutcomeKind
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import DeadlineExceeded, InvalidRequest, ProviderFailure, Rejected
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.routing.plan import Failed

_log = logging.getLogger("pointsman")


class Asking:
    """One attempt. `worst_nano` is the most it may cost, for the call's purse; `told` hears of
    the attempt when it is noted."""

    __slots__ = (
        *("_clock", "_is_lost", "_started", "_told"),
        *("call", "is_hedge", "noted", "stack", "worst_nano"),
    )

    def __init__(
        self,
        call: Call,
        stack: DeploymentStack,
        clock: Clock,
        *,
        worst_nano: int = 0,
        is_hedge: bool = False,
        told: Callable[[Attempt], None] | None = None,
    ) -> None:
        self.call = call
        self.stack = stack
        self.worst_nano = worst_nano
        self.is_hedge = is_hedge
        self.noted: Attempt | None = None
        """What was written down; None until its end, and where nobody was called."""
        self._clock = clock
        self._told = told
        self._started = 0.0
        self._is_lost = False

    @property
    def name(self) -> str:
        return self.stack.deployment.name

    @property
    def cost_nano(self) -> int:
        return 0 if self.noted is None else self.noted.cost_nano or 0

    @property
    def was_called_off(self) -> bool:
        return self.noted is not None and self.noted.outcome == "abandoned"

    async def run(self) -> Reply | Failed:
        """Answer, committed, or say how it failed. Raises what no other deployment would better:
        InvalidRequest, DeadlineExceeded."""
        call, clock = self.call, self._clock
        self._started = clock.now()
        purse = call.trail.purse
        if purse is not None:
            purse.hold(self.worst_nano)
        unreported = Usage(input=call.expected_tokens[0], estimated=True)
        try:
            reply = await self.stack.service(call)
        except Rejected as error:
            # Our own layers refused: nobody was called, nothing is in the ledger.
            if purse is not None:
                purse.settle(self.worst_nano, 0)
            return Failed(self.name, error, clock.now())
        except ProviderFailure as failure:
            usage = unreported if failure.maybe_billed else NO_USAGE
            self._note(failure.kind, usage, http_status=failure.http_status, detail=failure.message)
            return Failed(self.name, failure, clock.now())
        except InvalidRequest as error:
            self._note("rejected", NO_USAGE, http_status=error.status, detail=error.message)
            raise
        except DeadlineExceeded as error:
            self._note("timeout", unreported, detail=error.message)
            raise
        except asyncio.CancelledError:
            self._note("abandoned", unreported)
            raise
        reply.on_close(self._closed)
        return reply

    def lose(self, reply: Reply) -> None:
        """Give up a reply that came as late as its rival's: it is no answer to anybody."""
        self._is_lost = True
        reply.close()

    def _closed(self, outcome: Outcome) -> None:
        if self._is_lost:
            self._note("abandoned", outcome.usage, http_status=outcome.http_status)
            return
        self._note(
            outcome.kind,
            outcome.usage,
            ttft_s=outcome.ttft_s,
            http_status=outcome.http_status,
            detail=outcome.detail,
            is_known=True,
        )

    def _note(
        self,
        kind: OutcomeKind,
        usage: Usage,
        *,
        ttft_s: float | None = None,
        http_status: int | None = None,
        detail: str = "",
        is_known: bool = False,
    ) -> None:
        call, deployment = self.call, self.stack.deployment
        price = deployment.price
        attempt = self.noted = Attempt(
            deployment=deployment.name,
            provider=deployment.provider,
            model=deployment.model,
            tier=deployment.tier,
            outcome=kind,
            usage=usage,
            cost_nano=None if price is None else price.cost(usage),
            price_version="" if price is None else price.version,
            started_s=self._started - call.started,
            seconds=self._clock.now() - self._started,
            ttft_s=ttft_s,
            http_status=http_status,
            detail=detail[:300],
            hedge=self.is_hedge,
            id=call.attempt_id,
        )
        call.trail.attempts.append(attempt)
        if call.trail.purse is not None:
            self._settle(attempt, is_known)
        if self._told is not None:
            self._told(attempt)

    def _settle(self, attempt: Attempt, is_known: bool) -> None:
        # 1. not billed: all of it comes back. 2. answered: what it cost. 3. nobody knows: the
        # whole hold stays, for what a model thought unseen is billed as well.
        purse = self.call.trail.purse
        assert purse is not None
        cost = attempt.cost_nano or 0
        if attempt.usage is NO_USAGE:
            cost = 0
        elif not is_known:
            cost = max(cost, self.worst_nano)
        purse.settle(self.worst_nano, cost)
        if cost > self.worst_nano:
            _log.warning(
                "purse.exceeded request=%s deployment=%s cost_nano=%d worst_nano=%d limit_nano=%d",
                self.call.id,
                attempt.deployment,
                cost,
                self.worst_nano,
                purse.limit_nano,
            )

    def __repr__(self) -> str:
        return f"Asking({self.name}{', hedge' if self.is_hedge else ''})"
