"""A request on its way down, with who asked, until when, and for how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.domain.request import Request, RouteOptions


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; made from an API key. `routes` None is every route."""

    key: str = "anonymous"
    user: str | None = None
    app: str | None = None
    team: str | None = None
    tenant: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    routes: frozenset[str] | None = None

    def allows(self, route: str) -> bool:
        return self.routes is None or route in self.routes


ANONYMOUS = Caller()


@dataclass(frozen=True, slots=True)
class Call:
    """A request travelling down. `deadline` and `started` are in the clock's seconds.

    `wire` names the dialect whose bytes the caller can take as they are; None asks for events.
    `expected_tokens` (input, output) is the estimator's word, for limits and for accounting what
    a provider did not report. `last_resort` tells a deployment's layers that nothing else is
    left to try: a guard that only spreads load lets the call pass.
    """

    id: str
    caller: Caller
    request: Request
    options: RouteOptions
    deadline: float
    started: float
    wire: str | None = None
    expected_tokens: tuple[int, int] = (0, 0)
    last_resort: bool = False
