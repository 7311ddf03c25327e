"""The admin API's routes for keys and for what tenants may do."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pointsman.access.keys import (
    MOST_LISTED,
    change_key,
    found_key,
    listed_keys,
    make_key,
    revoke_key,
    rotate_key,
)
from pointsman.access.records import KeyChange, Name, NewKey, TenantRecord, told
from pointsman.access.shaping import shaped
from pointsman.access.tenants import bounds, set_bound
from pointsman.domain.access import Role
from pointsman.domain.content import JsonObject
from pointsman.server.admin_route import (
    HOUSE_WRITES,
    READS,
    WRITES,
    AdminRoute,
    Ask,
    Nothing,
)

WITHHELD: Final[dict[Role, frozenset[str]]] = {"tenant-admin": frozenset({"criticality", "weight"})}
"""They rank a key above those of other tenants."""

DAY_S: Final = 86_400.0
MOST_OVERLAP_S: Final = 30 * DAY_S


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list: what comes after the name `after`."""

    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED)] = 100


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """overlap_s: how long the old secret stays good, in seconds; 0 ends it at once."""

    overlap_s: Annotated[float, Meta(ge=0, le=MOST_OVERLAP_S)] = DAY_S


class _TenantName(msgspec.Struct, frozen=True):
    name: Name


def _list(ask: Ask) -> JsonObject:
    query: Page = ask.query
    keys = listed_keys(ask.database, ask.who.sight, after=query.after, limit=query.limit)
    more = keys[-1].name if len(keys) == query.limit else None
    return {"keys": [told(key, ask.now) for key in keys], "after": more}


def _create(ask: Ask) -> JsonObject:
    key, text = make_key(ask.database, ask.who, ask.body, ask.house, ask.pepper())
    return {**told(key, ask.now), "key": text}


def _show(ask: Ask) -> JsonObject:
    return told(found_key(ask.database, ask.who.sight, ask.path["id"]), ask.now)


def _change(ask: Ask) -> JsonObject:
    return told(change_key(ask.database, ask.who, ask.path["id"], ask.body, ask.house), ask.now)


def _rotate(ask: Ask) -> JsonObject:
    overlap_s: float = ask.body.overlap_s
    key, text = rotate_key(ask.database, ask.who, ask.path["id"], overlap_s, ask.pepper())
    return {**told(key, ask.now), "key": text}


def _revoke(ask: Ask) -> JsonObject:
    return told(revoke_key(ask.database, ask.who, ask.path["id"]), ask.now)


def _bounds(ask: Ask) -> JsonObject:
    found = bounds(ask.database, ask.who.sight)
    return {"tenants": {name: msgspec.to_builtins(bound) for name, bound in found.items()}}


def _bound(ask: Ask) -> JsonObject:
    name = shaped(_TenantName, {"name": ask.path["name"]}).name
    record = set_bound(ask.database, ask.who, name, ask.body, ask.house)
    found: JsonObject = msgspec.to_builtins(record)
    return found


ROUTES: Final = (
    AdminRoute("GET", "/admin/v1/keys", "List keys", _list, roles=READS, reach="own", asks=Page),
    AdminRoute(
        "POST",
        "/admin/v1/keys",
        "Make a key; its text is in this answer and nowhere else",
        _create,
        roles=WRITES,
        reach="own",
        takes=NewKey,
        withheld=WITHHELD,
        status=201,
    ),
    AdminRoute("GET", "/admin/v1/keys/{id}", "Show a key", _show, roles=READS, reach="own"),
    AdminRoute(
        "PATCH",
        "/admin/v1/keys/{id}",
        "Change what a key stands for",
        _change,
        roles=WRITES,
        reach="own",
        takes=KeyChange,
        withheld=WITHHELD,
    ),
    AdminRoute(
        "POST",
        "/admin/v1/keys/{id}/rotate",
        "Give a key a new secret; the old one stays good for a while",
        _rotate,
        roles=WRITES,
        reach="own",
        takes=Rotation,
    ),
    AdminRoute(
        "POST",
        "/admin/v1/keys/{id}/revoke",
        "End a key for good, on every worker within two seconds",
        _revoke,
        roles=WRITES,
        reach="own",
        takes=Nothing,
    ),
    AdminRoute(
        "GET",
        "/admin/v1/tenants",
        "List what tenants' keys may do at most",
        _bounds,
        roles=READS,
        reach="own",
    ),
    AdminRoute(
        "PUT",
        "/admin/v1/tenants/{name}",
        "Bound what a tenant's keys may do",
        _bound,
        roles=HOUSE_WRITES,
        reach="house",
        takes=TenantRecord,
    ),
)
