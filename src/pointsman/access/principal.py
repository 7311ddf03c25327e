"""Principal: who administers, and what they may see.

Every function that reads or changes what belongs to tenants takes a `Sight`, without a default:
forgetting it is a type error, not a leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pointsman.domain.access import OF_TENANT, Role


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything, or what belongs to one tenant. What belongs to nobody is no tenant's."""

    tenant: str | None
    is_all: bool = False

    def sees(self, owner: str | None) -> bool:
        return self.is_all or (owner is not None and owner == self.tenant)

    @property
    def sql(self) -> tuple[int, str | None]:
        """The two values of `(? = 1 OR tenant = ?)`; NULL is equal to nothing."""
        return int(self.is_all), self.tenant


EVERYTHING: Final = Sight(None, is_all=True)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who administers, by an admin token. `tenant` is set for a tenant's roles."""

    name: str
    role: Role
    tenant: str | None = None

    @property
    def is_tenants(self) -> bool:
        return self.role in OF_TENANT

    @property
    def sight(self) -> Sight:
        return Sight(self.tenant) if self.is_tenants else EVERYTHING


OPERATOR: Final = Principal("operator", "owner")
"""Who has the configuration file and the store in hand: `pointsman keys`."""
