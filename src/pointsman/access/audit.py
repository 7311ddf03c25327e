"""The audit log: who changed what, when, from what to what; each row seals those before it.

A row's hash is SHA-256 of the hash before it and of the row's own content. Rows cannot be changed
or deleted by statements of ours (the table is append-only), and whoever changes them by other
means breaks every hash after them. A copy of the newest hash, kept elsewhere, also shows rows
that were cut off at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
import orjson

from pointsman.access.principal import Principal, Sight
from pointsman.access.records import day
from pointsman.domain.content import JsonObject
from pointsman.store.database import Database

_START: Final = bytes(32)


def lock(database: Database) -> int:
    """Take the next number of a change. Whoever has it is alone until their transaction ends."""
    ((number,),) = database.rows(
        "UPDATE access_change SET number = number + 1 WHERE one = 1 RETURNING number"
    )
    return int(number)


def note(
    database: Database,
    who: Principal,
    action: str,
    thing: str,
    *,
    tenant: str | None,
    was: Mapping[str, object] | None,
    became: Mapping[str, object] | None,
) -> None:
    """Write a row; within the transaction of the change, after `lock`."""
    last = database.rows("SELECT seq, hash FROM access_audit ORDER BY seq DESC LIMIT 1")
    seq, before = (int(last[0][0]), bytes(last[0][1])) if last else (0, _START)
    row = (
        seq + 1,
        database.now(),
        who.name,
        who.role,
        tenant,
        action,
        thing,
        _text(was),
        _text(became),
    )
    database.run(
        "INSERT INTO access_audit (seq, at, who, role, tenant, action, object, was, became, hash) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, _hash(before, row)),
    )


def listed(
    database: Database, sight: Sight, *, before: int | None = None, limit: int = 100
) -> list[JsonObject]:
    """Rows that may be seen, the newest first; `before` is a number to go on from."""
    rows = database.rows(
        "SELECT seq, at, who, role, tenant, action, object, was, became FROM access_audit "
        "WHERE (? = 1 OR tenant = ?) AND seq < ? ORDER BY seq DESC LIMIT ?",
        (*sight.sql, 2**62 if before is None else before, limit),
    )
    return [
        {
            "seq": seq,
            "at": day(at),
            "who": who,
            "role": role,
            "tenant": tenant,
            "action": action,
            "object": thing,
            "was": orjson.loads(was),
            "became": orjson.loads(became),
        }
        for seq, at, who, role, tenant, action, thing, was, became in rows
    ]


def broken_at(database: Database) -> int | None:
    """The number of the first row that is not what its hash says, or is missing; None if sound."""
    before, expected = _START, 1
    for *row, kept in database.rows(
        "SELECT seq, at, who, role, tenant, action, object, was, became, hash FROM access_audit "
        "ORDER BY seq"
    ):
        if row[0] != expected or bytes(kept) != _hash(before, tuple(row)):
            return expected
        before, expected = bytes(kept), expected + 1
    return None


def _hash(before: bytes, row: tuple[object, ...]) -> bytes:
    return hashlib.sha256(before + orjson.dumps(row)).digest()


def _text(found: Mapping[str, object] | None) -> str:
    return msgspec.json.encode(found, order="sorted").decode()
