"""Who asks, and how long they wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from pointsman.domain.budgets import Budget

Criticality = Literal["critical", "default", "sheddable"]
"""Who is let in where there is not room for all: in this order."""

CRITICALITIES: tuple[Criticality, ...] = get_args(Criticality)
"""The most critical first."""


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who asks; made from an API key. `routes` None is every route.

    criticality, weight and max_in_flight count where there is not room for all (server/gate.py).
    """

    key: str = "anonymous"
    user: str | None = None
    app: str | None = None
    team: str | None = None
    tenant: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    routes: frozenset[str] | None = None
    criticality: Criticality = "default"
    weight: float = 1.0
    max_in_flight: int | None = None
    max_cost_nano: int | None = None
    """The most one request may cost, over all its attempts."""
    budgets: tuple[str, ...] = ()
    """Names of budgets of scope `named` that it draws on. One that is not there is no freedom: the
    request is refused."""
    limits: tuple[Budget, ...] = ()
    """Its own budget and rates, of a key that is kept in the ledger; a key of the configuration
    has them among the configuration's budgets."""

    def allows(self, route: str) -> bool:
        return self.routes is None or route in self.routes


ANONYMOUS = Caller()


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. total covers every retry and fallback. Sources: shared defaults in
    docs/architecture.md (first content 30 s, 120 s for reasoning models)."""

    connect_s: float = 2.0
    first_content_s: float = 30.0
    idle_s: float = 30.0
    whole_s: float = 120.0
    """For an answer that is not streamed, before another deployment is tried; the last one
    left may take until the deadline."""
    total_s: float = 600.0
