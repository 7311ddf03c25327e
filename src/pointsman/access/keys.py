"""Keys in the store: make, list, change, rotate, revoke; every change with its row of the audit.

All functions run in the thread that owns the database, and take whose keys may be seen: another
tenant's key is not refused but not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from msgspec import UNSET

from pointsman.access import audit
from pointsman.access.house import House, Taken, check_limits, check_owner, check_routes
from pointsman.access.principal import Principal, Sight
from pointsman.access.records import (
    Key,
    KeyChange,
    KeyRecord,
    NewKey,
    Part,
    changed,
    full_name,
    moment,
    record_of,
    told,
    without_secrets,
)
from pointsman.access.rules import named_budgets
from pointsman.access.tenants import bound_of
from pointsman.access.tokens import Minted, digest, mint, new_id
from pointsman.errors import InvalidRequest, NotFound
from pointsman.store.database import Database

MOST_LISTED: Final = 500

_COLUMNS: Final = "id, name, tenant, record, made_at, made_by, expires_at, revoked_at, used_at"


def make_key(
    database: Database, who: Principal, new: NewKey, house: House, pepper: bytes
) -> tuple[Key, str]:
    """Make a key; its text is returned here and kept nowhere. Raises InvalidRequest (409: the
    name is taken), PermissionDenied."""
    tenant = check_owner(new, who)
    name = full_name(tenant, new.name)
    if name in house.keys:
        raise Taken(f"name: the configuration file has a key {name}", param="name")
    record = _fitted(record_of(new), house)
    expires_at = moment(new.expires)
    minted = mint()
    with database.transaction():
        number = audit.lock(database)
        bound = bound_of(database, tenant)
        _check(database, record, who, house, tenant)
        if bound is not None and bound.most_keys is not None and who.is_tenants:
            ((count,),) = database.rows(
                "SELECT count(*) FROM access_key WHERE tenant = ? AND revoked_at IS NULL",
                (tenant,),
            )
            if count >= bound.most_keys:
                raise Taken(f"tenant {tenant} has {count} keys, which is all it may have")
        now = database.now()
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest("expires: is over already; write a later moment", param="expires")
        key = Key(new_id("key"), name, tenant, record, now, who.name, expires_at)
        if not database.run(
            f"INSERT INTO access_key ({_COLUMNS}, change) "  # noqa: S608 - our own columns
            "VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?) ON CONFLICT (name) DO NOTHING",
            (key.id, name, tenant, _text(record), now, who.name, expires_at, number),
        ):
            raise Taken(f"name: there is a key {name}, or was; take another", param="name")
        part = _add_part(database, key.id, minted, pepper, now)
        key = replace(key, parts=(part,))
        _note(database, who, "key.create", None, key, now)
    return key, minted.text


def listed_keys(
    database: Database, sight: Sight, *, after: str = "", limit: int = MOST_LISTED
) -> list[Key]:
    """Keys by the order of their ids' making: by name, from the one after `after`."""
    rows = database.rows(
        f"SELECT {_COLUMNS} FROM access_key WHERE (? = 1 OR tenant = ?) AND name > ? "  # noqa: S608
        "ORDER BY name LIMIT ?",
        (*sight.sql, after, min(limit, MOST_LISTED)),
    )
    return _with_parts(database, rows)


def found_key(database: Database, sight: Sight, wanted: str) -> Key:
    """A key by its id or name. Raises NotFound, also where it is another tenant's."""
    rows = database.rows(
        f"SELECT {_COLUMNS} FROM access_key "  # noqa: S608
        "WHERE (? = 1 OR tenant = ?) AND (id = ? OR name = ?)",
        (*sight.sql, wanted, wanted),
    )
    if not rows:
        raise NotFound(f"there is no key {wanted[:100]!r}")
    return _with_parts(database, rows)[0]


def change_key(
    database: Database, who: Principal, wanted: str, change: KeyChange, house: House
) -> Key:
    """Change what a key stands for; from the next request on."""
    with database.transaction():
        number = audit.lock(database)
        key = found_key(database, who.sight, wanted)
        record = _fitted(changed(key.record, change), house)
        _check(database, record, who, house, key.tenant)
        expires_at = key.expires_at if change.expires is UNSET else moment(change.expires)
        database.run(
            "UPDATE access_key SET record = ?, expires_at = ?, change = ? WHERE id = ?",
            (_text(record), expires_at, number, key.id),
        )
        new = replace(key, record=record, expires_at=expires_at)
        _note(database, who, "key.update", key, new, database.now())
    return new


def rotate_key(
    database: Database, who: Principal, wanted: str, overlap_s: float, pepper: bytes
) -> tuple[Key, str]:
    """Give a key a new secret; those it has are good for `overlap_s` more, and no longer."""
    minted = mint()
    with database.transaction():
        number = audit.lock(database)
        key = found_key(database, who.sight, wanted)
        now = database.now()
        if (state := key.state(now)) != "active":
            raise Taken(f"key {key.name} is {state}; make another")
        end = now + overlap_s
        database.run(
            "UPDATE access_secret SET ends_at = ? "
            "WHERE key = ? AND (ends_at IS NULL OR ends_at > ?)",
            (end, key.id, end),
        )
        _add_part(database, key.id, minted, pepper, now)
        database.run("UPDATE access_key SET change = ? WHERE id = ?", (number, key.id))
        new = found_key(database, who.sight, key.id)
        _note(database, who, "key.rotate", key, new, now)
    return new, minted.text


def revoke_key(database: Database, who: Principal, wanted: str) -> Key:
    """End a key for good; requests under way end as they began."""
    with database.transaction():
        number = audit.lock(database)
        key = found_key(database, who.sight, wanted)
        if key.revoked_at is not None:
            return key
        now = database.now()
        database.run(
            "UPDATE access_key SET revoked_at = ?, change = ? WHERE id = ?", (now, number, key.id)
        )
        new = replace(key, revoked_at=now)
        _note(database, who, "key.revoke", key, new, now)
    return new


# For the workers.


def keys_since(database: Database, number: int) -> list[Key]:
    """Keys of all tenants that have changed after the change `number`."""
    rows = database.rows(
        f"SELECT {_COLUMNS} FROM access_key WHERE change > ?",  # noqa: S608
        (number,),
    )
    return _with_parts(database, rows)


def mark_used(database: Database, used: Mapping[str, float]) -> None:
    """Note when keys, by id, were used last."""
    database.run_many(
        "UPDATE access_key SET used_at = ? WHERE id = ? AND (used_at IS NULL OR used_at < ?)",
        [(at, id, at) for id, at in sorted(used.items())],
    )


def _fitted(record: KeyRecord, house: House) -> KeyRecord:
    if record.routes is None:
        return record
    return msgspec.structs.replace(record, routes=house.expanded(record.routes))


def _check(
    database: Database, record: KeyRecord, who: Principal, house: House, tenant: str | None
) -> None:
    bound = bound_of(database, tenant)
    check_routes(record.routes, who, bound)
    check_limits(record.limits, who, bound, house, tenant, named_budgets(database))


def _add_part(database: Database, key: str, minted: Minted, pepper: bytes, now: float) -> Part:
    part = Part(minted.id, digest(pepper, minted.text.encode()), now)
    database.run(
        "INSERT INTO access_secret (id, key, digest, made_at, ends_at) VALUES (?, ?, ?, ?, NULL)",
        (part.id, key, part.digest, now),
    )
    return part


def _with_parts(database: Database, rows: Iterable[tuple[Any, ...]]) -> list[Key]:
    rows = list(rows)
    parts: dict[str, list[Part]] = defaultdict(list)
    marks = ", ".join("?" for _ in rows)
    if rows:
        for id, key, kept, made_at, ends_at in database.rows(
            "SELECT id, key, digest, made_at, ends_at FROM access_secret "  # noqa: S608 - marks
            f"WHERE key IN ({marks})",
            [row[0] for row in rows],
        ):
            parts[key].append(Part(id, bytes(kept), made_at, ends_at))
    return [_key(row, tuple(sorted(parts[row[0]], key=_by_end))) for row in rows]


def _by_end(part: Part) -> tuple[float, float]:
    """The one that goes on comes last."""
    return float("inf") if part.ends_at is None else part.ends_at, part.made_at


def _key(row: tuple[Any, ...], parts: tuple[Part, ...]) -> Key:
    id, name, tenant, record, made_at, made_by, expires_at, revoked_at, used_at = row
    return Key(
        id,
        name,
        tenant,
        msgspec.json.decode(record, type=KeyRecord),
        made_at,
        made_by,
        expires_at,
        revoked_at,
        used_at,
        parts,
    )


def _note(
    database: Database, who: Principal, action: str, was: Key | None, became: Key, now: float
) -> None:
    audit.note(
        database,
        who,
        action,
        became.name,
        tenant=became.tenant,
        was=None if was is None else without_secrets(told(was, now)),
        became=without_secrets(told(became, now)),
    )


def _text(record: KeyRecord) -> str:
    return msgspec.json.encode(record).decode()
