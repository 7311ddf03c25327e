"""Every route of both applications, asked by everybody: made from what the routes declare.

The matrix has no list of its own: a new route is in it as soon as it is in its table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from admin_house import FILE_KEY, TOKENS, AdminHouse, ask, open_admin_house

from pointsman.alerts.alert import Alert
from pointsman.alerts.book import raise_alerts
from pointsman.config.settings import Settings
from pointsman.domain.access import OF_TENANT, ROLES
from pointsman.errors import ConfigError
from pointsman.server.admin import DOCUMENT, AdminApp
from pointsman.server.admin_route import AdminRoute, Ask, Nothing, check_routes
from pointsman.server.admin_table import TABLE
from pointsman.server.app import RouteEntry, check_table
from pointsman.testing import FakeClock

pytestmark = pytest.mark.slow

PRINCIPALS = (*ROLES, "other-admin")
WELL = {200, 201}
BODIES: dict[str, object] = {
    "NewKey": {"name": "made"},
    "KeyChange": {"team": "t"},
    "Rotation": {},
    "Nothing": {},
    "TenantRecord": {},
    "Release": {},
    "BudgetLimit": {"scope": "key", "limit_usd": 1},
    "RateLimit": {"scope": "key", "requests_per_minute": 1},
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[AdminHouse]:
    async with open_admin_house(tmp_path) as house:
        yield house


def is_allowed(route: AdminRoute, who: str) -> bool:
    role = "tenant-admin" if who == "other-admin" else who
    return role in route.roles


def unfit(route: AdminRoute) -> set[int]:
    """What a route may say that is not a no: its query needs more, or nothing of the kind is
    there."""
    needed = any(each.required for each in msgspec.structs.fields(route.asks))
    made = {"/keys/", "/rules/", "/tenants/"}
    is_made = not route.fields or any(part in route.path for part in made)
    return ({400} if needed else set()) | (set() if is_made else {404})


async def filled(house: AdminHouse, route: AdminRoute, owner: str) -> str:
    """The route's path, of a thing that belongs to the tenant `owner`."""
    path = route.path
    if "/keys/{id}" in path:
        count = len(house.made)
        made = await house.make(f"k{count}", tenant=owner)
        house.made[made["id"]] = made
        return path.replace("{id}", made["id"])
    if "/rules/{name}" in path:
        name = f"{owner}/rule"
        who = "tenant-admin" if owner == "acme" else "other-admin"
        target = f"/admin/v1/rules/{owner}%2Frule/budget"
        await house.as_("owner", "DELETE", target.removesuffix("/budget"))
        put = await house.as_(who, "PUT", target, BODIES["BudgetLimit"])
        assert put.status == 200, put.body
        return path.replace("{name}", name.replace("/", "%2F"))
    if "/alerts/{id}" in path:
        return path.replace("{id}", str(alerted(house, owner)))
    return path.replace("{name}", owner).replace("{id}", "1")


def alerted(house: AdminHouse, tenant: str) -> int:
    """The number of an alert that is the tenant's."""
    database = house.store.open()
    alert = Alert("burn_rate", "warning", f"of {tenant}", f"{tenant} burns", 600.0, tenant)
    raise_alerts(database, [alert], {}, 3_600.0)
    [(number,)] = database.rows("SELECT id FROM alert WHERE tenant = ?", (tenant,))
    database.close()
    return int(number)


async def test_each_route_admits_whom_it_declares_and_nobody_else(house: AdminHouse) -> None:
    for route in TABLE:
        body = None if route.takes is None else BODIES[route.takes.__name__]
        for who in PRINCIPALS:
            owner = "other" if who == "other-admin" else "acme"
            path = await filled(house, route, owner)
            if route.takes is not None and route.takes.__name__ == "NewKey":
                body = {"name": f"made-{who}"}
            if route.method == "PUT" and "rules" in route.path:
                assert isinstance(body, dict)
                body = {**body, "tenant": owner}
            said = await house.as_(who, route.method, path, body)
            if is_allowed(route, who):
                assert said.status in WELL | unfit(route), (str(route), who, said.body)
            else:
                assert (said.status, said.code) == (403, "role_not_allowed"), (str(route), who)


async def test_no_route_answers_without_a_token_of_its_own(house: AdminHouse) -> None:
    key = (await house.make("data"))["key"]
    shown = (None, "", "wrong", FILE_KEY, key)
    for route in (*TABLE, None):
        method, path = ("GET", DOCUMENT) if route is None else (route.method, route.path)
        for at, token in enumerate(shown):
            said = await ask(house.admin, method, path, token=token, address=f"10.1.{at}.1")
            assert said.status in (401, 429), (method, path, token)
        house.clock.advance(300)


async def test_an_admin_token_opens_nothing_of_the_data_plane(house: AdminHouse) -> None:
    for path, entry in house.app.table.items():
        for at, token in enumerate((None, *TOKENS.values())):
            if entry.access == "open":
                said = await ask(house.app, entry.method, path, token=token)
                assert said.status in (200, 503)
                continue
            said = await ask(house.app, entry.method, path, {}, token=token, address=f"10.2.{at}.1")
            assert said.status == 401, (path, token)
        house.clock.advance(300)


async def test_a_tenants_things_are_not_there_for_another(house: AdminHouse) -> None:
    for route in TABLE:
        if not route.fields or route.reach != "own":
            continue
        for who, owner in (("other-admin", "acme"), ("tenant-admin", "other")):
            path = await filled(house, route, owner)
            body = None if route.takes is None else BODIES[route.takes.__name__]
            said = await house.as_(who, route.method, path, body)
            # A rule is set by its name, and names are each tenant's own: that is told at once.
            assert said.status == (400 if route.method == "PUT" else 404), (str(route), said.body)
            assert owner.encode() not in said.body.replace(path.encode(), b"") or "rule" in path


async def test_lists_hold_what_is_ones_own(house: AdminHouse) -> None:
    for tenant in ("acme", "other"):
        await house.make("k", tenant=tenant)
        await filled(house, next(r for r in TABLE if "/rules/{name}" in r.path), tenant)
        alerted(house, tenant)
        await house.as_("owner", "PUT", f"/admin/v1/tenants/{tenant}", {})
    await house.make("house-key")
    lists = [r for r in TABLE if r.method == "GET" and not r.fields and r.reach == "own"]
    for route in lists:
        for who, other in (("tenant-admin", b"other"), ("other-admin", b"acme")):
            said = await house.as_(who, "GET", route.path)
            assert said.status in {200} | unfit(route)
            assert other not in said.body and b"house-key" not in said.body, str(route)
            assert b"file-month" not in said.body


async def test_no_field_is_written_that_is_not_declared(house: AdminHouse) -> None:
    hostile = {
        "role": "owner",
        "id": "key_000000000000",
        "digest": "00",
        "made_by": "olga",
        "revoked_at": None,
        "is_admin": True,
        "__class__": "x",
        "own": 1,
    }
    for route in TABLE:
        if route.takes is None:
            continue
        for who in sorted(route.roles):
            path = await filled(house, route, "acme")
            fine = BODIES[route.takes.__name__]
            assert isinstance(fine, dict)
            for name, value in hostile.items():
                said = await house.as_(who, route.method, path, {**fine, name: value})
                assert said.status == 400, (str(route), who, name)
                assert said.json["error"]["param"] == name


async def test_no_role_writes_a_field_that_is_withheld_from_it(house: AdminHouse) -> None:
    tried = 0
    for route in TABLE:
        for role, withheld in route.withheld.items():
            for name in withheld:
                path = await filled(house, route, "acme")
                said = await house.as_(role, route.method, path, {"name": "n", name: 1})
                assert (said.status, said.code) == (403, "field_not_allowed")
                assert said.json["error"]["param"] == name
                tried += 1
    assert tried


async def test_unknown_and_doubled_query_fields_are_refused(house: AdminHouse) -> None:
    for route in TABLE:
        if route.method != "GET" or route.fields:
            continue
        for query in ("tenant=other", "limit=1&limit=2", "limit=0", "limit=x"):
            said = await house.as_("tenant-viewer", "GET", f"{route.path}?{query}")
            assert said.status in (400, 403), (str(route), query)


async def test_the_document_describes_every_route_and_no_other(house: AdminHouse) -> None:
    said = await house.as_("viewer", "GET", DOCUMENT)
    described = {
        (path, method.upper())
        for path, operations in said.json["paths"].items()
        for method in operations
    }
    assert described == {(route.path, route.method) for route in TABLE}
    for route in TABLE:
        operation = said.json["paths"][route.path][route.method.lower()]
        assert operation["x-roles"] == sorted(route.roles)


async def test_what_is_not_there_is_told_only_to_those_who_may_be_here(house: AdminHouse) -> None:
    assert (await house.as_("viewer", "GET", "/admin/v1/nothing")).status == 404
    assert (await house.as_("viewer", "DELETE", "/admin/v1/keys")).status == 405
    assert (await ask(house.admin, "GET", "/admin/v1/nothing")).status == 401
    assert (await house.as_("viewer", "GET", "/v1/models")).status == 404
    assert (await house.models(FILE_KEY)).status == 200
    said = await ask(house.app, "GET", "/admin/v1/keys", token=FILE_KEY)
    assert said.status == 404


def _work(ask: Ask) -> object:
    return {}


class _Loose(msgspec.Struct):
    name: str = ""


UNDECLARED = {
    "no roles": AdminRoute("GET", "/admin/v1/x", "x", _work, reach="own"),
    "whose things": AdminRoute("GET", "/admin/v1/x", "x", _work, roles=frozenset({"owner"})),
    "unknown roles": AdminRoute(
        "GET",
        "/admin/v1/x",
        "x",
        _work,
        roles=frozenset({"root"}),  # type: ignore[arg-type]
        reach="own",
    ),
    "no tenant's": AdminRoute("GET", "/admin/v1/x", "x", _work, roles=OF_TENANT, reach="house"),
    "what may be written": AdminRoute(
        "POST", "/admin/v1/x", "x", _work, roles=frozenset({"owner"}), reach="own"
    ),
    "fields that it does not have": AdminRoute(
        "POST", "/admin/v1/x", "x", _work, roles=frozenset({"owner"}), reach="own", takes=_Loose
    ),
    "not below": AdminRoute("GET", "/v1/x", "x", _work, roles=frozenset({"owner"}), reach="own"),
    "withholds": AdminRoute(
        "POST",
        "/admin/v1/x",
        "x",
        _work,
        roles=frozenset({"owner"}),
        reach="own",
        takes=Nothing,
        withheld={"owner": frozenset({"name"})},
    ),
}


@pytest.mark.parametrize("complaint", UNDECLARED)
def test_a_route_that_is_not_declared_ends_the_start(complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        AdminApp(Settings({}, (), ()), FakeClock(), None, table=(*TABLE, UNDECLARED[complaint]))


def test_a_route_that_is_there_twice_ends_the_start() -> None:
    with pytest.raises(ConfigError, match="twice"):
        check_routes((*TABLE, TABLE[0]))


async def test_a_data_route_that_says_not_who_may_use_it_ends_the_start(
    house: AdminHouse,
) -> None:
    entry = RouteEntry("GET", "openai", "", house.app.table["/livez"].endpoint)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="/dummy"):
        check_table({**house.app.table, "/dummy": entry})
