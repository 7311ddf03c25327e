"""Holding: what an attempt may use is set aside in every budget it counts in, before it is made.

One of a route, shared by its attempts. It says to the treasury who asks for what of whom, and to
the log beneath it what the attempt is: enough to write its ledger entry if this worker dies.
"""

from __future__ import annotations

from pointsman.budgets.subjects import Ask
from pointsman.clock import Clock
from pointsman.domain.deployment import Deployment
from pointsman.domain.request import EmbeddingsRequest
from pointsman.pipeline.bill import Bill
from pointsman.pipeline.call import Call
from pointsman.pipeline.treasury import Hold, Treasury
from pointsman.wal.note import Note, encode


class Holding:
    def __init__(self, treasury: Treasury, route: str, clock: Clock) -> None:
        self.treasury = treasury
        self._route = route
        self._clock = clock

    def ask(self, call: Call, deployment: Deployment | None = None) -> Ask:
        return Ask(call.caller, self._route, call.options.run, call.tags, deployment)

    def is_strict(self, call: Call, deployment: Deployment) -> bool:
        """Whether an answer may be no longer than what is held for it."""
        return self.treasury.is_strict(self.ask(call, deployment))

    def affordable_nano(self, call: Call) -> int | None:
        """What a budget has left that lets cheaper deployments answer; None without one."""
        return self.treasury.affordable_nano(self.ask(call))

    async def hold(self, call: Call, bill: Bill) -> Hold:
        """Set aside what an attempt may use. Raises Rejected, and PermissionDenied where the key
        draws on a budget that is not there."""
        return await self.treasury.hold(
            self.ask(call, bill.deployment),
            call.attempt_id,
            bill.worst_nano,
            bill.expected_nano,
            bill.tokens,
            self._note(call, bill),
            call.deadline,
        )

    def _note(self, call: Call, bill: Bill) -> bytes:
        caller, deployment, price = call.caller, bill.deployment, bill.deployment.price
        clock = self._clock
        since = clock.now() - call.started
        note = Note(
            call.id,
            call.id,
            clock.wall() - since,
            "embeddings" if isinstance(call.request, EmbeddingsRequest) else "chat",
            self._route,
            call.request.model,
            call.request.stream,
            deployment.name,
            deployment.provider,
            deployment.model,
            deployment.tier,
            caller.key,
            caller.user,
            caller.app,
            caller.team,
            caller.tenant,
            call.tags,
            "" if price is None else price.version,
            since,
            *call.expected_tokens,
            bill.expected_nano,
            bill.is_hedge,
        )
        return encode(note)

    def __repr__(self) -> str:
        return f"Holding({self._route}, {self.treasury!r})"
