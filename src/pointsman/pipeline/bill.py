"""Bill: what one attempt may cost and has cost, to the call's purse and to every budget.

Theory. Before anybody is asked, the most that the attempt can cost is set aside everywhere it
counts; when it ends, what it has cost takes the place of that. Between the two there is no moment
in which another attempt could take the same money. Where nobody will ever say what an attempt
cost (it was cut off, timed out, or its provider does not report), the whole of what was set aside
stays, for what a model thought unseen is billed as well: `charged`. So it does for a stream that
was called off, unless its provider is known to stop then and its model shows all that it makes:
then what was seen bounds what was made (`routing/upper.py`, left_cost). The ledger has the best
estimate beside it, `cost_nano`, and whether it is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from pointsman.domain.deployment import Deployment
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.pipeline.call import Call
from pointsman.pipeline.purse import Purse
from pointsman.pipeline.treasury import Hold

_log = logging.getLogger("pointsman")


class Holder(Protocol):
    """Sets aside in budgets; see `Holding`."""

    async def hold(self, call: Call, bill: Bill) -> Hold:
        """Raises Rejected where a budget does not have it, or cannot say."""
        ...


class Bill:
    """`worst_nano` is the most the attempt can cost, None for an unknown price; `expected_nano`
    and `tokens` what it is expected to cost and to use; `left_nano` the most that it costs when it
    is called off after so many bytes of content, None where that bounds nothing."""

    __slots__ = (
        *("_hold", "_holding", "_purse"),
        *("deployment", "expected_nano", "is_hedge", "left_nano", "tokens", "worst_nano"),
    )

    def __init__(
        self,
        deployment: Deployment,
        worst_nano: int | None,
        expected_nano: int | None,
        tokens: int,
        *,
        left_nano: Callable[[int], int | None] = lambda seen_bytes: None,
        purse: Purse | None = None,
        holding: Holder | None = None,
        is_hedge: bool = False,
    ) -> None:
        self.deployment = deployment
        self.worst_nano = worst_nano
        self.expected_nano = expected_nano
        self.tokens = tokens
        self.is_hedge = is_hedge
        self.left_nano = left_nano
        self._purse = purse
        self._holding = holding
        self._hold: Hold | None = None

    async def hold(self, call: Call) -> None:
        """Set aside what the attempt may cost. Raises Rejected; then nothing is set aside."""
        # The purse first, at once: whether it has as much was asked just now.
        if self._purse is not None:
            self._purse.hold(self.worst_nano or 0)
        if self._holding is None:
            return
        try:
            self._hold = await self._holding.hold(call, self)
        except BaseException:
            self.void()
            raise

    def void(self) -> None:
        """Give all of it back: nobody was asked."""
        self._end(0, NO_USAGE, exact=True, is_void=True)

    def settle(
        self,
        call: Call,
        usage: Usage,
        cost_nano: int | None,
        *,
        is_known: bool,
        seen_bytes: int | None = None,
    ) -> int:
        """Put what the attempt cost in the place of what was set aside; return what was charged.

        `is_known`: it ended in a way that leaves nothing open but what `usage` says of itself.
        `seen_bytes`: of the content of a stream that was called off with nothing unread."""
        # 1. not billed: all of it comes back. 2. the provider has said what was used. 3. called
        # off: what was seen may bound it. 4. nobody knows: all of it stays.
        cost, worst = cost_nano or 0, self.worst_nano or 0
        exact = usage is NO_USAGE or (is_known and not usage.estimated)
        if exact:
            charged = 0 if usage is NO_USAGE else cost
        else:
            bound = None if seen_bytes is None else self.left_nano(seen_bytes)
            charged = max(cost, worst if bound is None else min(bound, worst))
        self._end(charged, usage, exact=exact)
        if charged > worst and self._purse is not None:
            _log.warning(
                "purse.exceeded request=%s deployment=%s cost_nano=%d worst_nano=%d limit_nano=%d",
                call.id,
                self.deployment.name,
                charged,
                worst,
                self._purse.limit_nano,
            )
        return charged

    def _end(self, charged: int, usage: Usage, *, exact: bool, is_void: bool = False) -> None:
        if self._purse is not None:
            self._purse.settle(self.worst_nano or 0, charged)
        hold, self._hold = self._hold, None
        if hold is None:
            return
        if is_void:
            hold.void()
        else:
            hold.settle(charged, exact=exact, tokens=usage.total)

    def __repr__(self) -> str:
        return f"Bill({self.deployment.name}, {self.worst_nano} nano-USD at most)"
