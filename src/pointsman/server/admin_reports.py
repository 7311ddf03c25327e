"""The admin API's routes for reports: the functions of `reports.api`, and who may use each.

A tenant's roles see their tenant's figures, whatever they ask for. A baseline is recomputed from
the house's own prices, which are no tenant's business; the recorded one is in every report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pointsman.domain.content import JsonObject
from pointsman.reports import EVERYONE, api
from pointsman.server.admin_route import HOUSE_READS, READS, AdminRoute, Ask

_OF_THE_HOUSE: Final = frozenset({"/admin/v1/reports/savings"})


def _work(route: api.Route) -> Callable[[Ask], JsonObject]:
    def work(ask: Ask) -> JsonObject:
        # A tenant's role without a tenant sees nothing, and no question can be asked for nobody.
        whose = (ask.who.tenant or "") if ask.who.is_tenants else EVERYONE
        context = api.Context(ask.database, whose, ask.now, ask.house.deployments)
        return route.work(context, ask.query)

    return work


ROUTES: Final = tuple(
    AdminRoute(
        "GET",
        route.path,
        route.summary,
        _work(route),
        roles=HOUSE_READS if route.path in _OF_THE_HOUSE else READS,
        reach="house" if route.path in _OF_THE_HOUSE else "own",
        asks=route.query,
    )
    for route in api.ROUTES
)
