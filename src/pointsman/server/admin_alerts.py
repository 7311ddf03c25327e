"""The admin API's routes for alerts: which stand, and that somebody has seen to one."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pointsman.alerts.book import acknowledge, list_alerts
from pointsman.domain.content import JsonObject
from pointsman.errors import NotFound
from pointsman.server.admin_route import READS, WRITES, AdminRoute, Ask, Nothing

MOST_LISTED: Final = 500


class AlertsPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """all: the resolved ones as well."""

    all: bool = False
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED)] = 100


def _list(ask: Ask) -> JsonObject:
    query: AlertsPage = ask.query
    lines = list_alerts(ask.database, ask.who.sight, is_all=query.all, most=query.limit)
    return {"alerts": [msgspec.to_builtins(line) for line in lines]}


def _acknowledge(ask: Ask) -> JsonObject:
    text = ask.path["id"]
    number = int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else 0
    if not acknowledge(ask.database, number, ask.who.sight, ask.who.name):
        raise NotFound(f"there is no alert {text!r}")
    return {"id": number, "acknowledged_by": ask.who.name}


MOST_DIGITS: Final = 18

ROUTES: Final = (
    AdminRoute(
        "GET",
        "/admin/v1/alerts",
        "List the alerts that stand, or all of them",
        _list,
        roles=READS,
        reach="own",
        asks=AlertsPage,
    ),
    AdminRoute(
        "POST",
        "/admin/v1/alerts/{id}/ack",
        "Say that you see to an alert, so that it is not told again",
        _acknowledge,
        roles=WRITES,
        reach="own",
        takes=Nothing,
    ),
)
