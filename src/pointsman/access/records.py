"""Records: a key as it is kept, as it is asked for, and as it is told; never its secret.

Fields and their meaning are those of `server.keys` in the configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from pointsman.access.tokens import PREFIX
from pointsman.config.resolve_money import budgets_of_key
from pointsman.config.schema_money import KeyLimits
from pointsman.config.schema_words import Block, Count, Usd, Word
from pointsman.domain.call import Caller, Criticality
from pointsman.domain.content import JsonObject
from pointsman.domain.money import from_usd
from pointsman.errors import InvalidRequest

Name: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")]
"""Of keys and tenants: what stands in no path, query or label for anything else. By itself `$`
holds before a last line feed too."""

Tags: TypeAlias = Annotated[dict[Word, Word], Meta(max_length=32)]
Routes: TypeAlias = Annotated[tuple[Word, ...], Meta(max_length=256)]
Weight: TypeAlias = Annotated[float, Meta(gt=0, le=1000)]

State = Literal["active", "expired", "revoked"]


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key stands for. `routes` are routes and deployments by their own names."""

    team: str | None = None
    app: str | None = None
    user: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    routes: tuple[str, ...] | None = None
    criticality: Criticality = "default"
    weight: float = 1.0
    max_in_flight: int | None = None
    limits: KeyLimits = KeyLimits()


class NewKey(Block, frozen=True, kw_only=True):
    """A key to be made."""

    name: Name
    tenant: Name | None = None
    team: Word | None = None
    app: Word | None = None
    user: Word | None = None
    tags: Tags = msgspec.field(default_factory=dict)
    routes: Routes | None = None
    criticality: Criticality = "default"
    weight: Weight = 1.0
    max_in_flight: Count | None = None
    limits: KeyLimits = KeyLimits()
    expires: Word | None = None


class KeyChange(Block, frozen=True, kw_only=True):
    """What is to be different about a key; what is not said stays. `limits` are replaced whole."""

    team: Word | UnsetType | None = UNSET
    app: Word | UnsetType | None = UNSET
    user: Word | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    routes: Routes | UnsetType | None = UNSET
    criticality: Criticality | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    max_in_flight: Count | UnsetType | None = UNSET
    limits: KeyLimits | UnsetType = UNSET
    expires: Word | UnsetType | None = UNSET


class TenantRecord(Block, frozen=True, kw_only=True):
    """What a tenant's keys may do at most. `routes` None: every route."""

    routes: Routes | None = None
    max_cost_usd: Usd | None = None
    most_keys: Count | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A secret of a key: its public id, and until when it is good."""

    id: str
    digest: bytes
    made_at: float
    ends_at: float | None = None

    def __repr__(self) -> str:
        return f"Part({self.id!r})"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept."""

    id: str
    name: str
    tenant: str | None
    record: KeyRecord
    made_at: float
    made_by: str
    expires_at: float | None = None
    revoked_at: float | None = None
    used_at: float | None = None
    parts: tuple[Part, ...] = ()

    def state(self, now: float) -> State:
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return "active"


def full_name(tenant: str | None, name: str) -> str:
    """What ledger, limits and messages call a key or a rule: a tenant's cannot be another's."""
    return name if tenant is None else f"{tenant}/{name}"


def record_of(new: NewKey) -> KeyRecord:
    return KeyRecord(**{field: getattr(new, field) for field in KeyRecord.__struct_fields__})


def changed(record: KeyRecord, change: KeyChange) -> KeyRecord:
    said = {
        field: value
        for field in KeyRecord.__struct_fields__
        if (value := getattr(change, field)) is not UNSET
    }
    return replace(record, **said)


def caller_of(key: Key, bound: TenantRecord | None = None) -> Caller:
    """Who shows this key, within what their tenant may do."""
    record, limits = key.record, key.record.limits
    routes = None if record.routes is None else frozenset(record.routes)
    most = None if limits.max_cost_usd is None else from_usd(limits.max_cost_usd)
    if bound is not None:
        if bound.routes is not None:
            routes = frozenset(bound.routes) if routes is None else routes & set(bound.routes)
        if bound.max_cost_usd is not None:
            ceiling = from_usd(bound.max_cost_usd)
            most = ceiling if most is None else min(most, ceiling)
    return Caller(
        key=key.name,
        user=record.user,
        app=record.app,
        team=record.team,
        tenant=key.tenant,
        tags=record.tags,
        routes=routes,
        criticality=record.criticality,
        weight=record.weight,
        max_in_flight=record.max_in_flight,
        max_cost_nano=most,
        budgets=limits.budgets,
        limits=tuple(
            replace(budget, tenant=key.tenant) for budget in budgets_of_key(key.name, limits)
        ),
    )


def told(key: Key, now: float) -> JsonObject:
    """A key as people are told of it."""
    record: JsonObject = msgspec.to_builtins(replace(key.record, limits=KeyLimits()))
    record.pop("limits", None)
    limits = msgspec.to_builtins(key.record.limits)
    unlimited = msgspec.to_builtins(KeyLimits())
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "state": key.state(now),
        "secrets": [
            {"shows_as": f"{PREFIX}{part.id}…", "made_at": day(part.made_at), "ends": day(end)}
            for part in key.parts
            if (end := part.ends_at) is None or end > now
        ],
        "made_at": day(key.made_at),
        "made_by": key.made_by,
        "expires": day(key.expires_at),
        "revoked_at": day(key.revoked_at),
        "last_used": day(key.used_at),
        **record,
        "limits": {name: value for name, value in limits.items() if value != unlimited[name]},
    }


def day(moment: float | None) -> str | None:
    """A moment as text, in UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def moment(text: str | None, field: str = "expires") -> float | None:
    """Read a day (its end, in UTC) or a moment, in seconds since the epoch."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if len(text) == len("2027-01-31"):
            at = at.replace(hour=23, minute=59, second=59)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{field}: no moment; write 2027-01-31 or 2027-01-31T12:00Z", param=field
        ) from None


def without_secrets(found: Mapping[str, object]) -> Mapping[str, object]:
    """What the audit keeps of something told: there are no secrets in it to begin with, and the
    parts of them that are shown change with every rotation."""
    return {name: value for name, value in found.items() if name != "last_used"}
