"""What a route of the admin API declares about itself, and the check that all of them do.

Nothing is allowed by being forgotten. A route says which roles may use it, whose things it
reaches, and, field by field, what may be written; one that leaves any of it out ends the start.
The same declarations are what requests are judged by, what the API's document is made from, and
what the tests' matrix of routes, roles and tenants is generated from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from pointsman.access.house import House
from pointsman.access.principal import Principal
from pointsman.domain.access import OF_TENANT, ROLES, Role
from pointsman.errors import ConfigError
from pointsman.store.database import Database

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

Reach = Literal["own", "house"]
"""own: of a tenant's roles, what belongs to their tenant; of the others, everything. house: what
belongs to no tenant, so a tenant's roles may not use it at all."""

EVERYBODY: Final = frozenset(ROLES)
READS: Final[frozenset[Role]] = EVERYBODY
WRITES: Final[frozenset[Role]] = frozenset({"owner", "admin", "tenant-admin"})
HOUSE_READS: Final[frozenset[Role]] = EVERYBODY - OF_TENANT
HOUSE_WRITES: Final[frozenset[Role]] = frozenset({"owner", "admin"})
OWNERS: Final[frozenset[Role]] = frozenset({"owner"})

_TAKES_BODY: Final = ("POST", "PUT", "PATCH")
_FIELD: Final = re.compile(r"\{([a-z_]+)\}")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body or query without fields."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that was let in. `path` and `query` are decoded; `body` is of the route's type."""

    who: Principal
    database: Database
    house: House
    pepper: Callable[[], bytes]
    """The pepper of the store's keys. Raises ConfigError where it is not the right one."""
    path: Mapping[str, str]
    query: Any
    body: Any
    now: float
    """Seconds since the epoch, by our own clock."""


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """A route. `work` runs on a thread with a database of its own, and returns what JSON can say.

    withheld: fields of the body that a role may not write. `takes` is the body's type, `asks`
    that of the query; both refuse fields that they do not have.
    """

    method: Method
    path: str
    summary: str
    work: Callable[[Ask], object]
    roles: frozenset[Role] = frozenset()
    reach: Reach | None = None
    takes: type[Any] | None = None
    asks: type[Any] = Nothing
    withheld: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    status: int = 200

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches a path as it was sent; a field is one segment of it."""
        parts = _FIELD.split(self.path)
        text = "".join(
            f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)
        )
        return re.compile(text)

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(_FIELD.findall(self.path))

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def check_routes(routes: Sequence[AdminRoute]) -> None:
    """Raise ConfigError for a route that is not fully declared: nothing is served then."""
    seen: set[str] = set()
    for route in routes:
        for complaint in _complaints(route):
            raise ConfigError(f"admin route {route}: {complaint}")
        if str(route) in seen:
            raise ConfigError(f"admin route {route}: is there twice")
        seen.add(str(route))


def _complaints(route: AdminRoute) -> list[str]:
    found: list[str] = []
    if not route.path.startswith("/admin/"):
        found.append("is not below /admin/")
    if not route.roles:
        found.append("declares no roles")
    if route.roles - EVERYBODY:
        found.append("declares unknown roles")
    if route.reach not in ("own", "house"):
        found.append("does not declare whose things it reaches")
    if route.reach == "house" and route.roles & OF_TENANT:
        found.append("lets a tenant's roles reach what is no tenant's")
    if (route.method in _TAKES_BODY) != (route.takes is not None):
        found.append("does not declare what may be written")
    found += [
        f"{shape.__name__} takes fields that it does not have"
        for shape in (route.takes, route.asks)
        if shape is not None and not _is_closed(shape)
    ]
    known = frozenset() if route.takes is None else frozenset(route.takes.__struct_fields__)
    for role, withheld in route.withheld.items():
        if role not in route.roles or withheld - known:
            found.append("withholds what is not there")
    return found


def _is_closed(shape: type[Any]) -> bool:
    config = getattr(shape, "__struct_config__", None)
    return bool(config is not None and config.forbid_unknown_fields)
