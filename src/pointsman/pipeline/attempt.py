"""Asking: one attempt under way, and what is written down of it.

An attempt is noted once, when its end is known: when it failed, was called off, or when its reply
closed. Then the call's trail has it and its bill is settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pointsman.clock import Clock
from pointsman.domain.outcome import Outcome, OutcomeKind
from pointsman.domain.usage import ALARMING, NO_USAGE, Usage
from pointsman.errors import DeadlineExceeded, InvalidRequest, ProviderFailure, Rejected
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.bill import Bill
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.routing.plan import Failed
from pointsman.routing.plausible import plausible
from pointsman.routing.signals import COLD, RequestFeatures

_log = logging.getLogger("pointsman")


class Asking:
    """One attempt. `bill` is None where nothing limits what it may cost; `told` hears of the
    attempt when it is noted."""

    __slots__ = (
        *("_bill", "_clock", "_features", "_is_lost", "_started", "_told"),
        *("call", "is_hedge", "noted", "stack"),
    )

    def __init__(
        self,
        call: Call,
        stack: DeploymentStack,
        clock: Clock,
        *,
        bill: Bill | None = None,
        is_hedge: bool = False,
        told: Callable[[Attempt], None] | None = None,
        features: RequestFeatures | None = None,
    ) -> None:
        self._features = features
        self.call = call
        self.stack = stack
        self.is_hedge = is_hedge
        self.noted: Attempt | None = None
        """What was written down; None until its end, and where nobody was called."""
        self._bill = bill
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
        call, clock, bill = self.call, self._clock, self._bill
        if bill is not None:
            try:
                await bill.hold(call)
            except Rejected as refusal:
                return Failed(self.name, refusal, clock.now())
        self._started = clock.now()
        unreported = Usage(input=call.expected_tokens[0], estimated=True)
        try:
            reply = await self.stack.service(call)
        except Rejected as error:
            # Our own layers refused: nobody was called, nothing is in the ledger.
            if bill is not None:
                bill.void()
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
            # Called off. Of a stream nothing was seen: with content it would be a reply by now.
            seen = 0 if call.request.stream else None
            self._note("abandoned", unreported, seen_bytes=seen)
            raise
        except BaseException:
            # A mistake of ours: somebody may have been asked all the same.
            self._note("abandoned", unreported)
            raise
        reply.judge = self._judge
        reply.on_close(self._closed)
        return reply

    def _judge(self, usage: Usage) -> Usage:
        """Hold what the provider reports to what is possible, and say what is odd about it."""
        deployment = self.stack.deployment
        if self._features is not None:
            usage = plausible(usage, self._features, deployment, COLD)
        if usage.flags:
            alarming = not ALARMING.isdisjoint(usage.flags)
            _log.log(
                logging.WARNING if alarming else logging.INFO,
                "usage.%s request=%s deployment=%s flags=%s input=%d output=%d",
                "insane" if alarming else "odd",
                self.call.id,
                deployment.name,
                ",".join(usage.flags),
                usage.input,
                usage.output,
            )
        return usage

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
            seen_bytes=outcome.seen_bytes,
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
        seen_bytes: int | None = None,
    ) -> None:
        call, deployment = self.call, self.stack.deployment
        price = deployment.price
        cost = None if price is None else price.cost(usage)
        charged = None
        if self._bill is not None:
            charged = self._bill.settle(call, usage, cost, is_known=is_known, seen_bytes=seen_bytes)
        attempt = self.noted = Attempt(
            deployment=deployment.name,
            provider=deployment.provider,
            model=deployment.model,
            tier=deployment.tier,
            outcome=kind,
            usage=usage,
            cost_nano=cost,
            price_version="" if price is None else price.version,
            started_s=self._started - call.started,
            seconds=self._clock.now() - self._started,
            ttft_s=ttft_s,
            http_status=http_status,
            detail=detail[:300],
            hedge=self.is_hedge,
            id=call.attempt_id,
            charged_nano=None if charged == cost else charged,
        )
        call.trail.attempts.append(attempt)
        if self._told is not None:
            self._told(attempt)

    def __repr__(self) -> str:
        return f"Asking({self.name}{', hedge' if self.is_hedge else ''})"
