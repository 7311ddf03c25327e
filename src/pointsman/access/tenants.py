"""Tenants: what the keys of one may do at most, whoever made them. One that nobody has bounded
may do everything; who is a tenant is said by keys and admin tokens, not here."""

from __future__ import annotations

import msgspec

from pointsman.access import audit
from pointsman.access.house import House
from pointsman.access.principal import Principal, Sight
from pointsman.access.records import TenantRecord
from pointsman.store.database import Database


def bound_of(database: Database, tenant: str | None) -> TenantRecord | None:
    if tenant is None:
        return None
    rows = database.rows("SELECT record FROM access_tenant WHERE name = ?", (tenant,))
    return msgspec.json.decode(rows[0][0], type=TenantRecord) if rows else None


def bounds(database: Database, sight: Sight) -> dict[str, TenantRecord]:
    """The bounds there are, by tenant."""
    rows = database.rows(
        "SELECT name, record FROM access_tenant WHERE (? = 1 OR name = ?) ORDER BY name", sight.sql
    )
    return {name: msgspec.json.decode(record, type=TenantRecord) for name, record in rows}


def set_bound(
    database: Database, who: Principal, tenant: str, record: TenantRecord, house: House
) -> TenantRecord:
    """Bound a tenant's keys: those there are, from the next request on, and those to come."""
    if record.routes is not None:
        record = msgspec.structs.replace(record, routes=house.expanded(record.routes))
    with database.transaction():
        audit.lock(database)
        was = bound_of(database, tenant)
        database.run(
            "INSERT INTO access_tenant (name, record) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET record = excluded.record",
            (tenant, msgspec.json.encode(record).decode()),
        )
        audit.note(
            database,
            who,
            "tenant.bound",
            tenant,
            tenant=tenant,
            was=None if was is None else msgspec.to_builtins(was),
            became=msgspec.to_builtins(record),
        )
    return record
