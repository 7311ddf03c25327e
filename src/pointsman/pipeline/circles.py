"""Circles: turn away who asks the same again and again, where the operator wants that.

Below Account, so that a refusal stands in the ledger; above the rates, so that it spends none of
them. Whether something is a loop is not decided here: `alerts/loops.py` counts.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.domain.call import Caller
from pointsman.domain.request import Request
from pointsman.errors import RateLimited
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, Service

Allows = Callable[[Caller, Request, str | None], float | None]
"""(caller, request, run) -> seconds until it may come again; None: it may pass."""


class Circles:
    def __init__(self, inner: Service, allows: Allows) -> None:
        self.inner = inner
        self._allows = allows

    async def __call__(self, call: Call) -> Reply:
        wait_s = self._allows(call.caller, call.request, call.options.run)
        if wait_s is not None:
            raise RateLimited(
                f"key {call.caller.key} sends nearly the same request over and over; it may send "
                "one now and then until that ends (alerts.loop.throttle)",
                param="alerts.loop",
                retry_after_s=wait_s,
            )
        return await self.inner(call)

    def __repr__(self) -> str:
        return f"Circles > {self.inner!r}"
