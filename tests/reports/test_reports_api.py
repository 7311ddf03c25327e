"""Reports over the admin API's functions: the same figures, and nobody else's."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.reports.conftest import DAY, MAY, entries, write
from tests.reports.test_baseline import HOUSE

from pointsman.errors import InvalidRequest
from pointsman.reports import EVERYONE, Question, report
from pointsman.reports.api import ROUTES, Context, Selection, filters, lines
from pointsman.store.database import Database

QUERIES: dict[str, dict[str, Any]] = {
    "lines": {"by": "tenant,key,tag:env", "since": "2026-05-01"},
    "savings": {"by": "tenant", "baseline": "always-frontier"},
    "trend": {},
    "drivers": {"before": "2026-05-01", "since": "2026-06-01", "by": "tenant,key"},
    "runway": {"limit_usd": "1000"},
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_no_route_shows_a_tenant_anything_of_another(ledger: Database, route: Any) -> None:
    """What north is told does not change by a byte when all of the others is gone."""
    made = entries(150)
    write(ledger, [each for each in made if each.caller.tenant == "north"])
    query = msgspec.convert(QUERIES[route.path.rpartition("/")[2]], route.query)
    context = Context(ledger, "north", MAY + 70 * DAY, HOUSE)
    alone = json.dumps(route.work(context, query))
    write(ledger, [each for each in made if each.caller.tenant != "north"])
    assert json.dumps(route.work(context, query)) == alone
    assert "south" not in alone
    everybody = Context(ledger, EVERYONE, MAY + 70 * DAY, HOUSE)
    assert json.dumps(route.work(everybody, query)) != alone


def test_the_api_says_what_the_library_says(ledger: Database) -> None:
    write(ledger, entries(60))
    told: Any = lines(Context(ledger, EVERYONE, MAY), Selection(by="app,day", where="tenant=north"))
    question = Question.of(EVERYONE, ["app", "day"], where=[("tenant", "north")])
    assert [(row["period"], row["app"], row["cost_nano_usd"]) for row in told["lines"]] == [
        (line.period, line.group[0], line.cost_nano) for line in report(ledger, question)
    ]


def test_filters_are_read_or_refused() -> None:
    assert filters("team=search, app=,tag:x=a=b") == [
        ("team", "search"),
        ("app", ""),
        ("tag:x", "a=b"),
    ]
    with pytest.raises(InvalidRequest, match="no DIMENSION"):
        filters("team")
