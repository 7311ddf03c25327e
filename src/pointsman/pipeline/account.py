"""Account: every request ends in exactly one ledger entry, however it ends.

Topmost of a route's stack. Attempts come from the trail, which Dispatch has completed before we
are told (it registered first); the sum of their costs is what the request cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pointsman.clock import Clock
from pointsman.domain.deployment import Deployment
from pointsman.domain.outcome import Outcome, OutcomeKind
from pointsman.domain.request import EmbeddingsRequest
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import (
    AllFailed,
    ContextTooLong,
    DeadlineExceeded,
    Overloaded,
    PointsmanError,
    ProviderFailure,
)
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, Service

CLIENT_CLOSED = 499
"""What logs and ledger show where the client left (nginx's code; nobody receives it)."""

DRAINING = "draining"
"""What a cancellation carries where the server stops and not the client."""

GONE = frozenset({"abandoned", "client_closed"})
"""How a stream says that its reader left, or stopped reading."""


def cost_of(attempts: list[Attempt]) -> int | None:
    """Sum the attempts' costs in nano-USD; None if any has an unknown price."""
    total = 0
    for attempt in attempts:
        if attempt.cost_nano is None:
            return None
        total += attempt.cost_nano
    return total


class Account:
    def __init__(
        self,
        inner: Service,
        clock: Clock,
        route: str,
        baseline: Deployment | None,
        keep: Callable[[LedgerEntry], None],
    ) -> None:
        self.inner = inner
        self._clock = clock
        self._route = route
        self._baseline = baseline
        self._keep = keep

    async def __call__(self, call: Call) -> Reply:
        try:
            reply = await self.inner(call)
        except asyncio.CancelledError as cancelled:
            if DRAINING in cancelled.args:
                self._enter(call, "rejected", Overloaded.status, DRAINING)
            else:
                self._enter(call, "abandoned", CLIENT_CLOSED, "client_closed")
            raise
        except PointsmanError as error:
            error.attempts = len(call.trail.attempts)
            self._enter(call, _kind_of(error), error.status, error.code)
            raise
        except BaseException:
            self._enter(call, "rejected", 500, "internal_error")
            raise
        reply.on_close(lambda outcome: self._closed(call, outcome))
        return reply

    def _closed(self, call: Call, outcome: Outcome) -> None:
        # A stream that failed after its content was told 200; the failure is in its outcome.
        # What ended it for a reason of ours is "abandoned" to the provider, not to the caller.
        kind = outcome.kind
        code = "" if kind == "ok" else outcome.code or kind
        is_gone = kind == "abandoned" and code in GONE
        if kind == "abandoned" and not is_gone:
            kind = "timeout" if code == DeadlineExceeded.code else "rejected"
        self._enter(call, kind, CLIENT_CLOSED if is_gone else 200, code, outcome)

    def _enter(
        self,
        call: Call,
        kind: OutcomeKind,
        status: int,
        code: str,
        outcome: Outcome | None = None,
    ) -> None:
        trail = call.trail
        usage: Usage = NO_USAGE if outcome is None else outcome.usage
        baseline = None
        if self._baseline is not None and self._baseline.price is not None and outcome is not None:
            baseline = self._baseline.price.cost(usage)
        tags = call.tags
        first_started = trail.attempts[-1].started_s if trail.attempts else 0.0
        self._keep(
            LedgerEntry(
                request_id=call.id,
                decision_id=call.id,
                at=self._clock.wall(),
                operation=("embeddings" if isinstance(call.request, EmbeddingsRequest) else "chat"),
                route=self._route,
                requested_model=call.request.model,
                caller=call.caller,
                stream=call.request.stream,
                status=status,
                outcome=kind,
                attempts=tuple(trail.attempts),
                usage=usage,
                cost_nano=cost_of(trail.attempts),
                baseline_nano=baseline,
                seconds=self._clock.now() - call.started,
                ttft_s=(
                    first_started + outcome.ttft_s
                    if outcome is not None and outcome.ttft_s is not None
                    else None
                ),
                error_code=code,
                decision=trail.decision,
                tags=tuple(tags.items()) if tags else (),
                cache=trail.cache.word,
                saved_nano=trail.cache.saved_nano,
            )
        )

    def __repr__(self) -> str:
        return f"Account > {self.inner!r}"


def _kind_of(error: PointsmanError) -> OutcomeKind:
    # 1. all attempts failed: as the last one did. 2. time. 3. the caller's or our own refusal.
    if isinstance(error, AllFailed):
        return error.failures[-1].kind if error.failures else "unavailable"
    if isinstance(error, ProviderFailure):
        return error.kind
    if isinstance(error, DeadlineExceeded):
        return "timeout"
    if isinstance(error, ContextTooLong):
        return "context_length"
    return "rejected"
