"""All routes of the admin API. Another module adds its own here: a line with its `ROUTES`."""

from __future__ import annotations

from typing import Final

from pointsman.domain.content import JsonObject
from pointsman.server import admin_alerts, admin_budgets, admin_keys, admin_reports
from pointsman.server.admin_route import EVERYBODY, AdminRoute, Ask


def _whoami(ask: Ask) -> JsonObject:
    return {"name": ask.who.name, "role": ask.who.role, "tenant": ask.who.tenant}


TABLE: Final[tuple[AdminRoute, ...]] = (
    AdminRoute(
        "GET", "/admin/v1/whoami", "Say who you are here", _whoami, roles=EVERYBODY, reach="own"
    ),
    *admin_keys.ROUTES,
    *admin_budgets.ROUTES,
    *admin_alerts.ROUTES,
    *admin_reports.ROUTES,
)
