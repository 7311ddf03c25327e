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
    """A request travelling down. `deadline` is absolute, in the clock's seconds."""

    id: str
    caller: Caller
    request: Request
    options: RouteOptions
    deadline: float
    started: float
