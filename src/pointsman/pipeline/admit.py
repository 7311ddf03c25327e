"""Admit: count a request in the rates that it has to keep, before anything is done for it.

Below Account, so that a refusal stands in the ledger; above the cache and above Dispatch, since a
request counts once however it is answered, and however often a provider is asked for it. What a
model or a provider may take is counted with each attempt there (`Holding`), and so is all money.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from pointsman.pipeline.call import Call
from pointsman.pipeline.holding import Holding
from pointsman.pipeline.service import Reply, Service


class Admit:
    def __init__(self, inner: Service, holding: Holding) -> None:
        self.inner = inner
        self._holding = holding

    def __call__(self, call: Call) -> Coroutine[Any, Any, Reply]:
        # Where no rate counts it there is no layer: the caller awaits what lies below.
        below = self._admitted if self._holding.counts_request(call) else self.inner
        return below(call)

    async def _admitted(self, call: Call) -> Reply:
        admission = await self._holding.admit(call)
        try:
            reply = await self.inner(call)
        except BaseException:
            admission.close(used_tokens(call))
            raise
        reply.on_close(lambda outcome: admission.close(used_tokens(call)))
        return reply

    def __repr__(self) -> str:
        return f"Admit > {self.inner!r}"


def used_tokens(call: Call) -> int:
    """What all attempts have used, by their providers' word or by our estimate."""
    return sum(attempt.usage.total for attempt in call.trail.attempts)
