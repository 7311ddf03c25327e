"""Who may administer what: the roles of the admin API."""

from __future__ import annotations

from typing import Final, Literal, get_args

Role = Literal["owner", "admin", "viewer", "tenant-admin", "tenant-viewer"]
"""owner: everything, also other administrators. admin: keys and budgets of all tenants. viewer:
reads all of it. tenant-admin, tenant-viewer: the same within their tenant."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)

OF_TENANT: Final[frozenset[Role]] = frozenset({"tenant-admin", "tenant-viewer"})
"""Roles that see one tenant only."""
