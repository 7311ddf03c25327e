"""Admit: count a request in the rates that it has to keep, before anything is done for it.

Below Account, so that a refusal stands in the ledger; above the cache and above Dispatch, since a
request counts once however it is answered, and however often a provider is asked for it. What a
model or a provider may take is counted with each attempt there (`Holding`), and so is all money.
"""

from __future__ import annotations

from functools import partial

from pointsman.pipeline.call import Call
from pointsman.pipeline.holding import Holding
from pointsman.pipeline.service import Reply, Service
from pointsman.routing.tokens import estimate_output, estimate_request


class Admit:
    def __init__(self, inner: Service, holding: Holding) -> None:
        self.inner = inner
        self._holding = holding

    async def __call__(self, call: Call) -> Reply:
        """Raises Rejected where a rate is used up, or nobody can say."""
        treasury = self._holding.treasury
        ask = self._holding.ask(call)
        call.trail.standing = partial(treasury.view, ask)
        tokens = expected_tokens(call) if treasury.counts_tokens(ask) else 0
        admission = await treasury.admit(ask, tokens, call.deadline)
        try:
            reply = await self.inner(call)
        except BaseException:
            admission.close(used_tokens(call))
            raise
        reply.on_close(lambda outcome: admission.close(used_tokens(call)))
        return reply

    def __repr__(self) -> str:
        return f"Admit > {self.inner!r}"


def expected_tokens(call: Call) -> int:
    tokens = estimate_request(call.request)
    return tokens + estimate_output(call.request, "chat", tokens)


def used_tokens(call: Call) -> int:
    """What all attempts have used, by their providers' word or by our estimate."""
    return sum(attempt.usage.total for attempt in call.trail.attempts)
