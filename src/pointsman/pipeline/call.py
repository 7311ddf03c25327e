"""A request on its way down, with who asked, until when, for how much, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from pointsman.cache.mark import NO_CACHE
from pointsman.domain.call import Caller, Timeouts
from pointsman.domain.request import Request, RouteOptions
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.purse import Purse
from pointsman.pipeline.treasury import Standing
from pointsman.routing.decision import Decision


class Trail:
    """The notebook of one call: `Dispatch` writes it, those above read it, also when the call
    was cancelled and there is neither reply nor error to hang the attempts on."""

    __slots__ = ("attempts", "cache", "decision", "purse", "standing")

    def __init__(self) -> None:
        self.decision: Decision | None = None
        self.attempts: list[Attempt] = []
        self.purse: Purse | None = None
        """What the whole call may cost; None where it has no limit."""
        self.standing: Callable[[], tuple[Standing, ...]] | None = None
        """What is left of the caller's rates and budgets; None where nothing is counted."""
        self.cache = NO_CACHE


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request travelling down. `deadline` and `started` are in the clock's seconds.

    `wire` names the dialect whose bytes the caller can take as they are; None asks for events.
    `expected_tokens` (input, output) is the estimator's word, for limits and for accounting what
    a provider did not report. `last_resort` tells a deployment's layers that nothing else is
    left to try: giving up early would help nobody.
    """

    id: str
    caller: Caller
    request: Request
    options: RouteOptions
    deadline: float
    started: float
    timeouts: Timeouts = Timeouts()
    wire: str | None = None
    expected_tokens: tuple[int, int] = (0, 0)
    last_resort: bool = False
    avoid: frozenset[str] = frozenset()
    """Deployments that are not asked: they have failed this very answer already."""
    attempt_id: str = ""
    """What the provider is told of this attempt, and ledger and budgets know it by."""
    most_tokens: int | None = None
    """The longest answer that is paid for, where the client states none: the provider is held to
    it, or what was set aside for the attempt would be no bound."""
    is_paid: bool = False
    """Money is set aside for this attempt: it is sent once, or one hold would cover two bills."""
    panic: bool = False
    """Every deployment is out and this call may try all the same: breakers let it through."""
    trail: Trail = msgspec.field(default_factory=Trail)

    @property
    def tags(self) -> Mapping[str, str]:
        """What it counts under; what its key says, the request cannot change."""
        fixed, said = self.caller.tags, self.options.tags
        return {**said, **fixed} if said and fixed else said or fixed
