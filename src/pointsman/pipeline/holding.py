"""Holding: what an attempt may use is set aside in every budget it counts in, before it is made.

One of a route, shared by its attempts. It says to the treasury who asks for what of whom, and to
the log beneath it what the attempt is: enough to write its ledger entry if this worker dies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pointsman.budgets.subjects import Ask
from pointsman.clock import Clock
from pointsman.domain.deployment import Deployment
from pointsman.domain.request import EmbeddingsRequest
from pointsman.errors import PermissionDenied, Rejected
from pointsman.pipeline.bill import Bill
from pointsman.pipeline.call import Call
from pointsman.pipeline.treasury import Admission, Hold, Standing, Treasury
from pointsman.routing.tokens import estimate_output, estimate_request
from pointsman.wal.note import Note, encode

Denied = Callable[[str, str], None]
"""Told of each refusal: the budget's name, "" where it is no single one, and the error's code."""


class Holding:
    def __init__(
        self,
        treasury: Treasury,
        route: str,
        clock: Clock,
        denied: Denied = lambda budget, code: None,
    ) -> None:
        self.treasury = treasury
        self._route = route
        self._clock = clock
        self._denied = denied

    def ask(self, call: Call, deployment: Deployment | None = None) -> Ask:
        return Ask(call.caller, self._route, call.options.run, call.tags, deployment)

    def is_strict(self, call: Call, deployment: Deployment) -> bool:
        """Whether an answer may be no longer than what is held for it."""
        return self.treasury.is_strict(self.ask(call, deployment))

    def affordable_nano(self, call: Call) -> int | None:
        """What a budget has left that lets cheaper deployments answer; None without one."""
        return self.treasury.affordable_nano(self.ask(call))

    def counts_request(self, call: Call) -> bool:
        """Whether any rate counts the request itself. From now on its trail can tell how its
        budgets stand. Raises PermissionDenied where its key draws on one that is not there."""
        ask = self.ask(call)
        call.trail.standing = partial(self._standing, ask)
        try:
            return self.treasury.counts_request(ask)
        except PermissionDenied as error:
            self._denied(error.param or "", error.code)
            raise

    async def admit(self, call: Call) -> Admission:
        """Count a request in its rates. Raises Rejected where one is used up, or nobody can say,
        and PermissionDenied as above."""
        treasury, ask = self.treasury, self.ask(call)
        try:
            tokens = expected_tokens(call) if treasury.counts_tokens(ask) else 0
            return await treasury.admit(ask, tokens, call.deadline)
        except (Rejected, PermissionDenied) as error:
            self._denied(error.param or "", error.code)
            raise

    def _standing(self, ask: Ask) -> tuple[Standing, ...]:
        try:
            return self.treasury.view(ask)
        except PermissionDenied:  # A budget went away: nobody can say how it stands.
            return ()

    async def hold(self, call: Call, bill: Bill) -> Hold:
        """Set aside what an attempt may use. Raises likewise."""
        try:
            return await self.treasury.hold(
                self.ask(call, bill.deployment),
                call.attempt_id,
                bill.worst_nano,
                bill.expected_nano,
                bill.tokens,
                self._note(call, bill),
                call.deadline,
            )
        except (Rejected, PermissionDenied) as error:
            self._denied(error.param or "", error.code)
            raise

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


def expected_tokens(call: Call) -> int:
    tokens = estimate_request(call.request)
    return tokens + estimate_output(call.request, "chat", tokens)
